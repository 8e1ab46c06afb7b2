"""A day's new photos in the store as a source: ``incoming/<dataset>/<day>/[<split>/]<class>/<photo>``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from orchard import layout
from orchard.store import ObjectStore
from orchard.store.listing import flaw
from training.data.ingest.layouts import SPLIT_OF
from training.data.ingest.placement import Entry, PhotoPlacement, make_entry
from training.data.photo_objects import list_names, read_in_order
from training.data.rejections import PhotoRejected, RejectedPhoto, RejectionReason, escaped, readable

__all__ = ["SOURCE", "IncomingPhotos"]

SOURCE = "daily"
"""The source of such photos, unless the options name another."""

HINT = "a day holds <class>/<photo>, or <split>/<class>/<photo>"


@dataclass(frozen=True, slots=True)
class IncomingPhotos:
    """The photos in the store for a dataset and a day (``YYYY-MM-DD``). No name in it can reach the disk.

    `split` is the split of photos whose folders name none.
    """

    store: ObjectStore
    dataset: str
    day: str
    split: str

    def __str__(self) -> str:
        return f"{self.folder}/"

    @property
    def folder(self) -> str:
        """The photos' folder in the store."""
        return layout.incoming(self.dataset, self.day)

    def names(self) -> list[str]:
        """The photos' sorted paths in the folder."""
        return list_names(self.store, self.folder)

    def walk(self, placing: PhotoPlacement) -> Iterator[Entry]:
        """Yield an entry for each object, in the order of the names."""
        placing = PhotoPlacement(None, None, placing.largest)
        keys = [f"{self.folder}/{name}" for name in self.names()]
        for key, body in read_in_order(self.store, keys, placing.largest):
            if isinstance(body, PhotoRejected) and flaw(key):
                yield RejectedPhoto(escaped(key), body.reason, body.detail)
                continue
            parts = tuple(key.removeprefix(f"{self.folder}/").split("/"))
            if len(parts) == 2:
                parts = (self.split, *parts)
            is_placed = len(parts) == 3 and parts[0].lower() in SPLIT_OF
            if not is_placed and not parts[-1].startswith("."):
                yield RejectedPhoto(readable(key), RejectionReason.MISPLACED, HINT)
                continue
            yield make_entry(key, (SOURCE, *parts), SOURCE, placing, partial(_body_or_raise, body))


def _body_or_raise(body: bytes | PhotoRejected) -> bytes:
    if isinstance(body, PhotoRejected):
        raise body
    return body
