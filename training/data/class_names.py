"""The names of classes: which are valid, and the form in which they are compared."""

from __future__ import annotations

import unicodedata

from training.data.rejections import readable

__all__ = ["normalise_label"]

MAX_NAME_LETTERS = 120


def normalise_label(label: str) -> str:
    """Return a class's name in the form that is compared. Raises `ValueError` if it is not a valid name."""
    name = unicodedata.normalize("NFC", label.strip())
    if not name or len(name) > MAX_NAME_LETTERS or readable(name) != name:
        raise ValueError(
            f"{readable(label)!r} is not a valid name of a class: expected up to {MAX_NAME_LETTERS} printable characters"
        )
    if "/" in name or name in {".", ".."}:
        raise ValueError(f"{name!r} is not a valid name of a class: it must be the name of a folder, without slashes")
    return name
