"""Which versions are served: models.config and the version folders on one side, loaded models on the other.

One thread watches the file and the folders and decides; others load. A new version is loaded and warmed up beside the
old one, then it is switched, then the old one is unloaded when its last request is answered. What fails to load is
tried again a few times and then left alone; it takes nothing else down, and what was served before is served on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from serving.models_config import Latest, ModelConfig, Specific
from serving.server.config_watcher import ConfigWatcher
from serving.server.memory import require_memory
from serving.server.servable import Servable
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["ModelRepository", "RepositoryListener", "RepositorySnapshot"]

Identity = tuple[int, int, int, int]
_GLANCE_S = 0.01
_MAX_ENDED = 32


class RepositoryListener:
    """What the catalogue tells of itself; every method may be called from any thread."""

    def loaded(self, path: str, seconds: float, error: ServingError | None) -> None:
        """A load ended."""

    def note(self, text: str) -> None:
        """Something an operator should know."""


@dataclass(slots=True, eq=False)
class _LoadedVersion:
    folder: Path
    identity: Identity
    state: str = "START"
    code: StatusCode = StatusCode.OK
    message: str = ""
    servable: Servable | None = None
    attempts: int = 0
    retry_at: float = 0.0


@dataclass(slots=True, eq=False)
class _RepositoryModel:
    config: ModelConfig
    versions: dict[int, _LoadedVersion] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    removed: bool = False


@dataclass(frozen=True, slots=True)
class RepositorySnapshot:
    """One model as requests see it at one moment: replaced as a whole, never changed."""

    available: Mapping[int, Servable]
    latest: int | None
    labels: Mapping[str, int]
    states: tuple[tuple[int, str, StatusCode, str], ...]
    wanted: bool
    missing: tuple[str, ...]


class ModelRepository:
    """The models that are served.

    Args:
        config: the models.config to follow; it may not exist yet.
        listener: who hears of loads and problems.
        poll_s: how often the folders are looked at; the file is glanced at more often.
        max_load_retries: how often a version that fails to load is tried again.
        retry_s: the time between two tries.
    """

    def __init__(
        self,
        config: Path,
        listener: RepositoryListener,
        *,
        poll_s: float = 0.1,
        max_load_retries: int = 2,
        retry_s: float = 1.0,
        load_threads: int = 1,
        load: Callable[[str, int, Path], Servable] = Servable,
    ) -> None:
        self._file = ConfigWatcher(config, self._say)
        self._listener = listener
        self._poll_s = poll_s
        self._max_retries = max_load_retries
        self._retry_s = retry_s
        self._load_servable = load
        self._models: dict[str, _RepositoryModel] = {}
        self._views: dict[str, RepositorySnapshot] = {}
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._loads: SimpleQueue[tuple[str, int, _LoadedVersion] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._watch, name="watch", daemon=True)]
        self._threads += [
            threading.Thread(target=self._load_next, name=f"load-{index}", daemon=True) for index in range(load_threads)
        ]

    def start(self) -> None:
        """Begin to follow the file."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop following; what is loaded stays loaded."""
        self._stopped = True
        self._wake.set()
        for _ in self._threads[1:]:
            self._loads.put(None)

    def replace(self, configs: tuple[ModelConfig, ...]) -> None:
        """Follow this configuration until the file changes the next time."""
        with self._lock:
            self._apply(configs)
            self._publish()
        self._wake.set()

    # requests

    @property
    def views(self) -> Mapping[str, RepositorySnapshot]:
        """Every model by name, as it is now."""
        return self._views

    def acquire(self, model: str, version: int | None, label: str | None) -> Servable:
        """Find a version for a request and hold it; the caller releases it.

        Raises:
            ServingError: there is none, in TF Serving's words.
        """
        for _ in range(3):  # a version may begin to unload between being found and being held
            servable = self._find(model, version, label)
            if servable.acquire():
                return servable
        raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: Latest({model})")

    def _find(self, model: str, version: int | None, label: str | None) -> Servable:
        view = self._views.get(model)
        if label is not None:
            version = view.labels.get(label) if view else None
            if version is None:
                raise ServingError(StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        if version is None:
            if view is None or view.latest is None:
                raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: Latest({model})")
            return view.available[view.latest]
        found = view.available.get(version) if view else None
        if found is None:
            raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: Specific({model}, {version})")
        return found

    def status(self, model: str, version: int | None) -> tuple[tuple[int, str, StatusCode, str], ...]:
        """Return number, state, error code and error message of a model's versions. Raises `ServingError` NOT_FOUND."""
        view = self._views.get(model)
        states = view.states if view else ()
        if version is None:
            if not states:
                raise ServingError(StatusCode.NOT_FOUND, f"Could not find any versions of model {model}")
            return states
        found = tuple(state for state in states if state[0] == version)
        if not found:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find version {version} of model {model}")
        return found

    def problems(self, model: str | None = None) -> dict[str, list[str]]:
        """Return, for each configured model (or the one named), why it is not ready; an empty list: it is."""
        found: dict[str, list[str]] = {}
        for name, view in self._views.items():
            if view.wanted and model in (None, name):
                found[name] = [] if view.available else ["no version is available"]
                found[name] += [f"label {label} points to a version that is not available" for label in view.missing]
        return found

    # watching

    def _say(self, text: str) -> None:
        """Tell the listener, once until it is mended."""
        if text not in self._said:
            self._said.add(text)
            self._listener.note(text)

    def _watch(self) -> None:
        while not self._stopped:
            try:
                self._reconcile()
            except Exception as error:  # the watch must outlive whatever a file system does
                self._say(f"watching {self._file.path}: {type(error).__name__}: {error}")
            self._await_change()

    def _await_change(self) -> None:
        """Wait until the file was changed or a load ended; after `poll_s` the folders are looked at anyway."""
        end = time.monotonic() + self._poll_s
        while not self._wake.wait(min(_GLANCE_S, self._poll_s)) and time.monotonic() < end:
            if self._file.changed():
                break
        self._wake.clear()

    def _reconcile(self) -> None:
        configs = self._file.read()
        if configs is not None:
            self._said.clear()
        with self._lock:
            if configs is not None:
                self._apply(configs)
            now = time.monotonic()
            surplus = []
            for name, model in self._models.items():
                self._aspire(name, model, now)
                surplus += self._take_surplus(model)
            self._publish()
        for version, servable in surplus:  # only now: no request finds what is being unloaded
            threading.Thread(target=self._unload, args=(version, servable), name="unload", daemon=True).start()

    def _apply(self, configs: tuple[ModelConfig, ...]) -> None:
        named = {config.name: config for config in configs}
        for name, model in self._models.items():
            model.removed = name not in named
        for name, config in named.items():
            model = self._models.setdefault(name, _RepositoryModel(config))
            model.config = config

    def _aspire(self, name: str, model: _RepositoryModel, now: float) -> None:
        """Begin to load what should be served and is not."""
        if model.removed:
            return
        for number, folder in sorted(self._aspired(model).items(), reverse=True):
            version = model.versions.get(number)
            if version is None or (version.state == "END" and self._renewed(version, folder)):
                try:
                    version = model.versions[number] = _LoadedVersion(folder, _identify(folder))
                except OSError:
                    continue
                self._loads.put((name, number, version))
            elif version.retry_at and version.retry_at <= now:
                version.retry_at = 0.0
                self._loads.put((name, number, version))

    @staticmethod
    def _renewed(version: _LoadedVersion, folder: Path) -> bool:
        """Whether an ended version should be loaded (again): it was served and is wanted back, or its folder is another."""
        try:
            return version.code is StatusCode.OK or _identify(folder) != version.identity
        except OSError:
            return False

    def _aspired(self, model: _RepositoryModel) -> dict[int, Path]:
        policy = model.config.policy
        there = self._folders(model)
        if isinstance(policy, Specific):
            return {number: there[number] for number in policy.versions if number in there}
        if isinstance(policy, Latest):
            return dict(sorted(there.items(), reverse=True)[: policy.count])
        return there

    def _folders(self, model: _RepositoryModel) -> dict[int, Path]:
        base = Path(model.config.base_path)
        try:
            return {int(child.name): child for child in sorted(base.iterdir()) if _is_version(child.name)}
        except OSError as error:
            self._say(f"model {model.config.name}: {error}")
            return {}

    def _take_surplus(self, model: _RepositoryModel) -> list[tuple[_LoadedVersion, Servable]]:
        """Take away what is served and should not be, but never the last version of a model that is wanted."""
        keep = set() if model.removed else self._kept(model)
        surplus = [number for number, version in model.versions.items() if version.servable and number not in keep]
        if (
            not model.removed
            and surplus
            and not any(version.servable for number, version in model.versions.items() if number in keep)
        ):
            surplus.remove(max(surplus))
        taken = []
        for number in surplus:
            version = model.versions[number]
            if version.servable:
                taken.append((version, version.servable))
            version.servable, version.state = None, "UNLOADING"
        return taken

    def _kept(self, model: _RepositoryModel) -> set[int]:
        policy = model.config.policy
        there = self._aspired(model)
        if isinstance(policy, Specific):
            return set(policy.versions)
        return set(there) or set(model.versions)  # an empty folder is an accident, not an order

    def _unload(self, version: _LoadedVersion, servable: Servable) -> None:
        servable.close()
        with self._lock:
            version.state = "END"
        self._wake.set()

    # loading

    def _load_next(self) -> None:
        while (item := self._loads.get()) is not None:
            self._load(*item)

    def _load(self, name: str, number: int, version: _LoadedVersion) -> None:
        with self._lock:
            model = self._models[name]
            wanted = not model.removed and number in self._aspired(model)
            version.state = "LOADING" if wanted else "END"
            if not wanted:
                return
            version.attempts += 1
            self._publish()
        begin = time.monotonic()
        problem: ServingError | None = None
        servable = None
        try:
            require_memory(version.folder)
            servable = self._load_servable(name, number, version.folder)
        except ServingError as error:
            problem = error
        except Exception as error:  # one version's trouble is its own
            problem = ServingError(StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        self._listener.loaded(str(version.folder), time.monotonic() - begin, problem)
        with self._lock:
            self._loaded(version, servable, problem)
            self._publish()
        self._wake.set()

    def _loaded(self, version: _LoadedVersion, servable: Servable | None, problem: ServingError | None) -> None:
        if problem is None:
            version.servable, version.state, version.code, version.message = servable, "AVAILABLE", StatusCode.OK, ""
            return
        version.code, version.message = problem.code, problem.message
        if version.attempts <= self._max_retries:
            version.retry_at = time.monotonic() + self._retry_s
        else:
            version.state = "END"

    # publishing

    def _publish(self) -> None:
        """Replace what requests see. Called with the lock held."""
        for name, model in self._models.items():
            self._forget_ended(model)
            available = {number: version.servable for number, version in model.versions.items() if version.servable}
            model.labels = {
                label: number if number in available else model.labels[label]
                for label, number in model.config.labels.items()
                if number in available or model.labels.get(label) in available
            }
            self._views[name] = RepositorySnapshot(
                available=available,
                latest=max(available, default=None),
                labels=model.labels,
                states=tuple(
                    (number, version.state, version.code, version.message)
                    for number, version in sorted(model.versions.items())
                ),
                wanted=not model.removed,
                missing=tuple(sorted(label for label, at in model.config.labels.items() if at not in available)),
            )

    @staticmethod
    def _forget_ended(model: _RepositoryModel) -> None:
        ended = sorted(number for number, version in model.versions.items() if version.state == "END")
        for number in ended[:-_MAX_ENDED]:
            del model.versions[number]


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 19


def _identify(folder: Path) -> Identity:
    stat, inner = folder.stat(), folder / "saved_model.pb"
    changed = inner.stat().st_ctime_ns if inner.exists() else 0  # copies keep the time of change, never this one
    return stat.st_dev, stat.st_ino, stat.st_ctime_ns, changed
