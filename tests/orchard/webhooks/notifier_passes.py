"""Passes of the notifier as separate processes make them, a clock that the test moves, and what happens in between."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from orchard.documents import FORMAT
from orchard.registry.channels import ChangeIntent
from orchard.runs import records
from orchard.runs.records import Run, StepRecord
from orchard.webhooks.notifier import Notifier, send_event
from orchard.webhooks.receivers import WebhookReceiver
from orchard.webhooks.webhook_events import EVENT_TYPES
from tests.orchard.version_fixtures import MODEL, registry_of

SECRET = b"k" * 32
VERSIONS = range(1, 4)


class Clock:
    def __init__(self):
        self.time = datetime.now(UTC)

    def __call__(self):
        return self.time

    def forward(self, **amount):
        self.time += timedelta(**amount)


def receiver_at(inbox, name="team-chat", **changes):
    plain = WebhookReceiver(name, inbox.url, (SECRET,), frozenset(EVENT_TYPES), internal=True)
    return replace(plain, **changes)


def one_pass(store, clock, *receivers, send=send_event, **options):
    """Make a pass, as a process of its own."""
    notifier = Notifier(f"process {uuid.uuid4()}", now=clock, send=send)
    return notifier.run_pass(registry_of(store), receivers, **options)


def promote(store, version, why="it was time", channel="stable", **options):
    return registry_of(store).channel(channel).promote(version, ChangeIntent("anna", why), **options)


def begin_run(store, run_id, model=MODEL):
    records.begin(store, Run(FORMAT, run_id, "retrain", None, model, "stable", None, records.now(), "airflow"))


def end_step(store, run_id, verb, outcome, reason=""):
    records.end_step(store, run_id, verb, StepRecord(outcome, reason, records.now(), records.now(), 1.0, {}, None, ()))
