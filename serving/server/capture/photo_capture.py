"""Captures a share of the photos and their predictions: after the reply, in one thread, within a fixed memory.

The event loop draws a number for each request, and puts a chosen one into a queue when it is answered. The thread removes
the photos' metadata, and writes a file when 8 MiB of photos are together or the oldest is a minute old, and when the server
drains. While the store does not answer, the file is tried again and the queue fills up; what does not fit is dropped and
counted. Photos that wait for the thread take 32 MiB at most, those of the file that is being made three times 8 MiB.
"""

from __future__ import annotations

import hmac
import os
import random
import threading
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from orchard import layout
from orchard.errors import ObjectExists, OrchardError
from orchard.request_headers import NO_CAPTURE_HEADER
from serving.log import EventLog
from serving.photo_metadata import without_metadata
from serving.server.batching import lower_priority
from serving.server.capture.capture_sample import CaptureSample, client_of
from serving.server.capture.captured_rows import CapturedRow, write_rows
from serving.server.server_metrics import ServerMetrics

if TYPE_CHECKING:
    from orchard.settings import Settings
    from orchard.store.objects import ObjectStore

__all__ = ["CaptureOptions", "PhotoCapture"]

MAX_WAITING = 32 << 20
"""The most bytes of photos that wait for the thread."""

FILE_BYTES = 8 << 20
"""The most bytes of photos in a file, and the largest photo that is captured."""

FILE_SECONDS = 60.0
"""The age of the oldest photo at which a file is written."""

_PER_PHOTO = 1 << 10
"""What a waiting photo takes beside its bytes, rounded up."""

_TICK_S, _REPORT_S = 0.5, 60.0
_RETRY_S, _MAX_RETRY_S = 1.0, 30.0
_NICE = 10
_HASH_DIGITS = 16
"""Digits of a client's hash: enough to tell clients apart."""

Prediction = tuple[str | None, float | None, bool | None]
"""Label, probability and unsure."""


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """What is captured, and where it is written.

    Attributes:
        share: the probability that a request is captured, above 0 to 1.
        settings: those of the store.
        seed: what the daily salts are made of; the workers of a server share it, and nobody stores it.
    """

    share: float
    settings: Settings
    seed: bytes = field(default_factory=lambda: os.urandom(32), repr=False)


@dataclass(frozen=True, slots=True)
class _Answered:
    """A chosen request that was answered; the outputs of its batch are not kept."""

    model: str
    version: int
    time: float
    sample: CaptureSample
    predictions: list[Prediction]
    bytes: int


