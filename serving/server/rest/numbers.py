"""Numbers as TF Serving writes them: six significant digits where they suffice, else as many as bring the number back."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.server.runtime.tensors import Array

__all__ = ["decimal_texts"]

_FULL_DIGITS = {np.dtype(np.float32): "%.9g", np.dtype(np.float64): "%.17g"}
_NEAR = {np.dtype(np.float32): 0.75, np.dtype(np.float64): 64.0}
"""Steps between neighbouring numbers beyond which a decimal is surely another number: half a step, and what the
arithmetic in doubles may be off."""

_SURELY_OFF = 2.0**-22
"""Of a float32: a decimal that is off by more than this part of it is nearer to another."""
_NORMAL = 1e-37
"""From here on a float32 has all its digits."""

_FEW = 8
_MAYBE_WHOLE = 1e6
"""From here on a number with more than six digits may have none after the point."""


def _whole(text: str) -> str:
    """Mark a whole number as a decimal, so that every value of a list has the same type for its reader."""
    return text if "." in text or "e" in text else text + ".0"


def _odd(number: float) -> str:
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


def _perhaps_short(values: Array) -> list[int]:
    """Where six digits might suffice, or a point be missing. The others, most of what a network answers, are certain."""
    if values.size <= _FEW:
        return list(range(values.size))
    with np.errstate(all="ignore"):  # zeros, NaN and infinities come out as "perhaps"
        wide: Any = np.abs(values.astype(np.float64, copy=False))
        scale = 10.0 ** (5 - np.floor(np.log10(wide)))
        off = np.abs(np.rint(wide * scale) / scale - wide)
        certain = (off > _NEAR[values.dtype] * np.spacing(np.abs(values))) & (wide < _MAYBE_WHOLE)
    return np.flatnonzero(~certain).tolist()


def _brings_back(text: str, number: float, *, narrow: bool) -> bool:
    """Whether a decimal text, read as a float32 (`narrow`) or a float64, is that number."""
    off = abs(float(text) - number)
    if not off or not narrow:
        return not off
    if off > abs(number) * _SURELY_OFF and abs(number) > _NORMAL:
        return False
    return bool(np.float32(text) == number)


def decimal_texts(values: Array) -> list[str]:
    """Return the JSON text of each float32 or float64 of a flat array; NaN and infinities bare, as TF Serving does."""
    numbers = values.tolist()
    full, narrow = _FULL_DIGITS[values.dtype], values.dtype == np.float32
    texts = ((full + " ") * len(numbers) % tuple(numbers)).split()
    for index in _perhaps_short(values):
        number = numbers[index]
        short = f"{number:.6g}"
        if number - number != 0:
            texts[index] = _odd(number)
        elif _brings_back(short, number, narrow=narrow):
            texts[index] = _whole(short)
        else:
            texts[index] = _whole(texts[index])
    return texts
