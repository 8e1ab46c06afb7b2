"""The corrections that wait for review: what they say by class, which are held, and their end.

Anybody can send corrections. So a class whose corrections come from one or two clients is *held*: one person with a grudge,
or a program, must not be able to fill a class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from orchard import layout
from orchard.errors import IntegrityError, ObjectNotFound
from orchard.review.correction import Correction, read_correction
from orchard.store.objects import ObjectStat, ObjectStore

__all__ = [
    "MOST_HELD",
    "CorrectedClass",
    "PhotoInReview",
    "WaitingCorrections",
    "expired_corrections",
    "read_waiting",
    "remove_corrections",
]

MOST_HELD = 2
"""A class whose corrections come from so many clients or fewer is held."""

_THREADS = 8


@dataclass(frozen=True, slots=True)
class PhotoInReview:
    """A photo about which all agree.

    Attributes:
        sha256: of its bytes.
        label: what they say.
        corrections: one of each client, the oldest first.
    """

    sha256: str
    label: str
    corrections: tuple[Correction, ...]


@dataclass(frozen=True, slots=True)
class CorrectedClass:
    """What people say of one class.

    Attributes:
        label: the class.
        known: whether a version that answered has a class of this name.
        photos: its photos.
        clients: how many clients they come from, at least; digests of clients are compared only where one key made them.
        newest: the time of the newest correction (RFC 3339, UTC).
    """

    label: str
    known: bool
    photos: tuple[PhotoInReview, ...]
    clients: int
    newest: str

    @property
    def held(self) -> bool:
        """Whether too few clients agree."""
        return self.clients <= MOST_HELD


@dataclass(frozen=True, slots=True)
class WaitingCorrections:
    """All corrections of a model.

    Attributes:
        classes: by class, the one with the most photos first.
        disputed: photos that clients give different labels.
        invalid: why a record cannot be used, by its key.
    """

    classes: tuple[CorrectedClass, ...]
    disputed: tuple[str, ...]
    invalid: dict[str, str]


def read_waiting(store: ObjectStore, model: str) -> WaitingCorrections:
    """Read and group the corrections of a model. Of one client's corrections of one photo the newest counts.

    Raises:
        StoreError: the store failed.
    """
    keys = [stat.key for stat in store.list(layout.corrections(model)) if layout.parts_of_correction_key(stat.key)]
    found, invalid = list[Correction](), dict[str, str]()

    def read(key: str) -> Correction | str | None:
        try:
            return read_correction(store, key)
        except ObjectNotFound:
            return None  # it was removed meanwhile
        except IntegrityError as error:
            return error.message

    with ThreadPoolExecutor(_THREADS) as pool:
        for key, item in zip(keys, pool.map(read, keys), strict=True):
            if isinstance(item, Correction):
                found.append(item)
            elif item is not None:
                invalid[key] = item
    photos, disputed = _by_photo(found)
    return WaitingCorrections(tuple(_by_class(photos)), tuple(disputed), invalid)


def _by_photo(corrections: Iterable[Correction]) -> tuple[list[PhotoInReview], list[str]]:
    latest: dict[str, dict[tuple[str, str], Correction]] = defaultdict(dict)
    for one in sorted(corrections, key=lambda item: (item.at, item.id)):
        latest[one.photo][one.salt, one.client] = one
    agreed, disputed = [], []
    for sha256, by_client in sorted(latest.items()):
        labels = {one.label for one in by_client.values()}
        if len(labels) == 1:
            agreed.append(PhotoInReview(sha256, labels.pop(), tuple(sorted(by_client.values(), key=lambda c: c.at))))
        else:
            disputed.append(sha256)
    return agreed, disputed


def _by_class(photos: Iterable[PhotoInReview]) -> list[CorrectedClass]:
    grouped: dict[str, list[PhotoInReview]] = defaultdict(list)
    for photo in photos:
        grouped[photo.label].append(photo)
    found = []
    for label, members in grouped.items():
        all_of_class = [one for photo in members for one in photo.corrections]
        clients: dict[str, set[str]] = defaultdict(set)
        for one in all_of_class:
            clients[one.salt].add(one.client)
        known, newest = any(one.known for one in all_of_class), max(one.at for one in all_of_class)
        found.append(CorrectedClass(label, known, tuple(members), max(map(len, clients.values())), newest))
    return sorted(found, key=lambda one: (-len(one.photos), one.label))


def remove_corrections(store: ObjectStore, model: str, photos: Collection[str]) -> int:
    """Delete all corrections of photos, and the photos; return how many of the photos there were.

    Raises:
        StoreError: the store failed or refused.
    """
    records = [(layout.parts_of_correction_key(stat.key), stat) for stat in store.list(layout.corrections(model))]
    gone = set()
    for parts, stat in records:
        if parts is not None and parts[0] in photos:
            store.delete(stat.key)
            gone.add(parts[0])
    for stat in list(store.list(layout.corrected_photos(model))):
        if layout.sha256_of_corrected_photo_key(stat.key) in photos:
            store.delete(stat.key)
    return len(gone)


def expired_corrections(store: ObjectStore, model: str, limit: datetime) -> Iterator[ObjectStat]:
    """Yield the records that were written before a moment, and then the photos of then that no younger record is about.

    Raises:
        StoreError: the store failed.
    """
    used = set()
    for stat in list(store.list(layout.corrections(model))):
        parts = layout.parts_of_correction_key(stat.key)
        if parts is not None and stat.modified < limit:
            yield stat
        elif parts is not None:
            used.add(parts[0])
    for stat in list(store.list(layout.corrected_photos(model))):
        sha256 = layout.sha256_of_corrected_photo_key(stat.key)
        if sha256 is not None and sha256 not in used and stat.modified < limit:
            yield stat
