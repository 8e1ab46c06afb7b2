"""One member of an archive, whatever the archive's format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath, PureWindowsPath

__all__ = ["ArchiveMember", "MemberKind"]


class MemberKind(Enum):
    """What a member is."""

    FILE = "a file"
    FOLDER = "a folder"
    LINK = "a link"
    OTHER = "neither a file nor a folder"


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A member, which is read at once or never.

    Attributes:
        name: its path in the archive, as it is there.
        kind: what it is.
        size: how many bytes the archive's directory gives it.
        read: returns its bytes, at most `size`; raises `PhotoRejected` if this member alone cannot be read.
        link: of a link, in words, where it leads to and how to make an archive without it.
    """

    name: str
    kind: MemberKind
    size: int
    read: Callable[[], bytes]
    link: str = ""

    @property
    def leads_out(self) -> bool:
        """Whether its name would be outside the folder that the archive is unpacked into, on any system."""
        pure = PurePosixPath(self.name)
        is_absolute = pure.is_absolute() or PureWindowsPath(self.name).is_absolute() or self.name.startswith("\\")
        return is_absolute or ".." in pure.parts or "\0" in self.name

    @property
    def parts(self) -> tuple[str, ...]:
        """Its path, part by part."""
        return tuple(part for part in PurePosixPath(self.name).parts if part != ".")
