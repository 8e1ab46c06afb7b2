"""What the page of `orchard validate` shows of near-copies: groups with their pictures, and the command that removes them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from training.data.validation.near_duplicates import NearDuplicates
from training.data.validation.page_pictures import read_pictures

__all__ = ["near_section"]

GROUPS = 30
PHOTOS = 6
THUMBNAIL = 110
DIGITS = 12


def near_section(near: NearDuplicates, folder: Path, name: str) -> dict[str, Any]:
    """Return what the page shows.

    Args:
        near: the near-copies.
        folder: the dataset folder, for the pictures.
        name: the dataset's name.
    """
    shown = [group[:PHOTOS] for group in near.groups[:GROUPS]]
    pictures = read_pictures(folder, {photo.digest for group in shown for photo in group}, THUMBNAIL)
    leaks = [group for group in near.groups[:GROUPS] if len({photo.split for photo in group}) > 1]
    digests = [photo.digest[:DIGITS] for group in leaks for photo in group if photo.split == "train"]
    command = shlex.join(["orchard", "data", "remove", "--dataset", name, "--why", "a near-copy is in test"])
    return {
        "checked": near.checked,
        "across_splits": sum(near.across_splits.values()),
        "across_classes": sum(near.across_classes.values()),
        "frames": near.frames,
        "total": len(near.groups),
        "groups": [[(photo, photo.digest[:DIGITS], pictures[photo.digest]) for photo in group] for group in shown],
        "sizes": [len(group) for group in near.groups[:GROUPS]],
        "remove": " \\\n  ".join([command, *digests]) if digests else "",
    }
