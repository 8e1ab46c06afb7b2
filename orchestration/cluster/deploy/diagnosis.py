"""A fault of a deployment and its remedy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Diagnosis"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A fault and its remedy, a sentence each."""

    wrong: str
    remedy: str
