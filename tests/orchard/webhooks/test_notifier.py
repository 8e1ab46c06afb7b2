"""Which events a pass sends to whom, in which form and order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchard.registry.channel_weights import end_weights, set_weight
from orchard.registry.channels import ChangeIntent
from orchard.runs import records
from orchard.webhooks.deliveries import list_deliveries
from orchard.webhooks.notifier import DELAYS_S
from tests.faults.crashing_store import CrashingStore
from tests.orchard.version_fixtures import BECAUSE, MODEL, registry_of
from tests.orchard.webhooks.notifier_passes import begin_run, end_step, promote, receiver_at


def test_each_change_of_a_channel_and_each_failure_of_a_run_is_an_event(store, notify, inbox):
    registry = registry_of(store)
    set_weight(registry, "canary", 10, BECAUSE, version=2)
    set_weight(registry, "canary", 50, BECAUSE)
    promote(store, 2)
    end_weights(registry, 2, BECAUSE)
    registry.channel("stable").rollback(ChangeIntent("bert", "takes plums for grapes"))
    promote(store, 3, channel="shadow")
    begin_run(store, "nightly")
    end_step(store, "nightly", "gate", "refused", "shop accuracy fell by 3 points")
    begin_run(store, "daily")
    records.fail_step(store, "daily", "train", 6, "error: the store does not answer")

    assert notify().receivers[0].delivered == 8

    assert inbox.types == [
        "canary.started", "canary.changed", "channel.promoted", "canary.ended", "channel.rolled_back",
        "channel.promoted", "gate.refused", "run.failed",
    ]  # fmt: skip
    assert [one.document["text"] for one in inbox.messages] == [
        "fruits: version 2 gets 10 % of the traffic as canary. anna@bench: it was time",
        "fruits: version 2, the canary, gets 50 % of the traffic (before: 10 %). anna@bench: it was time",
        "fruits: version 2 was promoted to stable (before: 1). anna: it was time",
        "fruits: version 2, the canary, gets no traffic any more (before: 50 %). anna@bench: it was time",
        "fruits: stable was rolled back from version 2 to 1. bert: takes plums for grapes",
        "fruits: version 3 was promoted to shadow (before: none). anna: it was time",
        "fruits: the gate refused the candidate of the run nightly: shop accuracy fell by 3 points",
        "fruits: the run daily failed at train (exit code 6): the store does not answer",
    ]
    assert notify().receivers[0].delivered == 0, "the next pass repeats nothing"


def test_a_message_is_a_cloud_event_in_structured_mode(store, notify, inbox):
    promote(store, 2)

    notify()

    [message] = inbox.messages
    pointer = registry_of(store).channel("stable").read()
    assert message.headers["content-type"].startswith("application/cloudevents+json")
    assert message.id == message.document["id"]
    assert "." not in message.id
    assert {name: value for name, value in message.document.items() if name not in ("id", "text", "data")} == {
        "specversion": "1.0",
        "type": "orchard.channel.promoted",
        "source": "/models/fruits/channels/stable",
        "subject": "stable",
        "time": pointer.created,
        "datacontenttype": "application/json",
    }
    assert message.document["data"] == {
        "model": "fruits", "channel": "stable", "version": 2, "previous": 1, "generation": 2, "action": "promote",
        "weight": None, "previous_weight": None, "who": "anna", "why": "it was time", "verdict": "accepted",
        "override_reason": None, "run_id": None,
    }  # fmt: skip


def test_slack_gets_the_text_alone_and_no_mention_or_link_by_a_reason(store, notify, inbox):
    slack = receiver_at(inbox, "slack", secrets=(), form="slack")
    notify(slack)
    promote(store, 2, why="<!channel> a & b\n<https://evil.example|click>")

    notify(slack)

    [message] = inbox.messages
    assert message.headers["content-type"].startswith("application/json")
    assert "webhook-signature" not in message.headers
    assert message.document == {
        "text": "fruits: version 2 was promoted to stable (before: 1). "
        "anna: &lt;!channel&gt; a &amp; b &lt;https://evil.example|click&gt;"
    }


def test_a_receiver_gets_the_types_that_it_chose(store, notify, inbox):
    chosen = receiver_at(inbox, events=frozenset({"orchard.channel.rolled_back"}))
    promote(store, 2)
    registry_of(store).channel("stable").rollback(BECAUSE)

    notify(chosen)
    notify()

    assert inbox.types == ["channel.rolled_back"], "what it did not choose is not sent later either"


def test_a_new_receiver_gets_no_history_unless_it_is_told_since_when(store, notify, inboxes):
    first, second = inboxes
    begin_run(store, "nightly")
    end_step(store, "nightly", "gate", "refused", "worse")
    since = datetime.now(UTC)
    promote(store, 2)
    notify(receiver_at(first))

    result = notify(receiver_at(second, "new"), receiver_at(second, "newer"), since=None)
    assert [(one.began, one.delivered) for one in result.receivers] == [(True, 0), (True, 0)]
    assert notify(receiver_at(second, "new")).receivers[0].delivered == 0
    assert notify(receiver_at(second, "other"), since=since).receivers[0].delivered == 1
    assert notify(receiver_at(second, "other"), since=since).receivers[0].delivered == 0, "what it has, it gets no more"
    assert notify(receiver_at(second, "new"), since=since - timedelta(days=1)).receivers[0].delivered == 3

    assert second.types == ["channel.promoted", "channel.promoted", "gate.refused", "channel.promoted"]
    promote(store, 3)
    assert notify(receiver_at(second, "new")).receivers[0].delivered == 1


def test_events_of_another_model_and_of_steps_that_ended_well_are_not_sent(store, notify, inbox):
    begin_run(store, "of-pears", model="pears")
    end_step(store, "of-pears", "gate", "refused", "worse")
    begin_run(store, "good")
    end_step(store, "good", "gate", "done")
    records.fail_step(store, "good", "publish", 6, "error: for a moment")
    end_step(store, "good", "publish", "done")

    assert notify().receivers[0].delivered == 0


def test_a_step_that_fails_again_and_again_is_one_event(store, notify, inbox):
    begin_run(store, "nightly")
    for attempt in range(3):
        records.fail_step(store, "nightly", "train", 1, f"error: attempt {attempt}")
        notify()

    assert [one.document["data"]["reason"] for one in inbox.messages] == ["attempt 0"]


def test_entries_of_one_channel_stay_in_order_whatever_their_clocks_said(store, notify, inbox, monkeypatch):
    times = iter(["2026-11-24T12:00:00+00:00", "2026-11-24T11:00:00+00:00", "2026-11-24T13:00:00+00:00"])

    class Clocks(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromisoformat(next(times))

    monkeypatch.setattr("orchard.registry.channels.datetime", Clocks)
    for version in (2, 3, 1):
        promote(store, version)

    notify()

    assert [one.document["data"]["generation"] for one in inbox.messages] == [2, 3, 4]


def test_records_say_what_was_sent_when_and_with_which_answer(store, notify, inbox, clock):
    inbox.status = 502
    promote(store, 2)
    notify()
    clock.forward(seconds=DELAYS_S[0])
    inbox.status = 204
    notify()

    [record] = list_deliveries(store, MODEL, 20, "team-chat")
    assert (record.state, record.tries, record.receiver) == ("delivered", 2, "team-chat")
    assert [(one.status, one.problem) for one in record.attempts] == [(502, "it answered 502"), (204, "")]
    assert record.attempts[-1].at == clock.time.isoformat()
    assert record.event.id == inbox.messages[-1].id
    assert list_deliveries(store, MODEL, 20, "another") == []


def test_a_pass_without_news_writes_nothing(store, notify):
    counting = CrashingStore(store)

    notify(store=counting)

    assert not [call for call in counting.calls if call.split()[0] in ("put", "create", "swap")]
