"""The photos that the demo trains on, and those that it predicts."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchard.errors import DataError

__all__ = ["SampleData", "find", "unseen"]

CHECKOUT = Path(__file__).resolve().parents[2]
SHARED = CHECKOUT.parent / "shared" / "data"
TEST_SPLITS = {"test", "val", "validation"}
SUFFIXES = {".jpg", ".jpeg", ".png"}

WORKSHOP = (
    *("Apricot", "Avocado", "Banana", "Clementine", "Cocos", "Kiwi", "Lemon", "Limes"),
    *("Mandarine", "Orange", "Peach", "Pineapple", "Plum", "Pomegranate", "Raspberry", "Strawberry"),
)
"""The 16 classes of the workshop: a subset of the real photos that trains in half a minute."""

PREFERRED_CLASS = "Banana"
"""The class of the predicted photo, if the photos have it."""


@dataclass(frozen=True, slots=True)
class SampleData:
    """Photos for the demo.

    Attributes:
        name: the dataset's name.
        title: a description for people.
        paths: the arguments of `orchard ingest`; empty: synthetic photos have to be drawn first.
        classes: the classes to ingest; empty: all.
    """

    name: str
    title: str
    paths: tuple[Path, ...]
    classes: tuple[str, ...] = ()

    @property
    def has_thresholds(self) -> bool:
        """Whether these are the photos that the thresholds in params.yaml were set for."""
        return self.name == "workshop"


def find(data: str | None) -> SampleData:
    """Choose the photos.

    Args:
        data: a folder, a tar, ``synthetic``, or None: the real photos if they are there, else synthetic ones.

    Raises:
        DataError: the path does not exist.
    """
    real = (SHARED / "fruits.tar.gz", SHARED / "shop.tar.gz")
    if data is None and all(path.exists() for path in real):
        return SampleData("workshop", "real photos: the 16 workshop classes, turntable and shop", real, WORKSHOP)
    if data in {None, "synthetic"}:
        reason = " (there are no real ones in ../shared/data)" if data is None else ""
        return SampleData("synthetic", f"synthetic photos{reason}", ())
    path = Path(str(data)).expanduser().absolute()
    if not path.exists():
        raise DataError(
            f"{path} does not exist",
            hint="name a folder or tar with <split>/<class>/*.jpg in it (splits train and test), or leave out DATA",
        )
    name = "own-" + hashlib.sha256(str(path).encode()).hexdigest()[:8]  # other photos, another dataset
    return SampleData(name, f"your photos in {path}", (path,))


def unseen(source: SampleData, paths: tuple[Path, ...]) -> Iterator[tuple[str, str, bytes]]:
    """Yield (class, source, bytes) of one test photo of each path: training never sees them."""
    for path in paths:
        photo = _from_folder(path, source.classes) if path.is_dir() else _from_tar(path, source.classes)
        if photo is not None:
            name, body = photo
            yield name.parent.name, path.name.split(".")[0], body


def _is_test_photo(name: PurePosixPath, classes: tuple[str, ...]) -> bool:
    parts = name.parts
    return (
        len(parts) >= 3
        and parts[-3].lower() in TEST_SPLITS
        and name.suffix.lower() in SUFFIXES
        and (not classes or parts[-2] in classes)
    )


def _preferred(names: list[PurePosixPath]) -> PurePosixPath | None:
    return min(names, key=lambda name: (name.parent.name != PREFERRED_CLASS, str(name)), default=None)


def _from_folder(folder: Path, classes: tuple[str, ...]) -> tuple[PurePosixPath, bytes] | None:
    names = [PurePosixPath(path.relative_to(folder.parent)) for path in sorted(folder.rglob("*")) if path.is_file()]
    chosen = _preferred([name for name in names if _is_test_photo(name, classes)])
    return None if chosen is None else (chosen, (folder.parent / chosen).read_bytes())


def _from_tar(path: Path, classes: tuple[str, ...]) -> tuple[PurePosixPath, bytes] | None:
    with tarfile.open(path) as archive:
        members = {PurePosixPath(member.name): member for member in archive if member.isfile()}
        chosen = _preferred([name for name in members if _is_test_photo(name, classes)])
        content = None if chosen is None else archive.extractfile(members[chosen])
        return None if chosen is None or content is None else (chosen, content.read())