class PhotoCapture:
    """Captures photos and their predictions.

    Args:
        share: the probability that a request is captured.
        seed: of `CaptureOptions`.
        store: where the files are written.
        metrics: counts what is captured and what is dropped.
        log: gets a line at most once a minute.
        file_seconds: the age of the oldest photo at which a file is written.
    """

    def __init__(
        self,
        share: float,
        seed: bytes,
        store: ObjectStore,
        metrics: ServerMetrics,
        log: EventLog,
        file_seconds: float = FILE_SECONDS,
    ) -> None:
        self._share = share
        self._seed = seed
        self._store = store
        self._metrics = metrics
        self._log = log
        self._file_seconds = file_seconds
        self._random = random.Random().random  # noqa: S311  of this process: workers are forked
        self._queue: deque[_Answered] = deque()
        self._rows: list[tuple[str, CapturedRow]] = []
        self._row_bytes, self._begin = 0, 0.0
        self._accepted = self._released = 0  # bytes that wait for the thread; each is changed by one thread alone
        self._taken = self._ended = 0  # photos, likewise
        self._wake, self._closing = threading.Event(), threading.Event()
        self._dropped: Tally[str] = Tally()
        self._lock = threading.Lock()  # of the tally
        self._problem = ""
        self._reported = -_REPORT_S
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    @classmethod
    def start(cls, options: CaptureOptions, metrics: ServerMetrics, log: EventLog) -> Self:
        """Capture as the options say. Raises `SettingsError` if those of the store are invalid."""
        from orchard.store import open_store

        return cls(options.share, options.seed, open_store(options.settings), metrics, log)

    # in the event loop's thread

    def chooses(self) -> bool:
        """Draw whether the next request is captured."""
        return self._random() < self._share

    def sample(
        self, headers: Mapping[str, str], remote: str, request_id: str, channel: str | None
    ) -> CaptureSample | None:
        """Begin to capture a request that was chosen; None: its sender forbids it.

        Args:
            headers: the request's, or the metadata of a call.
            remote: the address of the connection.
            request_id: the request's id; empty: a new one.
            channel: the channel that the request named, if it named one.
        """
        if NO_CAPTURE_HEADER in headers:
            self._drop("opt_out", 1)
            return None
        return CaptureSample(request_id or os.urandom(8).hex(), client_of(headers, remote), channel)

    def offer(self, model: str, version: int, sample: CaptureSample) -> None:
        """Take a request that was answered; it is dropped if there is no room."""
        photos = sample.photos
        if not photos:
            return
        size = sum(map(len, photos)) + _PER_PHOTO * len(photos)
        if self._closing.is_set() or self._accepted - self._released + size > MAX_WAITING:
            self._drop("stopped" if self._closing.is_set() else "full", len(photos))
            return
        self._accepted += size
        self._taken += len(photos)
        self._queue.append(_Answered(model, version, time.time(), sample, sample.take_predictions(), size))
        if self._accepted - self._released >= FILE_BYTES:
            self._wake.set()  # else the thread looks by itself: waking it for each photo would cost more than the photo

    def close(self, timeout_s: float) -> None:
        """Write what waits, and end. What is not written within `timeout_s` seconds is lost."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._drop("stopped", self._taken - self._ended)
        self._report(now=True)

    # in the thread

    def _run(self) -> None:
        lower_priority(_NICE)
        while True:
            self._wake.wait(_TICK_S)
            self._wake.clear()
            closing = self._closing.is_set()  # before the queue is read: nothing is put into it afterwards
            while self._queue:
                self._add(self._queue.popleft())
            if self._rows and (closing or time.monotonic() - self._begin >= self._file_seconds):
                self._write()
            self._report()
            if closing:
                return

    def _add(self, answered: _Answered) -> None:
        """Make rows of a request; write a file when the next photo does not fit into it."""
        self._released += answered.bytes
        sample = answered.sample
        client = self._hash(sample.client, answered.time)
        for number, (photo, prediction) in enumerate(zip(sample.photos, answered.predictions, strict=True)):
            image = without_metadata(photo) if len(photo) <= FILE_BYTES else None
            if image is None:
                self._lose("unreadable" if len(photo) <= FILE_BYTES else "large", 1)
                continue
            if self._row_bytes + len(image) > FILE_BYTES:
                self._write()
            if not self._rows:
                self._begin = time.monotonic()
            row = CapturedRow(
                image, *prediction, answered.version, sample.channel, answered.time, sample.request_id, number, client
            )
            self._rows.append((answered.model, row))
            self._row_bytes += len(image)

    def _hash(self, client: str, when: float) -> str:
        """Hash a client's name with the salt of the day, which cannot be made again once the server has ended."""
        salt = hmac.digest(self._seed, str(int(when // 86400)).encode(), "sha256")
        return hmac.digest(salt, client.encode("utf-8", "replace"), "sha256").hex()[:_HASH_DIGITS]

    def _write(self) -> None:
        """Write the rows: a file for each model and day."""
        groups: dict[tuple[str, str], list[CapturedRow]] = {}
        for model, row in self._rows:
            day = datetime.fromtimestamp(row.time, UTC).date().isoformat()
            groups.setdefault((model, day), []).append(row)
        self._rows, self._row_bytes = [], 0
        for (model, day), rows in groups.items():
            try:
                body = write_rows(rows)
                clock = datetime.fromtimestamp(rows[0].time, UTC).strftime("%H%M%S")
                key = layout.capture_file(model, day, clock, sha256(body).hexdigest())
            except Exception as error:  # a name that no key can have; an error of the writer must not end the thread
                self._problem = str(error) or type(error).__name__
                self._lose("error", len(rows))
                continue
            if self._create(key, body):
                self._ended += len(rows)
                self._metrics.captured.add(model, amount=len(rows))
            else:
                self._lose("store", len(rows))

    def _create(self, key: str, body: bytes) -> bool:
        """Write a file, until it is written or the server drains; returns whether it is written."""
        wait = _RETRY_S
        while True:
            last = self._closing.is_set()
            try:
                with suppress(
                    ObjectExists
                ):  # an earlier try, whose reply was lost: the key has the digest of the bytes
                    self._store.create(key, body)
            except OrchardError as error:
                self._problem = error.message
            else:
                self._problem = ""
                return True
            if last:
                return False
            self._report()
            self._closing.wait(wait)
            wait = min(wait * 2, _MAX_RETRY_S)

    def _lose(self, reason: str, count: int) -> None:
        """Drop photos that the thread has."""
        self._ended += count
        self._drop(reason, count)

    # in both

    def _drop(self, reason: str, count: int) -> None:
        self._metrics.capture_dropped.add(reason, amount=count)
        with self._lock:
            self._dropped[reason] += count

    def _report(self, *, now: bool = False) -> None:
        """Log what was dropped and what the store answered, at most once a minute."""
        clock = time.monotonic()
        if not now and clock - self._reported < _REPORT_S:
            return
        with self._lock:
            dropped, self._dropped = self._dropped, Tally()
        dropped.pop("opt_out", None)  # nobody has to look at it
        if dropped or self._problem:
            self._reported = clock
            fields = {**dropped, **({"reason": self._problem} if self._problem else {})}
            self._log.write("capture", **{"dropped": sum(dropped.values()), **fields})
            self._problem = ""
