"""The photos that the demo trains on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from orchard.errors import DataError

__all__ = ["SampleData", "find"]

CHECKOUT = Path(__file__).resolve().parents[2]
SHARED = CHECKOUT.parent / "shared" / "data"

WORKSHOP = (
    *("Apricot", "Avocado", "Banana", "Clementine", "Cocos", "Kiwi", "Lemon", "Limes"),
    *("Mandarine", "Orange", "Peach", "Pineapple", "Plum", "Pomegranate", "Raspberry", "Strawberry"),
)
"""The 16 classes of the workshop: a subset of the real photos that trains in half a minute."""

TEST_SHARE = 0.2
"""The share of somebody's own photos that tests the model, if no folder names the splits."""


@dataclass(frozen=True, slots=True)
class SampleData:
    """Photos for the demo.

    Attributes:
        name: the dataset's name.
        title: a description for people.
        paths: the arguments of `orchard ingest`; empty: synthetic photos have to be drawn first.
        classes: the classes to ingest; empty: all.
        test_share: the share of each class that becomes test photos if no folder names a split; None: folders name them.
    """

    name: str
    title: str
    paths: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    test_share: float | None = None

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
            hint="name a folder or tar with <class>/*.jpg or <split>/<class>/*.jpg in it, or leave out DATA",
        )
    name = "own-" + hashlib.sha256(str(path).encode()).hexdigest()[:8]  # other photos, another dataset
    return SampleData(name, f"your photos in {path}", (path,), test_share=TEST_SHARE)
