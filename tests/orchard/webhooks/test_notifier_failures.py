"""Passes that are killed, meet each other, or meet receivers that are dead, slow or refuse: nothing is lost."""

from __future__ import annotations

import threading
from datetime import datetime
from itertools import count

import pytest

from orchard import layout
from orchard.runs import records
from orchard.settings import Settings
from orchard.store import open_store
from orchard.webhooks.deliveries import LEASE, list_deliveries
from orchard.webhooks.notifier import DELAYS_S, GIVE_UP, send_event
from tests.faults.crashing_store import CrashingStore, Killed
from tests.orchard.version_fixtures import BECAUSE, MODEL, registry_of
from tests.orchard.webhooks.notifier_passes import begin_run, one_pass, promote, receiver_at


@pytest.mark.parametrize("fault", ["killed before", "killed after"])
def test_a_process_that_is_killed_anywhere_loses_no_change_and_repeats_with_the_same_id(
    store, notify, inbox, clock, fault
):
    for at in count():
        inbox.messages.clear()
        promote(store, 2, why=f"change {at}", again=True)
        crashing = CrashingStore(store, at, fault)
        try:
            notify(store=crashing)
        except Killed:
            clock.forward(seconds=LEASE.total_seconds() + 1)
            notify()
        assert len({(one.id, one.body) for one in inbox.messages}) == 1, f"at call {at}: {crashing.calls}"
        assert len(inbox.messages) <= 2
        if len(crashing.calls) <= at:
            break

    assert at > 15


@pytest.mark.parametrize("fault", ["killed before", "killed after"])
def test_a_process_that_is_killed_anywhere_loses_no_failed_run(inbox, clock, fault):
    for at in count():
        inbox.messages.clear()
        store = open_store(Settings(store_url="memory://"))
        one_pass(store, clock, receiver_at(inbox))
        begin_run(store, "nightly")
        records.fail_step(store, "nightly", "train", 1, "error: no")
        crashing = CrashingStore(store, at, fault)
        try:
            one_pass(crashing, clock, receiver_at(inbox))
        except Killed:
            clock.forward(seconds=LEASE.total_seconds() + 1)
            one_pass(store, clock, receiver_at(inbox))
        assert len({(one.id, one.body) for one in inbox.messages}) == 1, f"at call {at}: {crashing.calls}"
        if len(crashing.calls) <= at:
            break

    assert at > 15


def test_what_was_sent_and_not_recorded_is_sent_again_with_the_same_id_and_body(store, notify, inbox, clock):
    promote(store, 2)

    def killed_after_the_post(*args):
        send_event(*args)
        raise Killed

    with pytest.raises(Killed):
        notify(send=killed_after_the_post)
    assert notify().receivers[0].problem.startswith("another"), "the lease of the killed one still holds"
    clock.forward(seconds=LEASE.total_seconds() + 1)
    assert notify().receivers[0].delivered == 1

    first, second = inbox.messages
    assert (first.id, first.body) == (second.id, second.body)
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"], (
        "the time of the attempt is signed"
    )


def test_a_receiver_that_fails_is_tried_again_later_with_the_same_id_and_in_order(store, notify, inbox, clock):
    inbox.status = 503
    promote(store, 2)
    promote(store, 3)

    for number, delay in enumerate((*DELAYS_S, DELAYS_S[-1]), 1):
        [result] = notify().receivers
        assert (result.waiting, result.delivered, result.problem) == (2, 0, "it answered 503")
        assert len(inbox.messages) == number, "one attempt a pass, however much waits"
        notify()
        assert len(inbox.messages) == number, "it is left alone for a while"
        clock.forward(seconds=delay)
        if number == 3:
            break
    inbox.status = 200
    assert notify().receivers[0].delivered == 2

    assert len({one.id for one in inbox.messages[:4]}) == 1
    assert [one.document["data"]["version"] for one in inbox.messages[-2:]] == [2, 3]


def test_retry_after_is_respected(store, notify, inbox, clock):
    inbox.status, inbox.headers = 429, {"retry-after": "600"}
    promote(store, 2)
    notify()

    clock.forward(seconds=599)
    notify()
    assert len(inbox.messages) == 1
    clock.forward(seconds=1)
    notify()
    assert len(inbox.messages) == 2


