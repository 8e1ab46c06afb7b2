"""A store that loses replies, stalls, stops, fills up or changes its keys: every call ends with a correct result."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchard import settings
from orchard.errors import ObjectChanged, ObjectExists, ObjectNotFound, StoreDenied, StoreError, StoreUnavailable
from orchard.store import clients, embedded, open_store
from orchard.store.conditional import create_once, swap_once
from orchard.store.credentials import CREDENTIALS_TTL
from orchard.store.embedded import EmbeddedStore
from tests.faults.proxy import Fault, proxy


@pytest.fixture
def behind(seaweed_environment, monkeypatch):
    """A proxy in front of an empty bucket, the bucket's store through it, and the path of the bucket in requests."""
    parts = urlsplit(seaweed_environment["ORCHARD_STORE_ENDPOINT"])
    bucket = seaweed_environment["ORCHARD_STORE_URL"].removeprefix("s3://")
    with proxy(parts.port) as running:
        environment = {**seaweed_environment, "ORCHARD_STORE_ENDPOINT": f"http://127.0.0.1:{running.port}"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield running, open_store(settings.load()), f"/{bucket}/".encode()


@pytest.fixture
def impatient(monkeypatch):
    """The time limits, shortened to seconds."""
    assert clients.RETRY_SECONDS + clients.DOCUMENT_SECONDS <= 60  # the limits in use
    for name, value in {"READ_SECONDS": 1, "RETRY_SECONDS": 1, "DOCUMENT_SECONDS": 2}.items():
        monkeypatch.setattr(clients, name, value)


def test_lost_reply_of_a_create_looks_like_a_conflict_and_is_resolved(behind):
    running, store, path = behind
    running.faults = [Fault("drop", b"PUT " + path + b"a")]

    with pytest.raises(ObjectExists):  # the client's own retry
        store.create("a", b"mine")

    assert store.get("a").body == b"mine"
    running.faults = [Fault("drop", b"PUT " + path + b"b")]
    assert create_once(store, "b", b"mine").body == b"mine"


def test_lost_reply_of_a_swap_is_resolved(behind):
    running, store, path = behind
    etag = store.put("pointer", b"1")
    running.faults = [Fault("drop", b"PUT " + path + b"pointer")]
    with pytest.raises(ObjectChanged):
        store.swap("pointer", b"2", etag)

    current = store.get("pointer")
    running.faults = [Fault("drop", b"PUT " + path + b"pointer")]
    assert swap_once(store, "pointer", b"3", current.etag).body == b"3"
    assert store.get("pointer").body == b"3"


def test_request_that_never_arrives_is_sent_again(behind):
    running, store, path = behind
    running.faults = [Fault("refuse", b"PUT " + path, times=2)]

    store.create("a", b"1")

    assert store.get("a").body == b"1"
    assert running.faults[0].times == 0


@pytest.mark.parametrize("kind", ["drop", "refuse"])
def test_store_that_never_answers_a_write_is_unavailable(behind, kind):
    running, store, path = behind
    running.faults = [Fault(kind, b"PUT " + path, times=None)]

    with pytest.raises(StoreUnavailable, match="did not answer for 'a'"):
        store.create("a", b"1")

    assert 2 <= len(running.requests) <= 6  # bounded


def test_body_cut_once_is_resumed(behind):
    running, store, path = behind
    body = os.urandom(3_000_000)
    store.put("big", body)

    running.faults = [Fault("cut", b"GET " + path + b"big", after=1_000_000)]
    assert b"".join(store.stream("big")) == body
    running.faults = [Fault("cut", b"GET " + path + b"big", after=1_000_000)]
    assert store.get("big").body == body


def test_body_that_is_always_cut_is_never_returned(behind):
    running, store, path = behind
    store.put("big", os.urandom(3_000_000))
    running.faults = [Fault("cut", b"GET " + path + b"big", times=None, after=100_000)]

    with pytest.raises(StoreUnavailable):
        store.get("big")
    with pytest.raises(StoreUnavailable):
        list(store.stream("big"))


@pytest.mark.parametrize("after", [0, 100, 200_000])
def test_calls_to_a_silent_store_end_soon(impatient, behind, after):
    running, store, _ = behind
    store.put("a", os.urandom(500_000))
    running.faults = [Fault("stall", b"", times=None, after=after)]

    for call in (lambda: store.get("a"), lambda: list(store.stream("a"))):
        begin = time.monotonic()
        with pytest.raises(StoreUnavailable):
            call()
        assert time.monotonic() - begin < 10


def test_store_that_is_not_running_is_reported_at_once(seaweed_environment, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: refused
        environment = {**seaweed_environment, "ORCHARD_STORE_ENDPOINT": f"http://127.0.0.1:{unused.getsockname()[1]}"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = open_store(settings.load())

        for call in (lambda: store.get("a"), lambda: store.create("a", b""), lambda: list(store.list("a"))):
            begin = time.monotonic()
            with pytest.raises(StoreUnavailable) as caught:
                call()
            assert time.monotonic() - begin < 10
        assert "orchard store status" in caught.value.hint


def test_rotated_key_is_used_without_a_restart(embedded_store, tmp_path, monkeypatch):
    valid = Path(embedded_store.environment["ORCHARD_STORE_CREDENTIALS_FILE"]).read_text()
    rotated = tmp_path / "credentials"
    rotated.write_text(valid[:-5] + "0000\n")
    environment = {**embedded_store.environment, "ORCHARD_STORE_CREDENTIALS_FILE": str(rotated)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(settings.load())
    with pytest.raises(StoreDenied):
        store.exists("a")

    rotated.write_text(valid)

    deadline = time.monotonic() + CREDENTIALS_TTL.total_seconds() + 5
    while True:
        try:
            assert not store.exists("a")
            return
        except StoreDenied:
            assert time.monotonic() < deadline, "the new key was never read"


def test_full_disk_refuses_new_objects_and_keeps_the_old(tmp_path, monkeypatch):
    """One volume of a few megabytes acts as the disk: SeaweedFS gives the same error when the disk is full."""
    small = [option for option in embedded._OPTIONS if "volumeSizeLimit" not in option]
    monkeypatch.setattr(embedded, "_OPTIONS", (*small, "-master.volumeSizeLimitMB=1", "-volume.max=1"))
    with EmbeddedStore(tmp_path / "store") as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        store = open_store(settings.load())
        created: dict[str, bytes] = {}

        def fill() -> None:
            for i in range(60):
                body = os.urandom(500_000)
                store.create(f"blob/{i:02d}", body)
                created[f"blob/{i:02d}"] = body

        with pytest.raises(StoreError):
            fill()

        assert created
        assert {key: store.get(key).body for key in created} == created
        with pytest.raises(ObjectNotFound):
            store.get(f"blob/{len(created):02d}")
        running.check()
