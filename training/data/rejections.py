"""Why a file does not become a photo of the dataset: one word for programs, one sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["PhotoRejected", "RejectedPhoto", "RejectionReason", "escaped", "readable"]


class RejectionReason(StrEnum):
    """What is wrong with a file."""

    EMPTY = "empty file"
    NOT_AN_IMAGE = "not an image"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    BOMB = "decompression bomb"
    ANIMATED = "animated"
    MODE = "unsupported mode"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    UNKNOWN_CLASS = "unknown class"
    MISPLACED = "misplaced"
    DUPLICATE = "duplicate"
    LEAK = "leak"
    UNREADABLE = "unreadable"
    UNSAFE = "unsafe path"
    LINK = "link"
    SPECIAL = "special file"

    @property
    def tolerable(self) -> bool:
        """Whether a few such files may be left out. What an archive should never hold, no share excuses."""
        return self not in {RejectionReason.UNSAFE, RejectionReason.LINK, RejectionReason.SPECIAL}


@dataclass(frozen=True, slots=True)
class RejectedPhoto:
    """A file that was refused.

    Attributes:
        path: where it is, as a person would look for it.
        reason: what is wrong.
        detail: what exactly, and what to do.
    """

    path: str
    reason: RejectionReason
    detail: str


class PhotoRejected(Exception):
    """A file is no photo that can be stored."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def readable(name: str) -> str:
    """Return a file name as text that can be printed and written as JSON, whatever bytes it was made of."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def escaped(name: str) -> str:
    """Return a file name as printable text that tells it exactly: with Python's escapes for what is not printable."""
    doubled = name.replace("\\", "\\\\")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in doubled)