def test_a_dead_receiver_is_given_up_after_a_day_and_gets_everything_after_the_remedy(store, notify, inbox, clock):
    inbox.status = 500
    promote(store, 2)
    promote(store, 3)
    while not (result := notify().receivers[0]).failed:
        clock.time = datetime.fromisoformat(result.next_try)
    assert (result.failed, result.waiting) == (2, 0)
    assert GIVE_UP <= clock.time - datetime.fromisoformat(list_deliveries(store, MODEL, 9)[0].queued) < 2 * GIVE_UP
    assert len(inbox.messages) < 15
    assert {one.state for one in list_deliveries(store, MODEL, 9)} == {"failed"}

    inbox.status = 200
    assert notify().receivers[0].failed == 2, "nothing is sent again by itself"
    [again] = notify(resend=True).receivers
    assert (again.delivered, again.failed, again.waiting) == (2, 0, 0)

    assert [one.document["data"]["version"] for one in inbox.messages[-2:]] == [2, 3]
    assert len({one.id for one in inbox.messages}) == 2
    assert {one.state for one in list_deliveries(store, MODEL, 9)} == {"delivered"}


@pytest.mark.parametrize("status", [301, 401, 404])
def test_what_the_receiver_refuses_for_good_is_given_up_soon_and_holds_up_no_later_event(
    store, notify, inbox, clock, status
):
    promote(store, 2)
    promote(store, 3)
    inbox.judge = lambda message: status if message.document["data"]["version"] == 2 else 200

    for _ in range(4):
        [result] = notify().receivers
        clock.forward(minutes=10)

    assert [one.document["data"]["version"] for one in inbox.messages] == [2, 2, 2, 3]
    assert (result.failed, result.waiting, result.delivered) == (1, 0, 1)
    refused = next(one for one in list_deliveries(store, MODEL, 9) if one.state == "failed")
    assert [attempt.status for attempt in refused.attempts] == [status] * 3


def test_a_receiver_that_is_not_said_to_be_internal_gets_nothing(store, notify, inbox):
    outside = receiver_at(inbox, internal=False)
    promote(store, 2)

    [result] = notify(outside).receivers

    assert "127.0.0.1 is a loopback address; nothing was sent" in result.problem
    assert "internal: true" in result.remedy
    assert inbox.messages == []


def test_a_slow_receiver_holds_up_nobody_else(store, notify, inboxes):
    slow, quick = inboxes
    slow.answers.clear()
    receivers = receiver_at(slow), receiver_at(quick, "quick")
    notify(receivers[1])
    promote(store, 2)
    results = []
    passing = threading.Thread(target=lambda: results.append(notify(*receivers)))
    passing.start()
    deadline = threading.Event()
    while not (quick.messages and slow.messages) and not deadline.wait(0.01):
        assert passing.is_alive()
    assert results == [], "the slow one still has not answered"
    slow.answers.set()
    passing.join(30)

    assert [one.delivered for one in results[0].receivers] == [1, 1]


def test_two_at_once_send_nothing_twice(store, notify, inbox):
    for number in range(8):
        promote(store, 1 + number % 3, why=f"change {number}")
    barrier, results = threading.Barrier(4), []

    def work():
        barrier.wait()
        results.append(notify().receivers[0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [one.document["data"]["generation"] for one in inbox.messages] == list(range(2, 9)), results


def test_one_that_sleeps_longer_than_its_lease_sends_nothing_more(store, notify, inbox, clock):
    for version in (2, 3):
        promote(store, version)

    def sleep_and_send(*args):
        result = send_event(*args)
        clock.forward(seconds=LEASE.total_seconds() + 1)
        assert notify().receivers[0].delivered == 2
        return result

    [late] = notify(send=sleep_and_send).receivers

    assert late.problem.startswith("another `orchard notify` works")
    assert [one.document["data"]["version"] for one in inbox.messages] == [2, 2, 3]


def test_a_forged_entry_is_a_problem_of_its_channel_alone(store, notify, inbox):
    promote(store, 2)
    forged = registry_of(store).channel("canary")
    forged.promote(3, BECAUSE)
    key = layout.channel(MODEL, "canary")
    store.put(key, store.get(key).body.replace(b"it was time", b"it was mine"))

    result = notify()

    assert inbox.types == ["channel.promoted"]
    assert "wrong signature" in result.problems["canary"].message
    assert list(result.problems) == ["canary"]


def test_a_damaged_record_of_a_run_is_a_problem_of_that_run_alone(store, notify, inbox):
    for name in ("damaged", "whole"):
        begin_run(store, name)
        records.fail_step(store, name, "train", 1, "error: no")
    store.put(layout.run_failure("damaged", "train"), b"{}")

    result = notify()

    assert list(result.problems) == ["run damaged"]
    assert [one.document["data"]["run_id"] for one in inbox.messages] == ["whole"]
