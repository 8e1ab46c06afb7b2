"""The shapes that a signature declares for its inputs: what is proved for them holds for no others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchard.savedmodel.signatures import SignatureDef, TensorInfo

__all__ = ["DeclaredShapes", "is_batchable"]

_MAX_SHAPES = 1024


def is_batchable(signature: SignatureDef) -> bool:
    """Whether every input and output of a signature declares rows: a first dimension of any size."""
    infos = (*signature.inputs.values(), *signature.outputs.values())
    return bool(signature.inputs) and all(info.shape and info.shape[0].size == -1 for info in infos)


class DeclaredShapes:
    """Decides which inputs have the declared shapes; it remembers the answers, because every request needs one.

    Args:
        infos: the inputs.
    """

    def __init__(self, infos: Iterable[TensorInfo]) -> None:
        self._declared = [tuple(dim.size for dim in (info.shape or ())[1:]) for info in infos]
        self._found: dict[tuple[Any, ...], bool] = {}

    def accepts(self, shape: tuple[Any, ...]) -> bool:
        """Whether the inputs, each given by its sizes without the first one, have the declared shapes."""
        found = self._found.get(shape)
        if found is None:
            if len(self._found) >= _MAX_SHAPES:
                self._found.clear()
            found = self._found[shape] = all(map(_has_sizes, shape, self._declared))
        return found


def _has_sizes(sizes: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(sizes) == len(declared) and all(known in (-1, size) for size, known in zip(sizes, declared, strict=True))
