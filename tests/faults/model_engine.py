"""TF Serving's configuration semantics in a few lines, and tasks without a thread, for schedules of sync."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

from orchard.client import VersionStatus
from orchard.errors import IntegrityError, ServerError
from orchard.registry.registry import Registry
from orchard.store import ObjectStore
from serving.models_config import ModelConfig, Specific, parse
from serving.sync.channel_watcher import TrustedKeysFile
from serving.sync.engine import EngineUnavailable
from serving.sync.version_cache import check_bytes
from tests.serving.model_registry import MODEL

__all__ = ["BROKEN", "GOOD", "WRONG", "ModelEngine", "run_now"]

GOOD, WRONG, BROKEN = "good", "wrong", "broken"


def run_now(name, work, done) -> Future:
    """`run_in_background` without a thread, so that a schedule depends only on its steps; a kill in `work` kills sync."""
    future: Future = Future()
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
    done()
    return future


class ModelEngine:
    """TF Serving's reading of models.config; a version's fingerprint has its kind: good, wrong or broken.

    While it is `failing`, it loads nothing and predicts nothing.
    """

    def __init__(self, config: Path, base: Path, store: ObjectStore, trust: TrustedKeysFile) -> None:
        self.config, self.base, self.store, self.trust = config, base, store, trust
        self.up = True
        self.loaded: dict[int, VersionStatus] = {}
        self.labels: dict[str, int] = {}
        self.served_before = False
        self.rotted: set[int] = set()
        self.failing = False

    def kind(self, version: int) -> str:
        return (self.base / str(version) / "fingerprint.pb").read_text().split()[0]

    def reload(self, *, fresh: bool = False) -> None:
        """Apply the file as TF Serving does: it checks labels, then loads versions, then unloads others."""
        if fresh:
            self.loaded, self.labels = {}, {}
        try:
            models = parse(self.config.read_text())
        except OSError:
            return
        model = models[0] if models else ModelConfig(MODEL, str(self.base), Specific(()))
        available = {number for number, status in self.loaded.items() if status.state == "AVAILABLE"}
        if not fresh and self.served_before:
            refused = {label: number for label, number in model.labels.items() if number not in available}
            assert not refused, f"TF Serving would refuse the whole file: {refused} of {available}"
        for number in model.policy.versions:
            if number not in self.loaded or self.loaded[number].state == "END":
                self.load(number)
        for number in set(self.loaded) - set(model.policy.versions):
            self.loaded[number] = VersionStatus(number, "END", "")
        self.labels = {label: number for label, number in model.labels.items() if self.is_available(number)}
        remaining = [number for number in self.loaded if self.is_available(number)]
        assert remaining or not self.served_before or self.rotten() or self.failing, "no version is served"
        self.served_before = bool(self.labels) or (self.served_before and bool(remaining))

    def rotten(self) -> set[int]:
        """Versions that were set aside because their bytes had changed, and are not downloaded again yet."""
        self.rotted = {number for number in self.rotted if not (self.base / str(number)).exists()}
        return self.rotted

    def load(self, number: int) -> None:
        if not (self.base / str(number)).exists():
            return  # TF Serving logs a warning and continues
        manifest = Registry(self.store, MODEL, self.trust.current()).manifest(number)
        check_bytes(self.base / str(number), manifest)  # the engine never sees half a version
        broken = self.failing or self.kind(number) == BROKEN
        self.loaded[number] = VersionStatus(number, "END" if broken else "AVAILABLE", "no" if broken else "")

    def is_available(self, number: int) -> bool:
        return number in self.loaded and self.loaded[number].state == "AVAILABLE"

    # the interface for sync

    def versions(self) -> dict[int, VersionStatus]:
        if not self.up:
            raise EngineUnavailable("down")
        return dict(self.loaded)

    def label(self, label: str) -> int | None:
        return self.labels.get(label) if self.up else None

    def predict_golden(self, version: int, folder: Path) -> int:
        if not self.up:
            raise EngineUnavailable("down")
        if self.failing:
            raise ServerError("out of memory")
        if self.kind(version) == WRONG:
            raise IntegrityError("wrong answers")
        return 1
