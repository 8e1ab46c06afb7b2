"""A day's new photos in the store as a source: ``incoming/<dataset>/<day>/<class>/<photo>``, or with a split before the class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from orchard import layout
from orchard.store import ObjectStore
from orchard.store.listing import flaw
from training.data.ingest.sources import SPLIT_OF, Entry, PhotoPlacement, make_entry
from training.data.photo_objects import list_names, read_in_order
from training.data.rejections import PhotoRejected, RejectedPhoto, RejectionReason, escaped, readable

__all__ = ["SOURCE", "IncomingPhotos"]

SOURCE = "daily"
"""The source under which such photos are counted, unless another is named."""

HINT = "a day holds <class>/<photo>, or <split>/<class>/<photo>"


@dataclass(frozen=True, slots=True)
class IncomingPhotos:
    """What lies in the store for a dataset on a day. No name in it can reach the disk.

    Attributes:
        store: where.
        dataset: the dataset's name.
        day: ``YYYY-MM-DD``.
        split: of photos whose folders name none.
    """

    store: ObjectStore
    dataset: str
    day: str
    split: str

    def __str__(self) -> str:
        return f"{self.folder}/"

    @property
    def folder(self) -> str:
        """Where the photos lie."""
        return layout.incoming(self.dataset, self.day)

    def names(self) -> list[str]:
        """The photos' paths in the folder, sorted."""
        return list_names(self.store, self.folder)

    def walk(self, placing: PhotoPlacement) -> Iterator[Entry]:
        """Yield everything that lies there, in the order of the names."""
        placing = PhotoPlacement(None, None, placing.largest)
        keys = [f"{self.folder}/{name}" for name in self.names()]
        for key, body in read_in_order(self.store, keys, placing.largest):
            if isinstance(body, PhotoRejected) and flaw(key):
                yield RejectedPhoto(escaped(key), body.reason, body.detail)
                continue
            parts = tuple(key.removeprefix(f"{self.folder}/").split("/"))
            if len(parts) == 2:
                parts = (self.split, *parts)
            named = len(parts) == 3 and parts[0].lower() in SPLIT_OF
            if not named and not parts[-1].startswith("."):
                yield RejectedPhoto(readable(key), RejectionReason.MISPLACED, HINT)
                continue
            yield make_entry(key, (SOURCE, *parts), SOURCE, placing, partial(_opened, body))


def _opened(body: bytes | PhotoRejected) -> bytes:
    if isinstance(body, PhotoRejected):
        raise body
    return body
