"""What the store keeps of webhooks: a queue for each receiver, and a record of each delivery.

- The *record* of an event for a receiver is created before the first attempt, with the event in it, and swapped by each
  attempt. So an event that was found is not lost, its repetitions have the same body, and what was sent is known.
- The *queue* of a receiver says up to where events were found, which records wait, and when the receiver is tried again. It
  has the lease, too: who sends to this receiver now, and until when. Every change is a swap, so that two programs never
  both go on. A program that was killed holds its lease until it ends; one that wakes up later cannot swap any more.

A lease ends by the clock. A wrong clock costs an event that is sent twice with one id, never one that is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from orchard import layout
from orchard.documents import FORMAT, canonical_json, decode, encode, parse, strict_dataclass
from orchard.errors import ConflictError, ObjectChanged
from orchard.store.conditional import create_once, get_or_none, swap_once
from orchard.store.objects import ObjectStat, ObjectStore
from orchard.webhooks.event_source import SourcePosition
from orchard.webhooks.webhook_events import WebhookEvent

__all__ = [
    "DeliveryAttempt",
    "DeliveryRecord",
    "DeliveryState",
    "HeldQueue",
    "ReceiverQueue",
    "list_deliveries",
    "take_queue",
]

DeliveryState = Literal["waiting", "delivered", "failed"]

LEASE = timedelta(minutes=3)
"""How long a lease holds: longer than the resolution of a name and one POST. It is renewed before each POST."""

MOST_FAILED = 5000
"""The largest number of failed events that a queue keeps for `orchard notify --resend`; of older ones, the records stay."""

MOST_ATTEMPTS = 20
_THREADS = 8


@strict_dataclass
class DeliveryAttempt:
    """One POST: the time (RFC 3339, UTC), the status of the answer (None: there was none), why it failed, what to do."""

    at: str
    status: int | None
    problem: str
    remedy: str


@strict_dataclass
class DeliveryRecord:
    """What is known of an event for a receiver.

    Attributes:
        format: of the document, 1.
        receiver: its name.
        event: the event.
        state: `waiting` for its first or next attempt, `delivered`, or `failed`: given up until it is sent again.
        queued: when it was found (RFC 3339, UTC).
        tries: how many attempts there were, since it was queued or sent again.
        attempts: the newest ones, the oldest first.
    """

    format: int
    receiver: str
    event: WebhookEvent
    state: DeliveryState
    queued: str
    tries: int = 0
    attempts: tuple[DeliveryAttempt, ...] = ()


@strict_dataclass
class QueueLease:
    """Who works on a queue, and until when (RFC 3339, UTC)."""

    holder: str
    until: str


@strict_dataclass
class ReceiverQueue:
    """The state of a receiver.

    Attributes:
        format: of the document, 1.
        receiver: its name.
        turn: how often it was changed.
        position: up to where events were found.
        recent: ids of the events of runs that are at most `OVERLAP` older than the position, and were found.
        waiting: ids of the events to send, in order.
        failed: ids of the events that were given up.
        failing: how many attempts in a row failed.
        next_try: before this time nothing is sent (RFC 3339, UTC); None: at once.
        lease: who works on it; None: nobody.
    """

    format: int
    receiver: str
    turn: int
    position: SourcePosition
    recent: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    failing: int = 0
    next_try: str | None = None
    lease: QueueLease | None = None


@dataclass(slots=True)
class HeldQueue:
    """A receiver's queue, as it was read or written last. It can be changed while the lease is held.

    Attributes:
        store: the store.
        model: the model.
        queue: its state.
        etag: of its object; None: there is none yet.
        holder: who works with it, a name that no other process has.
    """

    store: ObjectStore
    model: str
    queue: ReceiverQueue
    etag: str | None
    holder: str

    def write(self, queue: ReceiverQueue, now: datetime, *, release: bool = False) -> None:
        """Replace the queue, and renew or release the lease.

        Raises:
            ConflictError: another program has taken the queue.
        """
        lease = None if release else QueueLease(self.holder, (now + LEASE).isoformat())
        changed = replace(queue, turn=self.queue.turn + 1, lease=lease)
        key = layout.webhook_queue(self.model, queue.receiver)
        try:
            self.etag = swap_once(self.store, key, canonical_json(encode(changed)), self.etag).etag
        except ObjectChanged as error:
            raise ConflictError(f"another `orchard notify` works for the receiver {queue.receiver}") from error
        self.queue = changed

    def is_held_by_another(self, now: datetime) -> bool:
        """Whether another program works on it."""
        lease = self.queue.lease
        return lease is not None and lease.holder != self.holder and datetime.fromisoformat(lease.until) > now

    def renew(self, now: datetime) -> None:
        """Renew the lease if half of it is over. Raises `ConflictError`."""
        lease = self.queue.lease
        if lease is None or datetime.fromisoformat(lease.until) - now < LEASE / 2:
            self.write(self.queue, now)

    def create_record(self, event: WebhookEvent, now: datetime) -> DeliveryRecord:
        """Return the record of an event, which is created if there is none."""
        new = DeliveryRecord(FORMAT, self.queue.receiver, event, "waiting", now.isoformat())
        key = layout.webhook_delivery(self.model, self.queue.receiver, event.id)
        return _decode(create_once(self.store, key, canonical_json(encode(new))).body, key)

    def read_record(self, event_id: str) -> tuple[DeliveryRecord, str] | None:
        """Return a record and its ETag, or None if there is none. Raises `IntegrityError`."""
        key = layout.webhook_delivery(self.model, self.queue.receiver, event_id)
        stored = get_or_none(self.store, key)
        return None if stored is None else (_decode(stored.body, key), stored.etag)

    def write_record(self, record: DeliveryRecord, etag: str) -> None:
        """Replace a record.

        Raises:
            ConflictError: another program has changed it.
        """
        key = layout.webhook_delivery(self.model, self.queue.receiver, record.event.id)
        try:
            swap_once(self.store, key, canonical_json(encode(record)), etag)
        except ObjectChanged as error:
            raise ConflictError(f"another `orchard notify` works for the receiver {record.receiver}") from error


def take_queue(store: ObjectStore, model: str, receiver: str, holder: str, begin: SourcePosition) -> HeldQueue:
    """Read a receiver's queue; where there is none, it begins at a position. Nothing is written.

    Args:
        store: the store.
        model: the model.
        receiver: its name.
        holder: a name that no other process has.
        begin: where a receiver begins that has never been seen.

    Raises:
        IntegrityError: it is invalid.
    """
    key = layout.webhook_queue(model, receiver)
    stored = get_or_none(store, key)
    if stored is None:
        return HeldQueue(store, model, ReceiverQueue(FORMAT, receiver, 0, begin), None, holder)
    queue = decode(ReceiverQueue, parse(stored.body, key), key)
    return HeldQueue(store, model, queue, stored.etag, holder)


def list_deliveries(store: ObjectStore, model: str, limit: int, receiver: str | None = None) -> list[DeliveryRecord]:
    """Return the records that were changed last, the newest first.

    Args:
        store: the store.
        model: the model.
        limit: how many at most.
        receiver: only those of this receiver; None: all.

    Raises:
        IntegrityError: one is invalid.
    """
    newest = sorted(_stats(store, model, receiver), key=lambda stat: stat.modified, reverse=True)[:limit]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda stat: _decode(store.get(stat.key).body, stat.key), newest))
    return sorted(found, key=lambda one: one.attempts[-1].at if one.attempts else one.queued, reverse=True)


def _stats(store: ObjectStore, model: str, receiver: str | None) -> Iterator[ObjectStat]:
    for stat in store.list(layout.webhooks(model)):
        name = layout.receiver_of_delivery_key(stat.key)
        if name is not None and receiver in (None, name):
            yield stat


def _decode(body: bytes, key: str) -> DeliveryRecord:
    return decode(DeliveryRecord, parse(body, key), key)
