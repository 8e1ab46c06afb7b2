"""Fixtures of webhooks: receivers on the loopback, a store in memory with versions, a clock, and a pass."""

from __future__ import annotations

import pytest

from tests.orchard.version_fixtures import BECAUSE, facts, registry_of, saved_model
from tests.orchard.webhooks.notifier_passes import VERSIONS, Clock, one_pass, receiver_at
from tests.orchard.webhooks.webhook_inbox import open_inbox


@pytest.fixture(scope="module")
def running():
    with open_inbox() as first, open_inbox() as second:
        yield first, second


@pytest.fixture
def inboxes(running):
    for inbox in running:
        inbox.status, inbox.judge, inbox.headers = 200, None, {}
        inbox.messages.clear()
        inbox.answers.set()
    return running


@pytest.fixture
def inbox(inboxes):
    return inboxes[0]


@pytest.fixture
def store(memory, tmp_path):
    """Versions 1 to 3; stable is 1."""
    for number in VERSIONS:
        registry_of(memory).publish(saved_model(tmp_path / str(number), number), facts())
    registry_of(memory).channel("stable").promote(1, BECAUSE)
    return memory


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def notify(store, clock, inbox):
    """Make a pass for a receiver that begins before the test."""

    def notify(*receivers, store=store, **options):
        return one_pass(store, clock, *(receivers or (receiver_at(inbox),)), **options)

    notify()
    return notify
