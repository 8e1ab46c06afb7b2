"""The application without sockets."""

from __future__ import annotations

import asyncio
import gc
import io
import time
import weakref

import pytest

from serving.http.http_messages import HttpRequest
from serving.log import EventLog
from serving.server.application import Application
from serving.server.batching import RunThreadPool
from serving.server.model_repository import ModelRepository
from serving.server.predictions import PredictionOptions
from serving.server.server_metrics import ServerMetrics
from tests.serving.programs import DEADLINE, until

PATH = "/v1/models/half_plus_two:predict"


def request(body):
    return HttpRequest("POST", PATH, None, {}, body, "here", time.monotonic(), "id")


def send_request(application, count):
    """Send requests one after the other; returns for each whether it was answered before `handle` returned."""

    async def run():
        loop = asyncio.get_running_loop()
        application.predictions.attach(loop)
        at_once = []
        for _ in range(count):
            replied = loop.create_future()
            application.handle(request(b'{"instances": [1.0]}'), replied.set_result)
            at_once.append(replied.done())
            assert (await asyncio.wait_for(replied, DEADLINE)).status == 200
        return at_once

    return asyncio.run(run())


@pytest.fixture
def application(plain_config):
    """An application of all plain models with one thread."""
    metrics = ServerMetrics(EventLog(as_json=False, stream=io.StringIO()))
    repository = ModelRepository(plain_config, metrics)
    pool = RunThreadPool(1, 64, after=lambda: app.predictions.deliver())
    app = Application(repository, pool, metrics, None, PredictionOptions())
    repository.start()
    until(lambda: "half_plus_two" in repository.snapshots and app.is_ready("half_plus_two"), "the model is served")
    yield app
    repository.stop()
    pool.stop()


@pytest.fixture
def patient(monkeypatch):
    """However busy the machine is, no run is slow."""
    monkeypatch.setattr("serving.server.batching.QUICK_S", DEADLINE)
    monkeypatch.setattr("serving.server.predictions._MAX_INLINE_S", DEADLINE)


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"instances": [1.0]}', 200), (b'{"instances": ["x"]}', 400), (b'{"instances": [[]]}', 200)]
)
def test_an_answered_request_is_forgotten_without_the_garbage_collector(application, body, status):
    async def answered():
        loop = asyncio.get_running_loop()
        application.predictions.attach(loop)
        replied = loop.create_future()

        def answer(reply):
            replied.set_result(reply)

        application.handle(request(body), answer)
        return weakref.ref(answer), await asyncio.wait_for(replied, 60)

    gc.disable()
    try:
        reference, reply = asyncio.run(answered())
        assert reply.status == status
        until(lambda: reference() is None, "whatever belonged to the request is gone")
    finally:
        gc.enable()


def test_an_only_client_waits_for_no_other_thread_once_the_model_is_known_to_be_quick(application, patient):
    assert send_request(application, 4) == [False, True, True, True]


def test_an_only_client_that_sends_much_at_once_holds_up_the_loop_for_a_time_only(application, patient, monkeypatch):
    monkeypatch.setattr("serving.server.predictions._MAX_INLINE_S", 1e-9)
    assert send_request(application, 3) == [False, True, False]

    application.predictions.expire()
    assert send_request(application, 2) == [True, False]


def test_beside_other_clients_or_with_a_slow_model_the_loop_never_runs_a_model(application, patient):
    send_request(application, 1)
    application.predictions.connections = lambda: 2
    assert send_request(application, 2) == [False, False]

    application.predictions.connections = lambda: 1
    servable = application.repository.acquire("half_plus_two", None, None)
    servable.predict_queue("").last_run_s = DEADLINE + 1
    servable.release()
    assert send_request(application, 2) == [False, True]  # and a quick run makes it quick again
