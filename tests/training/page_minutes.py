"""Pages that are compared: each says to the minute when it was made, and a minute may end between two of them."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["read_files", "without_minutes"]


def without_minutes(page: str) -> str:
    """A page without the minutes in it."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", page)


def read_files(folder: Path) -> dict[str, str]:
    """The texts of the files in a folder, without minutes, by name."""
    return {path.name: without_minutes(path.read_text(encoding="utf-8")) for path in folder.iterdir()}
