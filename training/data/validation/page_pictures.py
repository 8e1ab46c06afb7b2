"""Pictures of chosen photos, for pages."""

from __future__ import annotations

from pathlib import Path

from training import pages
from training.data.shards import iterate

__all__ = ["read_pictures"]


def read_pictures(folder: Path, digests: set[str], side: int) -> dict[str, str]:
    """Return the photos with these digests as data URIs of at most `side` pixels a side, by digest."""
    found: dict[str, str] = {}
    for batch in iterate(folder, columns=("image.bytes", "sha256")) if digests else ():
        if len(found) == len(digests):
            break  # the rest of the dataset need not be read
        bodies = batch["image"].field("bytes")
        for row, digest in enumerate(batch["sha256"].to_pylist()):
            if digest in digests and digest not in found:
                found[digest] = pages.thumbnail(bodies[row].as_py(), side)
    return found
