"""Numbers as TF Serving writes them: six significant digits if they are exact, else as many as the type needs.

TF Serving does not write float16 and bfloat16; here they follow the same rule. Six digits always suffice for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.server.runtime.tensors import Array

__all__ = ["decimal_texts", "narrow_texts"]

_FULL_DIGITS = {np.dtype(np.float32): "%.9g", np.dtype(np.float64): "%.17g"}
_NEAR = {np.dtype(np.float32): 0.75, np.dtype(np.float64): 64.0}
"""Multiples of the distance to the next number beyond which a decimal is certainly another number: half of that
distance, and the rounding error of the arithmetic in doubles."""

_MAX_RELATIVE_ERROR = 2.0**-22
"""A decimal with a larger relative error is nearer to another float32."""
_NORMAL = 1e-37
"""Above this a float32 is normal and has its full precision."""

_FEW = 8
_LARGE = 1e6
"""Above this a number with more than six digits may be an integer."""


def _with_point(text: str) -> str:
    """Add a decimal point to an integer, so that a reader gets the same type for every value of a list."""
    return text if "." in text or "e" in text else text + ".0"


def _non_finite(number: float) -> str:
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


def _ambiguous(values: Array) -> list[int]:
    """Return the indices of values whose six digits may be exact or that may need a point; most values are neither."""
    if values.size <= _FEW:
        return list(range(values.size))
    with np.errstate(all="ignore"):  # zeros, NaN and infinities count as ambiguous
        wide: Any = np.abs(values.astype(np.float64, copy=False))
        scale = 10.0 ** (5 - np.floor(np.log10(wide)))
        error = np.abs(np.rint(wide * scale) / scale - wide)
        certain = (error > _NEAR[values.dtype] * np.spacing(np.abs(values))) & (wide < _LARGE)
    return np.flatnonzero(~certain).tolist()


def _round_trips(text: str, number: float, *, narrow: bool) -> bool:
    """Whether a decimal text, parsed as a float32 (`narrow`) or a float64, is exactly `number`."""
    error = abs(float(text) - number)
    if not error or not narrow:
        return not error
    if error > abs(number) * _MAX_RELATIVE_ERROR and abs(number) > _NORMAL:
        return False
    return bool(np.float32(text) == number)


def decimal_texts(values: Array) -> list[str]:
    """Return the JSON text of each float32 or float64 of a flat array; NaN and infinities are unquoted, as in TF Serving."""
    numbers = values.tolist()
    full, narrow = _FULL_DIGITS[values.dtype], values.dtype == np.float32
    texts = ((full + " ") * len(numbers) % tuple(numbers)).split()
    for index in _ambiguous(values):
        number = numbers[index]
        short = f"{number:.6g}"
        if number - number != 0:
            texts[index] = _non_finite(number)
        elif _round_trips(short, number, narrow=narrow):
            texts[index] = _with_point(short)
        else:
            texts[index] = _with_point(texts[index])
    return texts


def narrow_texts(values: Array) -> list[str]:
    """Return the JSON text of each float16 or bfloat16, given as float32, of a flat array."""
    return [_with_point(f"{x:.6g}") if x - x == 0 else _non_finite(x) for x in values.tolist()]
