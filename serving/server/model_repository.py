"""The model repository: keeps the loaded versions as models.config and the version folders say.

One thread watches the file and the folders and decides, another one loads. A new version is loaded and warmed up beside
the old one; then requests go to the new one, and the old one is unloaded after its last request. A version that cannot
be loaded is tried again twice. It affects no other version: the versions already served stay served.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue

from serving.models_config import ModelConfig
from serving.server.config_watcher import ConfigWatcher
from serving.server.memory import require_memory
from serving.server.repository_model import LoadedVersion, RepositoryModel, RepositorySnapshot, identify
from serving.server.servable import Servable
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["ModelRepository", "RepositoryListener", "RepositorySnapshot"]

_FILE_POLL_S = 0.01
_POLL_S = 0.1
_MAX_RETRIES, _RETRY_S = 2, 1.0


class RepositoryListener:
    """Receives the events of the repository; every method may be called from any thread."""

    def loaded(self, path: str, seconds: float, error: ServingError | None) -> None:
        """A version was loaded, or could not be loaded (`error`); `path` is its folder."""

    def problem(self, text: str) -> None:
        """A problem that an operator should know about."""


class ModelRepository:
    """The loaded models.

    Args:
        config: the models.config to follow; it may not exist yet.
        listener: receives loads and problems.
    """

    def __init__(self, config: Path, listener: RepositoryListener) -> None:
        self._file = ConfigWatcher(config, self._log_once)
        self._listener = listener
        self._models: dict[str, RepositoryModel] = {}
        self._snapshots: dict[str, RepositorySnapshot] = {}
        self._logged: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._loads: SimpleQueue[tuple[str, int, LoadedVersion] | None] = SimpleQueue()

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
                surplus += model.take_surplus(self._log_once)
            self._publish()
        for version, servable in surplus:  # after the snapshot was replaced, so that no request finds them
            threading.Thread(target=self._unload, args=(version, servable), name="unload", daemon=True).start()

    def _apply(self, configs: tuple[ModelConfig, ...]) -> None:
        named = {config.name: config for config in configs}
        for name, model in self._models.items():
            model.removed = name not in named
        for name, config in named.items():
            model = self._models.setdefault(name, RepositoryModel(config))
            model.config = config

    def _start_loads(self, name: str, model: RepositoryModel, now: float) -> None:
        """Begin to load versions that should be served and are not."""
        if model.removed:
            return
        for number, folder in sorted(model.desired(self._log_once).items(), reverse=True):
            version = model.versions.get(number)
            if version is None or (version.state == "END" and self._should_reload(version, folder)):
                try:
                    version = model.versions[number] = LoadedVersion(folder, identify(folder))
                except OSError:
                    continue
                self._loads.put((name, number, version))
            elif version.retry_at and version.retry_at <= now:
                version.retry_at = 0.0
                self._loads.put((name, number, version))

    @staticmethod
    def _should_reload(version: LoadedVersion, folder: Path) -> bool:
        """Whether to load an ended version again: it was unloaded without an error, or its folder was replaced."""
        try:
            return version.code is StatusCode.OK or identify(folder) != version.identity
        except OSError:
            return False

    def _unload(self, version: LoadedVersion, servable: Servable) -> None:
        servable.close()
        with self._lock:
            version.state = "END"
        self._wake.set()

    # loading

    def _run_loads(self) -> None:
        while (item := self._loads.get()) is not None:
            self._load(*item)

    def _load(self, name: str, number: int, version: LoadedVersion) -> None:
        with self._lock:
            model = self._models[name]
            desired = not model.removed and number in model.desired(self._log_once)
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
            servable = Servable(name, number, version.folder)
        except ServingError as error:
            problem = error
        except Exception as error:  # an error of one version must not affect others
            problem = ServingError(StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        self._listener.loaded(str(version.folder), time.monotonic() - begin, problem)
        with self._lock:
            self._record_load(version, servable, problem)
            self._publish()
        self._wake.set()

    def _record_load(self, version: LoadedVersion, servable: Servable | None, problem: ServingError | None) -> None:
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
            self._snapshots[name] = model.snapshot()
