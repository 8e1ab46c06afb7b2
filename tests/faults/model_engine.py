"""TF Serving's configuration semantics in a few lines, and an errand without a thread, for schedules of sync."""

from __future__ import annotations

from pathlib import Path

from orchard.client import VersionStatus
from orchard.errors import IntegrityError
from orchard.registry.registry import Registry
from orchard.store import ObjectStore
from serving.models_config import ModelConfig, Specific, parse
from serving.sync.background_task import BackgroundTask
from serving.sync.channel_watcher import TrustedKeysFile
from serving.sync.engine import EngineUnavailable
from serving.sync.version_cache import check_bytes
from tests.serving.model_registry import MODEL

__all__ = ["BROKEN", "GOOD", "WRONG", "ImmediateTask", "ModelEngine"]

GOOD, WRONG, BROKEN = "good", "wrong", "broken"


class ImmediateTask(BackgroundTask):
    """An errand that is done when it is sent, so that a schedule is a function of its steps; a kill in it kills sync."""

    def __init__(self, subject, work, done) -> None:
        self.subject, self._work, self._done, self._outcome = subject, work, done, None
        self._run()


class ModelEngine:
    """TF Serving's reading of models.config; what a version is good for stands in its fingerprint."""

    url = "bench"

    def __init__(self, config: Path, base: Path, store: ObjectStore, trust: TrustedKeysFile) -> None:
        self.config, self.base, self.store, self.trust = config, base, store, trust
        self.up = True
        self.loaded: dict[int, VersionStatus] = {}
        self.labels: dict[str, int] = {}
        self.served_before = False
        self.rotted: set[int] = set()

    def kind(self, version: int) -> str:
        return (self.base / str(version) / "fingerprint.pb").read_text().split()[0]

    def reload(self, *, fresh: bool = False) -> None:
        """Take over the file as TF Serving does: labels are checked first, then versions are loaded, then others unloaded."""
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
        still = [number for number in self.loaded if self.is_available(number)]
        assert still or not self.served_before or self.rotten(), "nothing is served any more"
        self.served_before = bool(self.labels) or (self.served_before and bool(still))

    def rotten(self) -> set[int]:
        """Versions that were taken away because their bytes had changed, and are not back yet."""
        self.rotted = {number for number in self.rotted if not (self.base / str(number)).exists()}
        return self.rotted

    def load(self, number: int) -> None:
        if not (self.base / str(number)).exists():
            return  # TF Serving warns and goes on
        manifest = Registry(self.store, MODEL, self.trust.keys()).manifest(number)
        check_bytes(self.base / str(number), manifest)  # the engine never sees half a version
        broken = self.kind(number) == BROKEN
        self.loaded[number] = VersionStatus(number, "END" if broken else "AVAILABLE", "no" if broken else "")

    def is_available(self, number: int) -> bool:
        return number in self.loaded and self.loaded[number].state == "AVAILABLE"

    # what sync asks

    def versions(self) -> dict[int, VersionStatus]:
        if not self.up:
            raise EngineUnavailable("down")
        return dict(self.loaded)

    def label(self, label: str) -> int | None:
        return self.labels.get(label) if self.up else None

    def ask_golden(self, version: int, folder: Path) -> int:
        if not self.up:
            raise EngineUnavailable("down")
        if self.kind(version) == WRONG:
            raise IntegrityError("wrong answers")
        return 1
