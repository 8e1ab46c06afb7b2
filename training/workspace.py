"""Where a workspace keeps what the steps hand on to each other; docs/architecture.md draws the same folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHECKPOINTS", "Workspace"]

CHECKPOINTS = ".orchard/checkpoints"
"""Where a workspace keeps how far trainings got; `orchard step` brings it from one pod to the next."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder that looks like a checkout to the verbs: the one that they are run in.

    Attributes:
        root: the folder.
    """

    root: Path = Path()

    @property
    def candidate(self) -> Path:
        """What training leaves behind."""
        return self.root / "artifacts" / "candidate"

    @property
    def evaluation(self) -> Path:
        """What the candidate is worth."""
        return self.root / "artifacts" / "evaluation"

    @property
    def gate(self) -> Path:
        """What the gate said of it."""
        return self.root / "artifacts" / "gate"

    def dataset(self, name: str) -> Path:
        """A dataset's folder."""
        return self.root / "data" / name
