"""Events: their types, their ids, and the two forms of their bodies.

The body is a CloudEvent 1.0 in structured mode (https://github.com/cloudevents/spec), with the extension attribute `text`: a
sentence for people, escaped as Slack wants it. An event's id is a digest of the record that it was derived from, so the
same change has the same id in every pass, and no other change has it, in no other store either.

A new type is a row of `EVENT_TYPES` and a function that derives it (`orchard.webhooks.event_source`). Receivers that take
all types then get it, too.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import Any

from orchard.documents import canonical_json, digest, encode, strict_dataclass
from orchard.errors import IntegrityError
from orchard.registry.pointers import ChannelPointer, encode_pointer
from orchard.runs.records import Run, StepRecord

__all__ = [
    "EVENT_TYPES", "FORMS", "WebhookEvent", "change_event", "failure_event", "message_body", "ping_event", "refusal_event",
]  # fmt: skip

PROMOTED, ROLLED_BACK = "orchard.channel.promoted", "orchard.channel.rolled_back"
CANARY_STARTED, CANARY_CHANGED, CANARY_ENDED = (f"orchard.canary.{what}" for what in ("started", "changed", "ended"))
REFUSED, RUN_FAILED, PING = "orchard.gate.refused", "orchard.run.failed", "orchard.ping"

EVENT_TYPES: dict[str, str] = {
    PROMOTED: "a version was promoted to a channel",
    ROLLED_BACK: "a channel was rolled back to an earlier version",
    CANARY_STARTED: "a version gets a share of the traffic as canary",
    CANARY_CHANGED: "the canary's share of the traffic changed",
    CANARY_ENDED: "the canary gets no traffic any more: it was promoted, rolled back, or its share was set to 0",
    REFUSED: "the gate refused the candidate of a run",
    RUN_FAILED: "a step of a run failed; a scheduler may try it again",
}
"""What each type means. A type keeps its name and the fields of its data; new fields may come."""

FORMS = {"cloudevents": "application/cloudevents+json; charset=utf-8", "slack": "application/json; charset=utf-8"}
"""The media type of each form of a body."""

MAX_TEXT, MAX_REASON = 600, 300
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@strict_dataclass
class WebhookEvent:
    """Something that happened, as receivers get it.

    Attributes:
        id: the same in every attempt and every pass; lower-case letters, digits and _.
        type: one of `EVENT_TYPES`.
        time: when it happened, by the clock of the program that did it (RFC 3339, UTC).
        source: the channel or the run, as a URI reference.
        subject: the channel's or the step's name.
        text: a sentence for people, with &, < and > escaped.
        data: the facts, for programs.
    """

    id: str
    type: str
    time: str
    source: str
    subject: str
    text: str
    data: dict[str, Any]


def _event(
    kind: str, origin: dict[str, Any], time: str, source: str, subject: str, text: str, data: dict[str, Any]
) -> WebhookEvent:
    _require_time(time, source)
    short = kind.removeprefix("orchard.").replace(".", "_")
    event_id = f"{short}_{digest({'type': kind, 'origin': origin})[:32]}"
    return WebhookEvent(event_id, kind, time, source, subject, _shortened(text, MAX_TEXT).translate(_SLACK), data)


def _require_time(text: str, source: str) -> None:
    with suppress(ValueError):
        if datetime.fromisoformat(text).tzinfo is not None:
            return
    raise IntegrityError(f"{source} has a change at {text!r}, which is not a time (RFC 3339, UTC)")


def _shortened(text: str, most: int) -> str:
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def change_event(now: ChannelPointer, before: ChannelPointer | None) -> WebhookEvent:
    """Return the event of a change of a channel: one for each entry of its history.

    Args:
        now: the channel's pointer after the change.
        before: the pointer of the generation before, None for the first.
    """
    share = (before.weight or 0.0) if before else 0.0
    kind = _kind_of_change(now, share, same=before is not None and before.version == now.version)
    data = {
        **{name: getattr(now, name) for name in ("model", "channel", "version", "previous", "generation", "action")},
        **{name: getattr(now, name) for name in ("weight", "who", "verdict", "override_reason", "run_id")},
        "previous_weight": before.weight if before else None,
        "why": _shortened(now.why, MAX_REASON),
    }
    ended = now.previous or now.version
    sentences = {
        PROMOTED: f"version {now.version} was promoted to {now.channel} (before: {now.previous or 'none'})",
        ROLLED_BACK: f"{now.channel} was rolled back from version {now.previous} to {now.version}",
        CANARY_STARTED: f"version {now.version} gets {now.weight or 0:g} % of the traffic as canary",
        CANARY_CHANGED: f"version {now.version}, the canary, gets {now.weight or 0:g} % of the traffic (before: {share:g} %)",
        CANARY_ENDED: f"version {ended}, the canary, gets no traffic any more (before: {share:g} %)",
    }
    text = f"{now.model}: {sentences[kind]}. {now.who}: {data['why']}"
    source = f"/models/{now.model}/channels/{now.channel}"
    return _event(kind, encode_pointer(now), now.created, source, now.channel, text, data)


def _kind_of_change(now: ChannelPointer, share: float, *, same: bool) -> str:
    if now.channel == "canary":
        if now.weight and not (same and share):
            return CANARY_STARTED
        if now.weight and now.weight != share:
            return CANARY_CHANGED
        if share and not now.weight:
            return CANARY_ENDED
    return ROLLED_BACK if now.action == "rollback" else PROMOTED


def refusal_event(run: Run, verb: str, record: StepRecord) -> WebhookEvent:
    """Return the event of a candidate that the gate refused.

    Args:
        run: the run.
        verb: the step that ran the gate: `gate`, or `publish`, which runs it again if the channel has moved.
        record: how the step ended.
    """
    reason = _shortened(record.reason, MAX_REASON)
    text = f"{run.model}: the gate refused the candidate of the run {run.run_id}: {reason}"
    return _of_run(REFUSED, run, verb, record.ended, text, {"reason": reason})


def failure_event(run: Run, verb: str, when: str, exit_code: int, message: str) -> WebhookEvent:
    """Return the event of a step that failed; the step's other attempts have the same id.

    Args:
        run: the run.
        verb: the step.
        when: the time of the failure (RFC 3339, UTC).
        exit_code: of the step.
        message: why it failed.
    """
    reason = _shortened(message.removeprefix("error: "), MAX_REASON)
    text = f"{run.model}: the run {run.run_id} failed at {verb} (exit code {exit_code}): {reason}"
    return _of_run(RUN_FAILED, run, verb, when, text, {"exit_code": exit_code, "reason": reason})


def _of_run(kind: str, run: Run, verb: str, time: str, text: str, more: dict[str, Any]) -> WebhookEvent:
    data = {
        **{name: getattr(run, name) for name in ("run_id", "kind", "model", "channel", "day", "started", "by")},
        "dataset": encode(run.dataset) if run.dataset else None,
        "step": verb,
        **more,
    }
    return _event(kind, {"run": encode(run), "step": verb}, time, f"/runs/{run.run_id}", verb, text, data)


def ping_event(model: str, receiver: str, time: str) -> WebhookEvent:
    """Return an event that says nothing but that it arrived; it is of no type that a receiver chooses.

    Args:
        model: the model.
        receiver: the receiver's name.
        time: now (RFC 3339, UTC).
    """
    text = f"{model}: the receiver {receiver} gets Orchard's events"
    origin = {"model": model, "receiver": receiver, "time": time}
    return _event(PING, origin, time, f"/models/{model}", receiver, text, {"model": model, "receiver": receiver})


def message_body(event: WebhookEvent, form: str) -> bytes:
    """Return the body of a POST.

    Args:
        event: the event.
        form: one of `FORMS`; `slack` has the text alone.
    """
    if form == "slack":
        return canonical_json({"text": event.text})
    return canonical_json({"specversion": "1.0", "datacontenttype": "application/json", **encode(event)})
