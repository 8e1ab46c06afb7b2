"""Large bodies and answers: the JSON process gives the same answers, and nobody waits for it."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.savedmodel.signatures import TensorInfo
from orchard.savedmodel.types import STRING, data_type
from serving.models_config import ModelConfig, render
from serving.server.json_process import JsonProcess, is_heavy_answer, is_heavy_body
from serving.server.rest.examples import read_examples
from serving.server.rest.predict import read_inputs
from serving.server.rest.request_body import parse_body, read_signature_name
from serving.server.rest.responses import predict_reply
from serving.server.serving_error import ServingError
from tests.process_facts import children, is_alive
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, until

FLOAT = data_type(1)
BOTH = {"a": TensorInfo("a:0", FLOAT, None), "b": TensorInfo("b:0", STRING, None)}
ONE = {"a": TensorInfo("a:0", FLOAT, None)}


@pytest.fixture(scope="module")
def process() -> JsonProcess:
    return JsonProcess(after=lambda: None)


def outcome(call):
    """What a call returns, or the parts of its error."""
    try:
        return call()
    except ServingError as error:
        return (error.code, error.message, error.http_status, error.retry_after)


BODIES = st.one_of(
    st.sampled_from([
        b"", b"{", b"[]", b"{}", b'{"instances": []}', b'{"instances": [1, "x"]}', b'{"instances": [[1], [2, 3]]}',
        b'{"instances": [NaN, 1]} more', b'{"signature_name": 1}', b'{"inputs": {"a": [1]}}', b'{"instances": [1, 2, 3, 4, 5, 6]}',
        b'{"instances": ' + b"[" * 3000, b'{"inputs": {"a": [1.5], "b": ["x", {"b64": "AAE="}]}, "signature_name": "s"}',
        b'{"examples": [{"x": 1.5}, {"x": "y"}]}', b'{"examples": 3}', b'\xef\xbb\xbf{"instances": [1]}', b'{"instances": ["\xff"]}',
    ]),
    st.lists(st.floats(width=32) | st.integers(-9, 9) | st.text(max_size=3)).map(lambda rows: json.dumps({"instances": rows}).encode()),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(BODIES, st.sampled_from([ONE, BOTH]))
def test_a_body_means_the_same_in_the_process(process, body, inputs):
    def here():
        document = parse_body(body, 5)
        name = read_signature_name(document)
        feeds = read_inputs(document, inputs)
        return name, feeds.rows, {alias: (array.dtype, array.tolist()) for alias, array in feeds.tensors.items()}

    def there():
        name = process.open_body(body, 5, examples=False)
        feeds = process.tensors_of_body(inputs, ())
        return name, feeds.rows, {alias: (array.dtype, array.tolist()) for alias, array in feeds.tensors.items()}

    assert repr(outcome(there)) == repr(outcome(here))

    def examples_here():
        return read_examples(parse_body(body, 5, examples=True)).tolist()

    def examples_there():
        process.open_body(body, 5, examples=True)
        return process.examples_of_body().tolist()

    if isinstance(outcome(lambda: read_signature_name(parse_body(body, 5))), str):
        assert outcome(examples_there) == outcome(examples_here)


def test_an_answer_is_the_same_in_the_process(process):
    from functools import partial

    texts = np.empty(3, object)
    texts[:] = [b"x", b'"\n', b"\xff"]
    outputs = {"a": (np.arange(9, dtype=np.float32).reshape(3, 3) / 3, FLOAT), "b_bytes": (texts, STRING)}

    for rows in (True, False):
        assert process.print_answer(partial(predict_reply, rows=rows), outputs) == predict_reply(outputs, rows=rows)


def test_only_numbers_in_bulk_are_heavy():
    photo = json.dumps({"instances": [{"b64": base64.b64encode(os.urandom(1 << 20)).decode()}]}).encode()
    assert not is_heavy_body(photo)
    assert not is_heavy_body(json.dumps([1.5] * 20_000).encode())
    assert is_heavy_body(json.dumps([1.5] * 200_000).encode())
    assert is_heavy_body(b"[" * (5 << 20))
    assert not is_heavy_answer(1000)


@pytest.fixture
def matrix(zoo: Path, tmp_path: Path):
    (tmp_path / "models.config").write_text(render([ModelConfig("matrix", str(zoo / "matrix"))]))
    with Serve(tmp_path / "models.config", tmp_path / "log", ENVIRONMENT) as server:
        yield server


ROWS = 100_000
LARGE = json.dumps({"instances": [[1.25, 2.5, 3.75, 4.0]] * ROWS}).encode()


def test_a_large_body_is_answered_as_a_small_one_is_and_survives_the_process(matrix):
    small = matrix.predict("matrix", {"instances": [[1.25, 2.5, 3.75, 4.0]]}).json["predictions"]

    assert matrix.predict("matrix", LARGE).json["predictions"] == small * ROWS
    assert matrix.predict("nothing", LARGE).status == 404
    assert "signature" in matrix.predict("matrix", LARGE[:-1] + b', "signature_name": "x"}').error
    (child,) = children(matrix.child.pid)

    os.kill(child, signal.SIGKILL)

    until(lambda: child not in children(matrix.child.pid) or not is_alive(child), "the process has ended")
    broken = matrix.predict("matrix", LARGE)
    assert (broken.status, broken.headers["retry-after"]) == (503, "1")
    assert matrix.predict("matrix", LARGE).json["predictions"] == small * ROWS
    (child,) = children(matrix.child.pid)
    matrix.kill()
    until(lambda: not is_alive(child), "it ends with its server")


def test_a_body_for_the_lenient_parser_does_not_hold_the_loop(matrix):
    body = b'{"instances": [' + b"[1, 2, 3, NaN], " * 500 + b"[1, 2, 3, 4]]} and more"

    answer = matrix.predict("matrix", body)

    assert answer.status == 200
    assert answer.body.count(b"NaN") >= 500
    assert children(matrix.child.pid), "the JSON process has read it"
    assert matrix.predict("matrix", body.replace(b"NaN", b"NoN")).error.startswith("JSON Parse error: ")


def test_probes_and_small_requests_do_not_wait_for_large_ones(matrix):
    """The server's own share of the time: no step of a large body may hold the loop longer than a tenth of it."""
    matrix.predict("matrix", LARGE)  # starts the process
    begin = time.monotonic()
    matrix.predict("matrix", LARGE)
    alone = time.monotonic() - begin
    done = threading.Event()
    statuses = []

    def send() -> None:
        while not done.is_set():
            statuses.append(matrix.predict("matrix", LARGE).status)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    waits = []
    try:
        while len(statuses) < 4:
            begin = time.monotonic()
            assert matrix.get("/readyz").status == 200
            assert matrix.predict("matrix", {"instances": [[1, 2, 3, 4]]}).status == 200
            waits.append(time.monotonic() - begin)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert sorted(waits)[len(waits) // 2] < alone / 2, (alone, sorted(waits)[-5:])
