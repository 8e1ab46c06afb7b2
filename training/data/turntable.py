"""Photos of a turntable, told by their file names: ``[<axis>_]<frame>_<side>.jpg``. Neighbouring frames are near-copies."""

from __future__ import annotations

import re

__all__ = ["Turn", "read_turn"]

Turn = tuple[str, int]
"""The rotation axis (``""``, ``"r"``, ``"r2"``) and the frame."""

_FRAME = re.compile(r"(?:(r\d*)_)?(\d+)_\d+\.\w+")


def read_turn(path: str) -> Turn | None:
    """Read the axis and the frame off a file name (``r_42_100.jpg`` is ``("r", 42)``); None if it has another form."""
    match = _FRAME.fullmatch(path.rsplit("/", 1)[-1])
    return (match[1] or "", int(match[2])) if match else None
