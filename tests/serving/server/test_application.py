"""The application without sockets."""

from __future__ import annotations

import asyncio
import gc
import io
import time
import weakref

import pytest

from serving.server.application import Application
from serving.server.batching import Workers
from serving.server.catalogue import Catalogue
from serving.server.http.messages import Request
from serving.server.instruments import Instruments
from serving.server.log import Log
from serving.server.predictions import Options
from tests.serving.programs import until

PATH = "/v1/models/half_plus_two:predict"


@pytest.fixture
def application(plain_config):
    """An application of all plain models that one worker runs."""
    instruments = Instruments(Log(as_json=False, stream=io.StringIO()))
    catalogue = Catalogue(plain_config, instruments)
    workers = Workers(1, 64, after=lambda: made.predictions.deliver())
    made = Application(catalogue, workers, instruments, None, Options())
    catalogue.start()
    until(lambda: "half_plus_two" in catalogue.views and made.is_ready("half_plus_two"), "the model is served")
    yield made
    catalogue.stop()
    workers.stop()


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"instances": [1.0]}', 200), (b'{"instances": ["x"]}', 400), (b'{"instances": [[]]}', 200)]
)
def test_an_answered_request_is_forgotten_without_the_garbage_collector(application, body, status):
    async def ask():
        loop = asyncio.get_running_loop()
        application.predictions.attach(loop)
        replied = loop.create_future()

        def answer(reply):
            replied.set_result(reply)

        request = Request("POST", PATH, None, {}, body, "here", time.monotonic(), "id")
        application.handle(request, answer)
        return weakref.ref(answer), await asyncio.wait_for(replied, 60)

    gc.disable()
    try:
        held, reply = asyncio.run(ask())
        assert reply.status == status
        until(lambda: held() is None, "whatever belonged to the request is gone")
    finally:
        gc.enable()
