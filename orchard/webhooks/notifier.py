"""A pass over all receivers: find new events, queue them, send what is due. See `orchard.webhooks.deliveries` for its records.

Each receiver gets its events in order, in a thread of its own: a dead or slow one holds up nobody else, and costs one
attempt a pass. A failed attempt ends the pass of that receiver. How long it is left alone grows with the failures in a row.
An event is given up when the receiver says `FINAL_TRIES` times that this request will not pass, or when it has waited for
`GIVE_UP` and the receiver still does not answer. `resend` sends what was given up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from orchard.errors import ConflictError, DataError, IntegrityError, OrchardError
from orchard.registry.registry import Registry
from orchard.webhooks.deliveries import (
    MOST_ATTEMPTS,
    MOST_FAILED,
    DeliveryAttempt,
    DeliveryRecord,
    DeliveryState,
    HeldQueue,
    ReceiverQueue,
    take_queue,
)
from orchard.webhooks.event_source import EventSource, FoundEvents, LocatedEvent, SourcePosition
from orchard.webhooks.outgoing_post import PostResult, post_message
from orchard.webhooks.receivers import WebhookReceiver
from orchard.webhooks.webhook_events import FORMS, WebhookEvent, message_body
from orchard.webhooks.webhook_signature import sign_message

__all__ = ["DELAYS_S", "GIVE_UP", "Notifier", "NotifyResult", "ReceiverResult", "send_event"]

DELAYS_S = (10, 60, 300, 1800, 7200, 21600)
"""How long a receiver is left alone after its first, second … failure in a row; the last one again and again."""

GIVE_UP = timedelta(hours=24)
FINAL_TRIES = 3
MOST_WAITING = 5000
_THREADS = 16


@dataclass(frozen=True, slots=True)
class ReceiverResult:
    """What a pass did for a receiver.

    Attributes:
        receiver: its name.
        delivered: how many events it got in this pass.
        waiting: how many wait.
        failed: how many were given up, in all passes, and were not sent again.
        problem: why the last attempt failed, or nothing was sent; empty: all is well.
        remedy: what to do; empty: wait, or unknown.
        next_try: when it is tried again (RFC 3339, UTC); None: with the next event.
        began: whether it was seen for the first time.
    """

    receiver: str
    delivered: int = 0
    waiting: int = 0
    failed: int = 0
    problem: str = ""
    remedy: str = ""
    next_try: str | None = None
    began: bool = False


@dataclass(frozen=True, slots=True)
class NotifyResult:
    """What a pass did: for each receiver, and why some channels or runs could not be read."""

    receivers: tuple[ReceiverResult, ...]
    problems: dict[str, OrchardError]


def send_event(receiver: WebhookReceiver, event: WebhookEvent, now: datetime) -> PostResult:
    """Sign an event and send it to a receiver, once.

    Args:
        receiver: the receiver.
        event: the event.
        now: the time of the attempt.
    """
    body = message_body(event, receiver.form)
    headers = {"content-type": FORMS[receiver.form], "user-agent": "orchard"}
    headers |= sign_message(event.id, int(now.timestamp()), body, receiver.secrets)
    return post_message(receiver.url, body, headers, internal=receiver.internal)


@dataclass(slots=True)
class Notifier:
    """Sends a model's events to receivers.

    Attributes:
        holder: a name that no other process has.
        source: derives the events.
        now: the time, UTC.
        send: sends one event: `send_event`.
    """

    holder: str
    source: EventSource = field(default_factory=EventSource)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    send: Callable[[WebhookReceiver, WebhookEvent, datetime], PostResult] = send_event

    def run_pass(
        self,
        registry: Registry,
        receivers: Iterable[WebhookReceiver],
        *,
        since: datetime | None = None,
        resend: bool = False,
    ) -> NotifyResult:
        """Find new events and send what is due.

        A receiver that was never seen gets what happens from now on.

        Args:
            registry: the model, with the keys that are trusted.
            receivers: where its events go.
            since: also events since this time that a receiver never got.
            resend: send the events that were given up again, and try at once where a receiver was left alone.

        Raises:
            StoreError: the store failed while events were searched for.
        """
        nowhere = SourcePosition({}, datetime.fromtimestamp(0, UTC).isoformat())
        taken: list[tuple[WebhookReceiver, HeldQueue]] = []
        broken: list[ReceiverResult] = []
        for one in receivers:
            try:
                held = take_queue(registry.store, registry.model, one.name, self.holder, nowhere)
                taken.append((one, held))
            except IntegrityError as error:
                broken.append(ReceiverResult(one.name, problem=error.message, remedy=error.hint))
        starts = [held.queue.position for _, held in taken if held.etag is not None]
        if since:
            starts.append(SourcePosition({}, since.astimezone(UTC).isoformat()))
        found = self.source.read(registry, _earliest(starts))
        serve = partial(self._serve, found=found, since=since, resend=resend)
        with ThreadPoolExecutor(_THREADS) as pool:
            return NotifyResult((*pool.map(lambda pair: serve(*pair), taken), *broken), found.problems)

    def _serve(
        self, receiver: WebhookReceiver, held: HeldQueue, *, found: FoundEvents, since: datetime | None, resend: bool
    ) -> ReceiverResult:
        """Do a receiver's part of a pass. An error of the store is its problem, and nobody else's."""
        began, delivered = held.etag is None, 0
        try:
            if held.is_held_by_another(self.now()):
                raise ConflictError(f"another `orchard notify` works for the receiver {receiver.name}")
            self._queue_events(receiver, held, found, since)
            if resend:
                self._queue_failed(held)
            result = PostResult()
            if held.queue.waiting and _is_due(held.queue, self.now()):
                delivered, result = self._send_waiting(receiver, held)
            if held.queue.lease is not None:
                held.write(held.queue, self.now(), release=True)
        except OrchardError as error:
            return _result_of(receiver.name, held, delivered, began, error.message, error.hint)
        return _result_of(receiver.name, held, delivered, began, result.problem, result.remedy)

    def _queue_events(
        self, receiver: WebhookReceiver, held: HeldQueue, found: FoundEvents, since: datetime | None
    ) -> None:
        """Record the new events that a receiver takes, then that they wait and up to where events were found."""
        before = held.queue
        if held.etag is None:
            if found.problems:  # a channel without a position would begin with its whole history
                raise next(iter(found.problems.values()))
            before = _at(before, found)
        new = [one.event for one in found.events if _is_new(one, before, since) and one.event.type in receiver.events]
        after, now = _at(before, found), self.now()
        if not new:
            if held.etag is None or after != before:
                held.write(after, now, release=True)
            return
        if len(new) + len(before.waiting) > MOST_WAITING:
            raise DataError(
                f"{len(new)} events are new; at most {MOST_WAITING} wait", hint="begin with a later --since"
            )
        held.write(before, now)  # takes the lease, so that nobody else sends what is recorded now
        known = {*before.waiting, *before.failed}
        records = [held.create_record(event, now) for event in new if event.id not in known]
        waiting = [one.event.id for one in records if one.state == "waiting"]
        held.write(replace(after, waiting=(*before.waiting, *waiting)), now)

    def _queue_failed(self, held: HeldQueue) -> None:
        """Let the events wait again that were given up, before the others, and try at once."""
        again = []
        for event_id in held.queue.failed:
            known = held.read_record(event_id)
            if known is not None and known[0].state == "failed":
                queued = self.now().isoformat()
                held.write_record(replace(known[0], state="waiting", queued=queued, tries=0), known[1])
            again.append(event_id)
        waiting = (*again, *held.queue.waiting)
        if waiting or held.queue.next_try:
            queue = replace(held.queue, waiting=waiting, failed=(), failing=0, next_try=None)
            held.write(queue, self.now())

    def _send_waiting(self, receiver: WebhookReceiver, held: HeldQueue) -> tuple[int, PostResult]:
        """Send what waits, until an attempt fails; returns how many events arrived, and how the last attempt ended."""
        delivered = 0
        held.renew(self.now())
        while held.queue.waiting:
            event_id = held.queue.waiting[0]
            known = held.read_record(event_id)
            if known is None or known[0].state != "waiting":  # sent before, by a pass that was killed
                held.queue = _without_first(held.queue)
                continue
            held.renew(self.now())
            record, etag = known
            now = self.now()
            result = self.send(receiver, record.event, now)
            record = _attempted(record, result, now)
            held.write_record(record, etag)
            if result.problem:
                self._leave_alone(held, record, result)
                return delivered, result
            delivered += 1
            held.queue = replace(_without_first(held.queue), failing=0, next_try=None)
        return delivered, PostResult()

    def _leave_alone(self, held: HeldQueue, record: DeliveryRecord, result: PostResult) -> None:
        """Choose when a receiver is tried again, and give up what has waited too long."""
        now = self.now()
        queue = _without_first(held.queue) if record.state == "failed" else held.queue
        lost = [record.event.id] if record.state == "failed" else []
        failing = queue.failing + 1
        if failing >= FINAL_TRIES:
            for event_id in queue.waiting:
                known = held.read_record(event_id)
                if known is not None and datetime.fromisoformat(known[0].queued) <= now - GIVE_UP:
                    held.write_record(replace(known[0], state="failed"), known[1])
                    lost.append(event_id)
        wait_s = max(DELAYS_S[min(failing, len(DELAYS_S)) - 1], result.wait_s)
        held.write(
            replace(
                queue,
                waiting=tuple(item for item in queue.waiting if item not in lost),
                failed=(*queue.failed, *lost)[-MOST_FAILED:],
                failing=failing,
                next_try=(now + timedelta(seconds=wait_s)).isoformat(),
            ),
            now,
        )


def _earliest(starts: list[SourcePosition]) -> SourcePosition | None:
    """The position after which everything is new for at least one receiver; None: there is no receiver yet."""
    if not starts:
        return None
    names = {name for start in starts for name in start.channels}
    channels = {name: min(start.channels.get(name, 0) for start in starts) for name in names}
    return SourcePosition(channels, min(starts, key=lambda start: start.runs_time).runs)


def _later(position: SourcePosition, found: SourcePosition) -> SourcePosition:
    channels = {name: max(found.channels.get(name, 0), generation) for name, generation in position.channels.items()}
    return SourcePosition({**found.channels, **channels}, max(position, found, key=lambda one: one.runs_time).runs)


def _at(queue: ReceiverQueue, found: FoundEvents) -> ReceiverQueue:
    """Return a queue whose receiver was served up to what was found."""
    position = _later(queue.position, found.position)
    recent = [one.event.id for one in found.events if one.modified is not None and one.is_after(position)]
    return replace(queue, position=position, recent=tuple(recent))


def _is_new(one: LocatedEvent, queue: ReceiverQueue, since: datetime | None) -> bool:
    if since is not None and not one.is_before(since):
        return True
    return one.is_after(queue.position) and one.event.id not in queue.recent


def _is_due(queue: ReceiverQueue, now: datetime) -> bool:
    return queue.next_try is None or datetime.fromisoformat(queue.next_try) <= now


def _without_first(queue: ReceiverQueue) -> ReceiverQueue:
    return replace(queue, waiting=queue.waiting[1:])


def _attempted(record: DeliveryRecord, result: PostResult, now: datetime) -> DeliveryRecord:
    """Return the record after an attempt."""
    attempt = DeliveryAttempt(now.isoformat(), result.status, result.problem, result.remedy)
    attempts, tries = (*record.attempts, attempt)[-MOST_ATTEMPTS:], record.tries + 1
    given_up = result.final and tries >= FINAL_TRIES
    state: DeliveryState = "failed" if given_up else "waiting" if result.problem else "delivered"
    return replace(record, state=state, tries=tries, attempts=attempts)


def _result_of(
    receiver: str, held: HeldQueue, delivered: int, began: bool, problem: str, remedy: str
) -> ReceiverResult:
    queue = held.queue
    waiting, failed = len(queue.waiting), len(queue.failed)
    return ReceiverResult(receiver, delivered, waiting, failed, problem, remedy, queue.next_try, began)
