"""The folders of a workspace, by which the steps exchange files; docs/architecture.md draws the same folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHECKPOINTS", "LOOKS", "Workspace"]

CHECKPOINTS = ".orchard/checkpoints"
"""The folder of the trainings' checkpoints; `orchard step` brings it from one pod to the next."""

LOOKS = ".orchard/looks"
"""The folder of the looks at test photos; see `training.evaluation.looks`."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder that the verbs run in: a checkout, or one with the same folders."""

    root: Path = Path()

    @property
    def candidate(self) -> Path:
        """The folder that `train` writes."""
        return self.root / "artifacts" / "candidate"

    @property
    def evaluation(self) -> Path:
        """The folder that `evaluate` writes."""
        return self.root / "artifacts" / "evaluation"

    @property
    def gate(self) -> Path:
        """The folder that `gate` writes."""
        return self.root / "artifacts" / "gate"

    @property
    def card(self) -> Path:
        """The folder of the model card, which `gate` and `publish` write."""
        return self.root / "artifacts" / "card"

    @property
    def looks(self) -> Path:
        """The folder of the looks at test photos."""
        return self.root / LOOKS

    def dataset(self, name: str) -> Path:
        """The folder of a dataset."""
        return self.root / "data" / name
