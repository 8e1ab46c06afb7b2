"""The suspects of a label check: labels.json, and what the page of `orchard validate` shows of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.data.validation.page_pictures import read_pictures

__all__ = ["LABELS", "LabelCheck", "SuspectPhoto", "corrections", "page_section"]

PICTURES = 60
"""Suspects that the page shows; labels.json has all."""

THUMBNAIL = 132
LABELS = "labels.json"
DIGITS = 12
"""Of a digest, as the page shows it."""

REASONS = {
    "predicted": "models that had not seen it predict {}",
    "neighbours": "the most similar photos are {}",
}


@dataclass(frozen=True, slots=True)
class SuspectPhoto:
    """A photo whose label is probably wrong.

    Attributes:
        path: its file name.
        digest: SHA-256 (hex) of its bytes.
        source: where it comes from.
        label: its class.
        suggested: the class that it probably shows.
        score: more than 0.5, where both classes are equally probable, up to 1.
        reasons: see `training.data.validation.label_errors`.
    """

    path: str
    digest: str
    source: str
    label: str
    suggested: str
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """The result of a label check.

    Attributes:
        dataset_digest: of the dataset's index.
        backbones: whose features were used.
        checked: the number of checked photos by source.
        suspects: the most probable first.
    """

    dataset_digest: str
    backbones: tuple[str, ...]
    checked: dict[str, int]
    suspects: tuple[SuspectPhoto, ...]

    @property
    def document(self) -> dict[str, Any]:
        """The content of labels.json."""
        return {
            "format": 1,
            "dataset_digest": self.dataset_digest,
            "backbones": list(self.backbones),
            "checked": self.checked,
            "suspects": [{**asdict(suspect), "reasons": list(suspect.reasons)} for suspect in self.suspects],
        }


def page_section(check: LabelCheck, folder: Path, name: str) -> dict[str, Any]:
    """Return what the page shows of a check: the first suspects with their pictures, and how to correct a label.

    Args:
        check: the check.
        folder: the dataset folder, for the pictures.
        name: the dataset's name.
    """
    shown = check.suspects[:PICTURES]
    pictures = read_pictures(folder, {suspect.digest for suspect in shown}, THUMBNAIL)
    return {
        "checked": sum(check.checked.values()),
        "total": len(check.suspects),
        "backbones": check.backbones,
        "shown": [
            {
                "suspect": suspect,
                "picture": pictures[suspect.digest],
                "digest": suspect.digest[:DIGITS],
                "why": "; ".join(REASONS[reason].format(suspect.suggested) for reason in suspect.reasons),
            }
            for suspect in shown
        ],
        "relabel": corrections(shown, name),
    }


def corrections(suspects: Sequence[SuspectPhoto], name: str) -> str:
    """The command that gives photos of a dataset their suggested classes, with a line for each photo."""
    command = shlex.join(["orchard", "data", "relabel", "--dataset", name, "--from", f"artifacts/validation/{LABELS}"])
    return " \\\n  ".join([command, *(suspect.digest[:DIGITS] for suspect in suspects)])
