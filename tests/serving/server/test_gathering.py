"""Requests that arrive together run together, and no request waits for a client that sends nothing."""

from __future__ import annotations

import asyncio
import queue
import threading
import time

import numpy as np
import pytest

from serving.server.batching import BatchJob, RunThreadPool
from serving.server.coalescing import RequestCoalescer
from serving.server.servable import Servable
from tests.serving.programs import DEADLINE, until


class CoalescerBench:
    """A loaded model with some threads; `runs` gets the rows of each run, `answers` the answer of each job."""

    def __init__(self, servable, threads):
        self.queue = servable.predict_queue("")
        self.runs = queue.Queue()
        self.answers = queue.Queue()
        self.pool = RunThreadPool(threads, 1 << 20, observe=lambda rows, seconds: self.runs.put(rows))
        until(lambda: len(self.pool._idle) == threads, "the threads are idle")

    def job(self, value):
        return BatchJob(
            self.queue, [np.array([[value]], np.float32)], time.monotonic() + DEADLINE,
            lambda outcome: self.answers.put((value, outcome["y"][0].tolist())),
        )  # fmt: skip

    def check(self, count):
        """Every job has its own answer; returns the rows of each run."""
        answers = [self.answers.get(timeout=DEADLINE) for _ in range(count)]
        assert sorted(answers) == [(value, [[value / 2 + 2]]) for value in range(count)]
        rows = []
        while sum(rows) < count:
            rows.append(self.runs.get(timeout=DEADLINE))
        return rows


@pytest.fixture(scope="module")
def servable(zoo):
    version = Servable("half_plus_two", 123, next(iter(sorted((zoo / "half_plus_two").iterdir()))))
    version.prove_batching()
    yield version
    version.close()


@pytest.fixture
def bench(servable):
    benches = []

    def make(threads):
        benches.append(CoalescerBench(servable, threads))
        return benches[-1]

    yield make
    for one in benches:
        one.pool.stop()


def test_requests_of_turns_that_follow_each_other_run_together(bench):
    one = bench(1)

    async def arrive():
        coalescer = RequestCoalescer(one.pool, asyncio.get_running_loop(), max_hold_s=DEADLINE)
        for value in range(8):
            coalescer.submit(one.job(value))
            await asyncio.sleep(0)
            with pytest.raises(queue.Empty):  # time enough for a thread, if one had been woken
                one.answers.get(timeout=0.01)
        await asyncio.to_thread(until, lambda: one.answers.qsize() == 8, "all are answered")

    asyncio.run(arrive())

    assert one.check(8) == [8]


def test_the_request_of_an_only_client_waits_for_no_turn(bench):
    one, loop = bench(1), asyncio.new_event_loop()

    RequestCoalescer(one.pool, loop, expects_more=lambda: False, max_hold_s=DEADLINE).submit(one.job(0))

    assert one.check(1) == [1]  # the loop never ran
    loop.close()


def test_requests_without_end_are_held_for_a_time_only(bench):
    one = bench(1)

    async def arrive():
        coalescer = RequestCoalescer(one.pool, asyncio.get_running_loop(), max_hold_s=0.0)
        value = 0
        while one.answers.empty():
            coalescer.submit(one.job(value))
            value += 1
            await asyncio.sleep(0)
        return value

    sent = asyncio.run(arrive())

    one.pool.wake()
    one.check(sent)


def test_idle_threads_share_the_waiting_jobs(bench):
    two = bench(2)

    for value in range(8):
        assert two.pool.put(two.job(value))
    two.pool.wake()

    assert max(two.check(8)) == 4


def test_a_thread_leaves_a_share_for_the_others_while_they_run(bench):
    two, release = bench(2), threading.Event()
    first = two.job(0)
    first.finish = lambda outcome: release.wait(DEADLINE)  # a run that lasts
    two.pool.submit(first)
    until(lambda: two.pool._running == 1, "one thread runs")

    for value in range(7):
        two.pool.put(two.job(value))
    two.pool.wake()

    try:
        assert two.check(7) == [4, 2, 1]  # each time half of the jobs in flight
    finally:
        release.set()
