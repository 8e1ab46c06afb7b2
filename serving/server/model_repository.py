"""The model repository: keeps the loaded versions as models.config and the version folders say.

One thread watches the file and the folders and decides, another one loads. A new version is loaded and warmed up beside
the old one; then requests go to the new one, and the old one is unloaded after its last request. A version that cannot
be loaded is tried again twice. It affects no other version: the versions already served stay served.
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

FolderIdentity = tuple[int, int, int, int]
_FILE_POLL_S = 0.01
_POLL_S = 0.1
_MAX_ENDED = 32
_MAX_RETRIES, _RETRY_S = 2, 1.0


class RepositoryListener:
    """Receives the events of the repository; every method may be called from any thread."""

    def loaded(self, path: str, seconds: float, error: ServingError | None) -> None:
        """A version was loaded, or could not be loaded (`error`); `path` is its folder."""

    def batching(self, servable: Servable) -> None:
        """A version was loaded, and it is decided which of its requests may run together."""

    def problem(self, text: str) -> None:
        """A problem that an operator should know about."""


@dataclass(slots=True, eq=False)
class _LoadedVersion:
    folder: Path
    identity: FolderIdentity
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
    """An immutable snapshot of one model, as requests see it; a change replaces it as a whole."""

    available: Mapping[int, Servable]
    latest: int | None
    labels: Mapping[str, int]
    states: tuple[tuple[int, str, StatusCode, str], ...]
    configured: bool
    missing_labels: tuple[str, ...]


class ModelRepository:
    """The loaded models.

    Args:
        config: the models.config to follow; it may not exist yet.
        listener: receives loads and problems.
        load: loads a version, given the model's name, the number and the folder.
    """

    def __init__(
        self, config: Path, listener: RepositoryListener, load: Callable[[str, int, Path], Servable] = Servable
    ) -> None:
        self._load_version = load
        self._file = ConfigWatcher(config, self._log_once)
        self._listener = listener
        self._models: dict[str, _RepositoryModel] = {}
        self._snapshots: dict[str, RepositorySnapshot] = {}
        self._logged: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._loads: SimpleQueue[tuple[str, int, _LoadedVersion] | None] = SimpleQueue()

    def start(self) -> None:
        """Begin to follow the file."""
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        threading.Thread(target=self._run_loads, name="load", daemon=True).start()

    def stop(self) -> None:
        """Stop following the file; loaded versions stay loaded."""
        self._stopped = True
        self._wake.set()
        self._loads.put(None)

    def replace(self, configs: tuple[ModelConfig, ...]) -> None:
        """Use this configuration until the file changes."""
        with self._lock:
            self._apply(configs)
            self._publish()
        self._wake.set()

    # requests

    @property
    def snapshots(self) -> Mapping[str, RepositorySnapshot]:
        """The current snapshot of every model, by name."""
        return self._snapshots

    def acquire(self, model: str, version: int | None, label: str | None) -> Servable:
        """Find a version for a request and hold it; the caller must release it.

        Raises:
            ServingError: there is no such version, in TF Serving's words.
        """
        for _ in range(3):  # a version may begin to unload after it was found and before it is held
            servable = self._find(model, version, label)
            if servable.acquire():
                return servable
        raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: Latest({model})")

    def _find(self, model: str, version: int | None, label: str | None) -> Servable:
        snapshot = self._snapshots.get(model)
        if label is not None:
            version = snapshot.labels.get(label) if snapshot else None
            if version is None:
                raise ServingError(StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        if version is None:
            if snapshot is None or snapshot.latest is None:
                raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: Latest({model})")
            return snapshot.available[snapshot.latest]
        servable = snapshot.available.get(version) if snapshot else None
        if servable is None:
            raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: Specific({model}, {version})")
        return servable

    def status(self, model: str, version: int | None) -> tuple[tuple[int, str, StatusCode, str], ...]:
        """Return (number, state, error code, error message) of a model's versions. Raises `ServingError` NOT_FOUND."""
        snapshot = self._snapshots.get(model)
        states = snapshot.states if snapshot else ()
        if version is None:
            if not states:
                raise ServingError(StatusCode.NOT_FOUND, f"Could not find any versions of model {model}")
            return states
        matches = tuple(state for state in states if state[0] == version)
        if not matches:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find version {version} of model {model}")
        return matches

    def problems(self, model: str | None = None) -> dict[str, list[str]]:
        """Return why each configured model, or the given one, is not ready; an empty list: it is ready."""
        problems: dict[str, list[str]] = {}
        for name, snapshot in self._snapshots.items():
            if snapshot.configured and model in (None, name):
                problems[name] = [] if snapshot.available else ["no version is available"]
                problems[name] += [
                    f"label {label} points to a version that is not available" for label in snapshot.missing_labels
                ]
        return problems

    # watching

    def _log_once(self, text: str) -> None:
        """Report a problem once until the configuration changes."""
        if text not in self._logged:
            self._logged.add(text)
            self._listener.problem(text)

    def _watch(self) -> None:
        while not self._stopped:
            try:
                self._reconcile()
            except Exception as error:  # the thread must survive every error of the file system
                self._log_once(f"watching {self._file.path}: {type(error).__name__}: {error}")
            self._await_change()

    def _await_change(self) -> None:
        """Wait until the file changes or a load ends, at most `_POLL_S`: the folders may have changed."""
        end = time.monotonic() + _POLL_S
        while not self._wake.wait(_FILE_POLL_S) and time.monotonic() < end:
            if self._file.changed():
                break
        self._wake.clear()

    def _reconcile(self) -> None:
        configs = self._file.read()
        if configs is not None:
            self._logged.clear()
        with self._lock:
            if configs is not None:
                self._apply(configs)
            now = time.monotonic()
            surplus = []
            for name, model in self._models.items():
                self._start_loads(name, model, now)
                surplus += self._take_surplus(model)
            self._publish()
        for version, servable in surplus:  # after the snapshot was replaced, so that no request finds them
            threading.Thread(target=self._unload, args=(version, servable), name="unload", daemon=True).start()

    def _apply(self, configs: tuple[ModelConfig, ...]) -> None:
        named = {config.name: config for config in configs}
        for name, model in self._models.items():
            model.removed = name not in named
        for name, config in named.items():
            model = self._models.setdefault(name, _RepositoryModel(config))
            model.config = config

    def _start_loads(self, name: str, model: _RepositoryModel, now: float) -> None:
        """Begin to load versions that should be served and are not."""
        if model.removed:
            return
        for number, folder in sorted(self._desired(model).items(), reverse=True):
            version = model.versions.get(number)
            if version is None or (version.state == "END" and self._should_reload(version, folder)):
                try:
                    version = model.versions[number] = _LoadedVersion(folder, _identify(folder))
                except OSError:
                    continue
                self._loads.put((name, number, version))
            elif version.retry_at and version.retry_at <= now:
                version.retry_at = 0.0
                self._loads.put((name, number, version))

    @staticmethod
    def _should_reload(version: _LoadedVersion, folder: Path) -> bool:
        """Whether to load an ended version again: it was unloaded without an error, or its folder was replaced."""
        try:
            return version.code is StatusCode.OK or _identify(folder) != version.identity
        except OSError:
            return False

    def _desired(self, model: _RepositoryModel) -> dict[int, Path]:
        policy = model.config.policy
        present = self._folders(model)
        if isinstance(policy, Specific):
            return {number: present[number] for number in policy.versions if number in present}
        if isinstance(policy, Latest):
            return dict(sorted(present.items(), reverse=True)[: policy.count])
        return present

    def _folders(self, model: _RepositoryModel) -> dict[int, Path]:
        base = Path(model.config.base_path)
        try:
            return {int(child.name): child for child in sorted(base.iterdir()) if _is_version(child.name)}
        except OSError as error:
            self._log_once(f"model {model.config.name}: {error}")
            return {}

    def _take_surplus(self, model: _RepositoryModel) -> list[tuple[_LoadedVersion, Servable]]:
        """Remove versions that should not be served, but never the last version of a configured model."""
        desired = set() if model.removed else self._desired_numbers(model)
        surplus = [number for number, version in model.versions.items() if version.servable and number not in desired]
        if (
            not model.removed
            and surplus
            and not any(version.servable for number, version in model.versions.items() if number in desired)
        ):
            surplus.remove(max(surplus))
        removed = []
        for number in surplus:
            version = model.versions[number]
            if version.servable:
                removed.append((version, version.servable))
            version.servable, version.state = None, "UNLOADING"
        return removed

    def _desired_numbers(self, model: _RepositoryModel) -> set[int]:
        policy = model.config.policy
        present = self._desired(model)
        if isinstance(policy, Specific):
            return set(policy.versions)
        return set(present) or set(model.versions)  # an empty folder is an accident, not a request to unload

    def _unload(self, version: _LoadedVersion, servable: Servable) -> None:
        servable.close()
        with self._lock:
            version.state = "END"
        self._wake.set()

    # loading

    def _run_loads(self) -> None:
        while (item := self._loads.get()) is not None:
            self._load(*item)

    def _load(self, name: str, number: int, version: _LoadedVersion) -> None:
        with self._lock:
            model = self._models[name]
            desired = not model.removed and number in self._desired(model)
            version.state = "LOADING" if desired else "END"
            if not desired:
                return
            version.attempts += 1
            self._publish()
        begin = time.monotonic()
        problem: ServingError | None = None
        servable = None
        try:
            require_memory(version.folder)
            servable = self._load_version(name, number, version.folder)
        except ServingError as error:
            problem = error
        except Exception as error:  # an error of one version must not affect others
            problem = ServingError(StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        self._listener.loaded(str(version.folder), time.monotonic() - begin, problem)
        if servable:
            self._listener.batching(servable)
        with self._lock:
            self._record_load(version, servable, problem)
            self._publish()
        self._wake.set()

    def _record_load(self, version: _LoadedVersion, servable: Servable | None, problem: ServingError | None) -> None:
        if problem is None:
            version.servable, version.state, version.code, version.message = servable, "AVAILABLE", StatusCode.OK, ""
            return
        version.code, version.message = problem.code, problem.message
        if version.attempts <= _MAX_RETRIES:
            version.retry_at = time.monotonic() + _RETRY_S
        else:
            version.state = "END"

    # publishing

    def _publish(self) -> None:
        """Replace the snapshots that requests see. Called with the lock held."""
        for name, model in self._models.items():
            self._drop_ended(model)
            available = {number: version.servable for number, version in model.versions.items() if version.servable}
            model.labels = {
                label: number if number in available else model.labels[label]
                for label, number in model.config.labels.items()
                if number in available or model.labels.get(label) in available
            }
            self._snapshots[name] = RepositorySnapshot(
                available=available,
                latest=max(available, default=None),
                labels=model.labels,
                states=tuple(
                    (number, version.state, version.code, version.message)
                    for number, version in sorted(model.versions.items())
                ),
                configured=not model.removed,
                missing_labels=tuple(sorted(label for label, at in model.config.labels.items() if at not in available)),
            )

    @staticmethod
    def _drop_ended(model: _RepositoryModel) -> None:
        ended = sorted(number for number, version in model.versions.items() if version.state == "END")
        for number in ended[:-_MAX_ENDED]:
            del model.versions[number]


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 19


def _identify(folder: Path) -> FolderIdentity:
    stat, inner = folder.stat(), folder / "saved_model.pb"
    changed = (
        inner.stat().st_ctime_ns if inner.exists() else 0
    )  # a copy may preserve the modification time, but not this one
    return stat.st_dev, stat.st_ino, stat.st_ctime_ns, changed
