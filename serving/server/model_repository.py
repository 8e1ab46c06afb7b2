"""The model repository: keeps the loaded versions as models.config and the version folders say.

One thread watches the file and the folders and decides, another one loads. A version is loaded when nobody writes its
files any more, and is warmed up beside what answers; then requests go to it, and what answered before is unloaded after
its last request. So it is with a new version and with a version whose files were changed. A version that cannot be loaded
is tried again when its files change, and with a growing delay. It affects no other version: what is served stays served.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from queue import SimpleQueue

from serving.models_config import ModelConfig
from serving.server.batching_prover import BatchingProver
from serving.server.config_watcher import ConfigWatcher
from serving.server.memory import require_memory
from serving.server.repository_model import RepositoryModel, RepositorySnapshot
from serving.server.servable import Servable
from serving.server.serving_error import ServingError
from serving.server.version_files import VersionFiles, scan_files
from serving.server.version_record import VersionRecord
from serving.status_codes import StatusCode

__all__ = ["ModelRepository", "RepositoryListener", "RepositorySnapshot"]

_FILE_POLL_S = 0.01
_BASE_POLL_S = 0.1
_QUICKEST_SCAN_S, _CALM_SCAN_S, _SLOWEST_SCAN_S = 0.1, 1.0, 10.0
_SLOWDOWN = 1.5
_SCAN_SHARE = 100
"""A scan of the folders takes at most this part of the time: a slow file system is scanned less often."""


class RepositoryListener:
    """Receives the events of the repository; every method may be called from any thread."""

    def loaded(self, path: str, seconds: float, error: ServingError | None) -> None:
        """A version was loaded, or could not be loaded (`error`); `path` is its folder."""

    def batching(self, servable: Servable) -> None:
        """It is decided which requests of a loaded version may run together."""

    def problem(self, text: str) -> None:
        """A problem that an operator should know about."""


Stamp = tuple[int, int, int, int]


def _base_stamp(path: str) -> Stamp | None:
    """Return what changes when an entry of a folder is added, removed or replaced; None: it cannot be examined."""
    try:
        stat = Path(path).stat()
    except (OSError, ValueError):
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _load_files(
    load: Callable[[str, int, Path], Servable], model: str, number: int, folder: Path
) -> tuple[Servable, VersionFiles]:
    """Load a version by `load`.

    Returns:
        The version, and the files that it was loaded from.

    Raises:
        ServingError: it cannot be loaded; ABORTED: its files were changed meanwhile.
    """
    files = scan_files(folder)
    if files is None:
        raise ServingError(StatusCode.ABORTED, f"{folder} was removed before it was loaded")
    try:
        require_memory(folder, files.size)
        servable = load(model, number, folder)
    except Exception as error:  # an error of one version must not affect others
        _require_unchanged(folder, files)
        if isinstance(error, ServingError):
            raise
        raise ServingError(StatusCode.INTERNAL, f"{type(error).__name__}: {error}") from error
    try:
        _require_unchanged(folder, files)
    except ServingError:
        servable.close()
        raise
    return servable, files


def _require_unchanged(folder: Path, files: VersionFiles) -> None:
    """Check that a folder still has the same files. Raises `ServingError` ABORTED."""
    if not files.same_content(scan_files(folder)):
        text = f"the files in {folder} were changed while they were loaded; they are loaded again"
        raise ServingError(StatusCode.ABORTED, text)


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
        self._file = ConfigWatcher(config, listener.problem)
        self._listener = listener
        self._prover = BatchingProver(listener.batching)
        self._models: dict[str, RepositoryModel] = {}
        self._snapshots: dict[str, RepositorySnapshot] = {}
        self._logged: dict[str, tuple[str, ...]] = {}
        self._bases: dict[str, Stamp | None] = {}
        self._scan_s = _QUICKEST_SCAN_S
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._loads: SimpleQueue[tuple[str, int, VersionRecord] | None] = SimpleQueue()

    def start(self) -> None:
        """Begin to follow the file."""
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        threading.Thread(target=self._run_loads, name="load", daemon=True).start()
        self._prover.start()

    def stop(self) -> None:
        """Stop following the file; loaded versions stay loaded."""
        self._stopped = True
        self._wake.set()
        self._loads.put(None)
        self._prover.stop()

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
        return {
            name: list(snapshot.condition.problems)
            for name, snapshot in self._snapshots.items()
            if snapshot.configured and model in (None, name)
        }

    def warnings(self, model: str | None = None) -> dict[str, list[str]]:
        """Return what an operator should know of each configured model, or the given one, although it may be ready."""
        return {
            name: [*snapshot.condition.warnings, *snapshot.condition.pending]
            for name, snapshot in self._snapshots.items()
            if snapshot.configured
            and model in (None, name)
            and (snapshot.condition.warnings or snapshot.condition.pending)
        }

    @property
    def config_problem(self) -> str:
        """Why models.config cannot be used; "": it is used."""
        return self._file.problem

    def is_pending(self, models: Collection[str]) -> bool:
        """Whether something of these models is yet to be loaded, and neither answers nor has failed."""
        snapshots = self._snapshots
        return any(name not in snapshots or snapshots[name].condition.pending for name in models)

    # watching

    def _watch(self) -> None:
        while not self._stopped:
            try:
                self._reconcile()
            except Exception as error:  # the thread must survive every error of the file system
                self._log_changes("", (f"watching {self._file.path}: {type(error).__name__}: {error}",))
            self._await_change()

    def _await_change(self) -> None:
        """Wait until the file or a base path changes or a load ends, at most until the next scan of the folders."""
        end, glance = time.monotonic() + self._scan_s, time.monotonic() + _BASE_POLL_S
        while not self._wake.wait(_FILE_POLL_S):
            now = time.monotonic()
            if now >= end or self._file.changed():
                break
            if now >= glance:
                if self._bases != self._stamp_bases():
                    self._scan_s = _QUICKEST_SCAN_S
                    break
                glance = now + _BASE_POLL_S
        self._wake.clear()

    def _stamp_bases(self) -> dict[str, Stamp | None]:
        return {
            name: _base_stamp(model.config.base_path) for name, model in list(self._models.items()) if not model.removed
        }

    def _reconcile(self) -> None:
        begin = time.monotonic()
        configs = self._file.read()
        with self._lock:
            if configs is not None:
                self._apply(configs)
            models = {name: model for name, model in self._models.items() if not model.removed}
            self._bases = self._stamp_bases()
        scans = {name: model.scan() for name, model in models.items()}  # without the lock: a file system may be slow
        now = time.monotonic()
        surplus: list[tuple[VersionRecord, Servable]] = []
        with self._lock:
            for name, model in self._models.items():
                scan = scans.get(name)
                if scan is not None and scan.config is model.config and not model.removed:
                    self._queue_loads(name, model, model.take_over(scan, now))
                surplus += model.take_surplus()
            self._publish()
        for version, servable in surplus:  # after the snapshot was replaced, so that no request finds them
            threading.Thread(target=self._unload, args=(version, servable), name="unload", daemon=True).start()
        self._pace(now - begin)

    def _pace(self, seconds: float) -> None:
        """Choose when the folders are scanned again: soon while something is pending, then less and less often."""
        pending = self.is_pending([name for name, snapshot in self._snapshots.items() if snapshot.configured])
        wait = _QUICKEST_SCAN_S if pending else min(self._scan_s * _SLOWDOWN, _CALM_SCAN_S)
        self._scan_s = max(wait, min(_SCAN_SHARE * seconds, _SLOWEST_SCAN_S))

    def _apply(self, configs: tuple[ModelConfig, ...]) -> None:
        named = {config.name: config for config in configs}
        for name, model in self._models.items():
            model.removed = name not in named
        for name, config in named.items():
            model = self._models.setdefault(name, RepositoryModel(config))
            model.config = config
        self._scan_s = _QUICKEST_SCAN_S

    def _queue_loads(self, name: str, model: RepositoryModel, due: list[int]) -> None:
        for number in due:
            version = model.versions[number]
            version.loading = True
            if version.servable and version.failure is None:
                text = f"model {name}: the files of version {number} in {version.folder} were changed; they are loaded"
                self._listener.problem(text)
            self._loads.put((name, number, version))

    def _unload(self, version: VersionRecord, servable: Servable) -> None:
        servable.close()
        with self._lock:
            if version.state == "UNLOADING":
                version.end()
        self._wake.set()

    # loading

    def _run_loads(self) -> None:
        while (item := self._loads.get()) is not None:
            self._load(*item)

    def _load(self, name: str, number: int, version: VersionRecord) -> None:
        with self._lock:
            desired = self._models[name].is_desired(number)
            if desired:
                version.begin()
                self._publish()
            else:
                version.loading = False
                return
            folder, present = version.folder, version.present
        begin = time.monotonic()
        problem: ServingError | None = None
        before = None
        try:
            servable, files = _load_files(self._load_version, name, number, folder)
        except ServingError as error:
            problem = error
        seconds = time.monotonic() - begin
        self._listener.loaded(str(folder), seconds, problem)
        with self._lock:
            version.loading = False
            if problem is None:
                before = version.succeed(servable, files)
            elif problem.code is StatusCode.ABORTED:
                version.postpone(time.monotonic())
            else:
                version.fail(problem, present, time.monotonic(), seconds)
            self._publish()
        if problem is None:
            self._prover.add(servable)
        if before is not None:
            threading.Thread(target=before.close, name="unload", daemon=True).start()
        self._wake.set()

    # publishing

    def _publish(self) -> None:
        """Replace the snapshots that requests see. Called with the lock held."""
        for name, model in self._models.items():
            snapshot = self._snapshots[name] = model.snapshot()
            self._log_changes(f"model {name}: ", snapshot.condition.logged)

    def _log_changes(self, prefix: str, texts: tuple[str, ...]) -> None:
        """Log what was not logged when this was called with the prefix before."""
        known = self._logged.get(prefix, ())
        self._logged[prefix] = texts
        for text in texts:
            if text not in known:
                self._listener.problem(prefix + text)
