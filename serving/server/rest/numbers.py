"""Numbers as TF Serving writes them: six significant digits where they suffice, else as many as bring the number back."""

from __future__ import annotations

import numpy as np

from serving.server.runtime.tensors import Array

__all__ = ["decimal_texts"]

_FULL_DIGITS = {np.dtype(np.float32): "%.9g", np.dtype(np.float64): "%.17g"}


def _whole(text: str) -> str:
    """Mark a whole number as a decimal, so that every value of a list has the same type for its reader."""
    return text if "." in text or "e" in text else text + ".0"


def decimal_texts(values: Array) -> list[str]:
    """Return the JSON text of each float32 or float64 of a flat array; NaN and infinities bare, as TF Serving does."""
    numbers = values.tolist()
    texts = ("%.6g " * len(numbers) % tuple(numbers)).split()
    short = np.array([float(text) for text in texts], values.dtype) == values
    full = _FULL_DIGITS[values.dtype]
    for index in np.flatnonzero(~short).tolist():
        texts[index] = full % numbers[index]
    texts = [_whole(text) for text in texts]
    for index in np.flatnonzero(~np.isfinite(values)).tolist():
        number = numbers[index]
        texts[index] = "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
    return texts
