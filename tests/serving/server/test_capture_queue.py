"""The queue and the thread of capture: bounded, patient with its store, and never silent about what is lost."""

from __future__ import annotations

import io
import threading
from collections import Counter
from datetime import date

import numpy as np
import pytest

from orchard.errors import StoreUnavailable
from orchard.request_headers import NO_CAPTURE_HEADER
from orchard.store import ObjectStore
from serving.log import EventLog
from serving.server.capture import photo_capture
from serving.server.capture.capture_sample import CaptureSample, client_of
from serving.server.capture.photo_capture import FILE_BYTES, MAX_WAITING, PhotoCapture
from serving.server.server_metrics import ServerMetrics
from tests.serving.programs import until
from tests.training.candidates import draw
from training.data.captured_photos import iterate_captures, list_captures

PHOTO = draw("Red", 1)
SEED = bytes(32)


class LockedStore(ObjectStore):
    """Fails every write while it is locked."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner, self.name = inner, inner.name
        self.locked = True
        self.tries = 0
        self.entered = threading.Event()

    def create(self, key: str, body: bytes, kind: str | None = None) -> str:
        self.tries += 1
        self.entered.set()
        if self.locked:
            raise StoreUnavailable("the store does not answer")
        return self.inner.create(key, body, kind)


class Made:
    """A capture, what it counts and what it logs."""

    def __init__(self, store, share=1.0, file_seconds=60.0) -> None:
        self.stream = io.StringIO()
        log = EventLog(as_json=False, stream=self.stream)
        self.metrics = ServerMetrics(log)
        self.capture = PhotoCapture(share, SEED, store, self.metrics, log, file_seconds)

    def offer(self, photos, model="fruits", request_id="r", **outputs):
        sample = self.capture.sample({}, "127.0.0.1:1", request_id, None)
        sample.photos = photos
        sample.outputs = outputs
        self.capture.offer(model, 3, sample)

    @property
    def dropped(self):
        return {labels[0]: int(count) for labels, count in self.metrics.capture_dropped.values.items()}

    @property
    def captured(self):
        return {labels[0]: int(count) for labels, count in self.metrics.captured.values.items()}

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()


def stored(memory, model="fruits"):
    return list(iterate_captures(memory, list_captures(memory, model)))


def test_a_file_is_written_when_it_is_old_enough(memory):
    made = Made(memory, file_seconds=0.0)
    made.offer([PHOTO])
    until(lambda: made.captured, "it is captured")
    made.capture.close(5)

    assert (made.captured, made.dropped, made.lines) == ({"fruits": 1}, {}, [])
    assert [photo.image for photo in stored(memory)] == [PHOTO]


def test_a_file_is_written_when_it_is_full_and_has_no_more_than_fits(memory, monkeypatch):
    monkeypatch.setattr(photo_capture, "FILE_BYTES", 5 * len(PHOTO))
    made = Made(memory)
    made.offer([PHOTO] * 12)
    until(lambda: made.captured == {"fruits": 10}, "two files are written")
    made.capture.close(5)

    counts = Counter(stat.key for stat in list_captures(memory, "fruits"))
    assert len(counts) == 3
    assert len(stored(memory)) == 12


def test_models_have_files_of_their_own_and_a_name_that_no_key_has_is_dropped(memory):
    made = Made(memory)
    for model in ("fruits", "pears", "../../models", "Fruits"):
        made.offer([PHOTO], model=model)
    made.capture.close(5)

    assert made.captured == {"fruits": 1, "pears": 1}
    assert made.dropped == {"error": 2}
    (line,) = made.lines
    assert "is not a valid name" in line
    assert {stat.key.split("/")[1] for stat in memory.list("capture")} == {"fruits", "pears"}


def test_a_store_that_comes_back_gets_what_waited(memory, monkeypatch):
    monkeypatch.setattr(photo_capture, "_RETRY_S", 0.01)
    store = LockedStore(memory)
    made = Made(store, file_seconds=0.0)
    made.offer([PHOTO])
    until(lambda: store.tries >= 3, "it tries again")
    store.locked = False
    until(lambda: made.captured, "it is captured")
    made.capture.close(5)

    assert len(stored(memory)) == 1
    assert made.dropped == {}
    assert len(made.lines) == 1  # not one for each try
    assert "the store does not answer" in made.lines[0]


def test_a_write_whose_reply_was_lost_counts_as_written(memory, monkeypatch):
    monkeypatch.setattr(photo_capture, "_RETRY_S", 0.01)

    class LostReply(LockedStore):
        def create(self, key, body, kind=None):
            self.tries += 1
            etag = self.inner.create(key, body, kind)
            if self.tries == 1:
                raise StoreUnavailable("no answer")
            return etag

    made = Made(LostReply(memory), file_seconds=0.0)
    made.offer([PHOTO])
    until(lambda: made.captured, "it is captured")
    made.capture.close(5)
    assert len(stored(memory)) == 1


def test_while_the_store_is_down_memory_is_bounded_and_the_rest_is_counted(memory):
    store = LockedStore(memory)
    made = Made(store)
    large = PHOTO + bytes(1 << 20)  # what follows the picture is removed only by the thread
    made.offer([large] * 8)
    made.offer([PHOTO] * 3)
    until(lambda: made.capture._accepted == made.capture._released, "the thread has taken all")
    made.offer([PHOTO[:200] + bytes(FILE_BYTES)])
    until(lambda: made.dropped.get("large"), "too large for a file")

    made.capture._add = lambda answered: store.entered.wait(30)  # the thread is busy for long
    for _ in range(3 * MAX_WAITING // len(large)):
        made.offer([large])
    waiting = made.capture._accepted - made.capture._released
    assert waiting <= MAX_WAITING
    assert sum(answered.bytes for answered in made.capture._queue) <= MAX_WAITING
    assert made.dropped["full"] >= 2 * MAX_WAITING // len(large) - 2
    store.entered.set()
    made.capture.close(5)


def test_closing_tries_once_and_counts_what_is_lost(memory):
    store = LockedStore(memory)
    made = Made(store)
    made.offer([PHOTO] * 4)
    made.capture.close(5)

    assert store.tries == 1
    assert made.dropped == {"store": 4}
    (line,) = made.lines
    assert "capture dropped=4 store=4" in line
    made.offer([PHOTO])
    assert made.dropped == {"store": 4, "stopped": 1}


def test_closing_does_not_wait_longer_than_it_may(memory):
    class SlowStore(LockedStore):
        def create(self, key, body, kind=None):
            self.entered.wait(30)
            return self.inner.create(key, body, kind)

    store = SlowStore(memory)
    made = Made(store)
    made.offer([PHOTO] * 4)
    made.capture.close(0.2)
    assert made.dropped == {"stopped": 4}
    store.entered.set()


def test_share_and_opt_out(memory):
    assert sum(made.capture.chooses() for made in [Made(memory, share=0.1)] for _ in range(20_000)) == pytest.approx(
        2000, abs=250
    )
    assert all(made.capture.chooses() for made in [Made(memory)] for _ in range(1000))
    made = Made(memory)
    for headers in ({NO_CAPTURE_HEADER: value} for value in ("1", "", "false")):
        assert made.capture.sample(headers, "127.0.0.1:1", "r", None) is None
    assert made.dropped == {"opt_out": 3}
    made.capture.close(5)
    assert made.lines == []


def outputs(**columns):
    return {name: (np.array(values, kind), None) for name, (values, kind) in columns.items()}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (outputs(label=([b"Red"], object), probability=([0.5], "float32"), unsure=([True], bool)), ("Red", 0.5, True)),
        (outputs(label=([b"\xff" * 500], object)), ("\ufffd" * 256, None, None)),
        (outputs(label=(["1"], "U1"), probability=([[0.5]], "float32")), (None, None, None)),
        (outputs(label=([b"a", b"b"], object), probability=([1], "int64")), (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_outputs_of_another_form_are_null(memory, found, expected):
    sample = CaptureSample("r", "c", None, photos=[PHOTO], outputs=found)
    assert sample.take_predictions() == [expected]
    assert sample.outputs is None


@pytest.mark.parametrize(
    ("headers", "remote", "client"),
    [
        ({}, "10.0.0.7:4711", "10.0.0.7"),
        ({}, "::1:4711", "::1"),
        ({}, "ipv4:10.0.0.7:4711", "10.0.0.7"),
        ({}, "ipv6:%5B::1%5D:4711", "::1"),
        ({"x-forwarded-for": "10.0.0.9"}, "10.0.0.7:4711", "10.0.0.9"),
        ({"x-forwarded-for": "10.0.0.9", "x-client": "till-4"}, "10.0.0.7:4711", "till-4"),
    ],
)
def test_what_tells_clients_apart(headers, remote, client):
    assert client_of(headers, remote) == client


def test_a_client_has_another_hash_each_day_and_at_each_server(memory):
    capture = Made(memory).capture
    noon = date(2026, 11, 30).toordinal() * 86400.0
    same = {capture._hash("a", noon), capture._hash("a", noon + 3600)}
    others = {capture._hash("a", noon + 86400), capture._hash("b", noon)}

    assert len(same) == 1
    assert len(same | others) == 3
    capture.close(5)
    capture._seed = bytes([1] * 32)
    assert capture._hash("a", noon) not in same
