"""Why a file is rejected: a reason for programs and a sentence for people."""

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
    PAGES = "several pages"
    MODE = "unsupported mode"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    UNKNOWN_CLASS = "unknown class"
    MISPLACED = "misplaced"
    UNLABELLED = "no label"
    AMBIGUOUS = "several labels"
    NO_PHOTO = "no photo"
    DUPLICATE = "duplicate"
    LEAK = "leak"
    UNREADABLE = "unreadable"
    UNSAFE = "unsafe path"
    LINK = "link"
    SPECIAL = "special file"

    @property
    def tolerable(self) -> bool:
        """Whether an ingest may leave out a few such files. Files that no archive should hold always fail it."""
        return self not in {RejectionReason.UNSAFE, RejectionReason.LINK, RejectionReason.SPECIAL}

    @property
    def rule(self) -> str:
        """The key of data/schema.yaml that decides about it; empty: none."""
        rules = {"too small": "side.min", "too large": "side.max, full_size or bytes", "decompression bomb": "pixels"}
        return rules.get(self, "")


@dataclass(frozen=True, slots=True)
class RejectedPhoto:
    """A rejected file: its path for people, the reason, and in detail what is wrong and what to do."""

    path: str
    reason: RejectionReason
    detail: str


class PhotoRejected(Exception):
    """A file is not a photo that can be stored."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def readable(name: str) -> str:
    """Return any file name as text that can be printed and written as JSON; lossy."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def escaped(name: str) -> str:
    """Return a file name as printable text without loss: with Python's escapes for letters that are not printable."""
    doubled = name.replace("\\", "\\\\")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in doubled)
