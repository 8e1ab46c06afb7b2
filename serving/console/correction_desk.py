"""Where corrections are kept: whether they are taken at all, how much may wait for review, and the two objects of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchard import layout
from orchard.documents import canonical_json
from orchard.errors import ObjectChanged, ObjectNotFound, StoreDenied, StoreError
from orchard.review.correction import Correction, keep_correction
from orchard.store.objects import ObjectStore
from serving.log import EventLog

__all__ = ["MOST_CORRECTIONS", "CorrectionDesk", "CorrectionLimits"]

MOST_CORRECTIONS = 10_000
"""How many corrections of a model may wait for review."""

_CHECK_S = 60.0
"""How long the result of a check is used, in seconds; a failure's a sixth of it."""

_NO_ETAG = '"00000000000000000000000000000000"'
_OFF = "Corrections are not taken here: this console was started without them."
_DENIED = "Corrections are not taken here: this console has no right to store them."
_FAILED = "Corrections cannot be stored at the moment: the store does not answer."
_FULL = "Corrections are not taken at the moment: as many as are kept wait for review already."


@dataclass(frozen=True, slots=True)
class CorrectionLimits:
    """What bounds corrections.

    Attributes:
        per_hour: how many a client may send in an hour.
        space: the bytes of photos that may wait for review; 0: no corrections are taken.
    """

    per_hour: int = 30
    space: int = 1 << 30


class CorrectionDesk:
    """Keeps corrections in the store; any thread may call it.

    Args:
        store: the store, with a key that may write to the folder `orchard.layout.review`.
        model: the model's name.
        limits: what bounds them.
        log: the event log.
        clock: the time in seconds.
    """

    def __init__(
        self,
        store: ObjectStore,
        model: str,
        limits: CorrectionLimits,
        log: EventLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._store = store
        self._model = model
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._problem, self._until = "", -1.0
        self._count, self._bytes = 0, 0

    def problem(self) -> str:
        """Return why corrections are not taken, a sentence; empty: they are. The answer may be a minute old."""
        if not self.limits.space:
            return _OFF
        with self._lock:
            if self._clock() > self._until:
                self._check()
            if not self._problem and (self._count >= MOST_CORRECTIONS or self._bytes >= self.limits.space):
                return _FULL
            return self._problem

    def _check(self) -> None:
        before, reason = self._problem, ""
        try:
            self._check_right()
            self._count = sum(1 for _ in self._store.list(layout.corrections(self._model)))
            self._bytes = sum(stat.size for stat in self._store.list(layout.corrected_photos(self._model)))
            self._problem = ""
        except StoreError as error:
            self._problem = _DENIED if isinstance(error, StoreDenied) else _FAILED
            reason = error.message
        if self._problem != before:
            self._log.write("corrections", taken=not self._problem, reason=reason)
        self._until = self._clock() + (_CHECK_S / 6 if self._problem else _CHECK_S)

    def _check_right(self) -> None:
        """Check the right to write without writing: the condition of the write is never true. Raises `StoreError`."""
        try:
            self._store.swap(layout.never_written(layout.review(self._model)), canonical_json({}), _NO_ETAG)
        except (ObjectChanged, ObjectNotFound):
            return

    def keep(self, correction: Correction, photo: bytes, media_type: str) -> bool:
        """Store a correction; the same one again changes nothing. Returns whether it is new. Raises `StoreError`."""
        new = keep_correction(self._store, correction, photo, media_type)
        if new:
            with self._lock:
                self._count, self._bytes = self._count + 1, self._bytes + len(photo)
            self._log.write("correction", id=correction.id, version=correction.version, known=correction.known)
        return new
