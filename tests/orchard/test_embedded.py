"""The embedded store: closed to strangers, data that stay, and an end with its parent."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchard import settings
from orchard.errors import ConflictError, StoreDenied, StoreError, StoreUnavailable
from orchard.running_store import environment_of
from orchard.store import open_store
from orchard.store.embedded import EmbeddedStore
from tests.process_facts import is_alive, listening


def wait_for(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def ends_well(call) -> bool:
    try:
        call()
    except StoreUnavailable:
        return False
    return True


def client(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return open_store(settings.load())


def send_request(port: int, path: str, method: str = "GET") -> int | None:
    """The HTTP status of an anonymous request; None if the port speaks no HTTP (gRPC)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except (http.client.HTTPException, OSError):
        return None
    finally:
        connection.close()


def test_strangers_find_every_door_closed(embedded_store, seaweed, seaweed_environment):
    seaweed.put("kept", b"safe")
    bucket = seaweed_environment["ORCHARD_STORE_URL"].removeprefix("s3://")
    open_ports = listening(embedded_store.pid)

    assert set(open_ports.values()) == {"0100007F"}  # 127.0.0.1, nowhere else
    assert len(open_ports) >= 10
    paths = [
        f"/{bucket}/",
        f"/{bucket}/kept",
        f"/col/delete?collection={bucket}",
        "/dir/status",
        f"/buckets/{bucket}/kept",
    ]
    for port in open_ports:
        for path in paths:
            status = send_request(port, path)
            assert status is None or status in {400, 401, 403, 404, 405}, f"{path} on port {port}: {status}"
        assert send_request(port, f"/{bucket}/kept", "DELETE") in {None, 400, 401, 403, 404, 405}
    assert seaweed.get("kept").body == b"safe"


def test_the_clients_key_makes_no_buckets(embedded_store, monkeypatch):
    store = client({**embedded_store.environment, "ORCHARD_STORE_URL": "s3://never-made"}, monkeypatch)

    with pytest.raises(StoreError):
        store.put("a", b"1")
    with pytest.raises(StoreError, match="the bucket does not exist"):
        store.get("a")


def test_secrets_are_for_their_owner_only(embedded_store):
    assert embedded_store.directory.stat().st_mode & 0o777 == 0o700
    for name in ("secrets.json", "identities.json", "credentials"):
        assert (embedded_store.directory / name).stat().st_mode & 0o777 == 0o600
    command = Path(f"/proc/{embedded_store.pid}/cmdline").read_text()
    secret = (embedded_store.directory / "credentials").read_text().split()[-1]
    assert secret not in command


def test_buckets_are_made_once(embedded_store, monkeypatch):
    embedded_store.create_bucket("twice")
    store = client({**embedded_store.environment, "ORCHARD_STORE_URL": "s3://twice"}, monkeypatch)
    store.put("a", b"1")

    embedded_store.create_bucket("twice")

    assert store.get("a").body == b"1"
    with pytest.raises(StoreError, match="not a valid bucket name"):
        embedded_store.create_bucket("../etc")


def test_second_supervisor_gets_an_error_that_names_the_first(embedded_store):
    with pytest.raises(ConflictError, match=f"pid {os.getpid()}"):
        EmbeddedStore(embedded_store.directory).start()

    embedded_store.check()
    assert environment_of(embedded_store.directory)["ORCHARD_STORE_ENDPOINT"] == embedded_store.endpoint


def test_of_two_that_start_at_once_one_wins(tmp_path):
    stores = [EmbeddedStore(tmp_path / "store") for _ in range(2)]
    results: list[object] = []

    def start(store):
        try:
            results.append(store.start())
        except ConflictError as error:
            results.append(error)

    threads = [threading.Thread(target=start, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.stop()

    assert sorted(type(result).__name__ for result in results) == ["ConflictError", "EmbeddedStore"]


def test_taken_port_is_named_with_who_took_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=rf"port {port} is taken by .*\(pid {os.getpid()}\)"):
            EmbeddedStore(tmp_path / "store", port=port).start()


def test_server_that_cannot_start_shows_its_log(tmp_path):
    (tmp_path / "store" / "data").mkdir(parents=True)
    (tmp_path / "store" / "data" / "filerldb2").write_text("not a database")

    with pytest.raises(StoreUnavailable, match="filerldb2") as caught:
        EmbeddedStore(tmp_path / "store").start()

    assert str(tmp_path / "store" / "log") in caught.value.hint
    with pytest.raises(StoreUnavailable, match="no embedded store runs"):
        environment_of(tmp_path / "store")


def test_data_and_keys_outlive_stops_and_kills(tmp_path, monkeypatch):
    bodies = {f"models/{i}": os.urandom(3000 + i) for i in range(60)}
    with EmbeddedStore(tmp_path / "store") as first:
        environment = first.environment
        store = client(environment, monkeypatch)
        for key, body in list(bodies.items())[:30]:
            store.put(key, body)
        credentials = Path(environment["ORCHARD_STORE_CREDENTIALS_FILE"]).read_text()

    with EmbeddedStore(tmp_path / "store") as second:
        assert Path(second.environment["ORCHARD_STORE_CREDENTIALS_FILE"]).read_text() == credentials
        store = client(second.environment, monkeypatch)
        for key, body in list(bodies.items())[30:]:
            store.put(key, body)
        os.kill(second.pid, signal.SIGKILL)
        wait_for(lambda: not ends_well(second.check))
        with pytest.raises(StoreUnavailable, match="exit code -9; the end of its log"):
            second.check()
        with pytest.raises(StoreUnavailable):
            store.get("models/0")

    with EmbeddedStore(tmp_path / "store") as third:
        store = client(third.environment, monkeypatch)
        assert {stat.key: store.get(stat.key).body for stat in store.list("models")} == bodies
    assert not list(Path("/tmp").glob(f"seaweedfs-*-{third._ports['s3.port.grpc']}.sock"))  # noqa: S108  where SeaweedFS puts them


PARENT = """
import sys, threading, time
from pathlib import Path
from orchard.store.embedded import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]))
thread = threading.Thread(target=store.start)
thread.start(); thread.join()          # the thread that started it is gone
store.create_bucket("from-the-parent")
store.check()
print(store.pid, flush=True)
time.sleep(60)
"""


def test_killed_parent_takes_its_server_along_and_the_next_takes_over(tmp_path, monkeypatch):
    command = [sys.executable, "-c", PARENT, str(tmp_path / "store")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    assert is_alive(server)

    parent.kill()
    parent.wait()
    parent.stdout.close()
    with EmbeddedStore(tmp_path / "store") as store:
        assert not is_alive(server)
        mine = client({**store.environment, "ORCHARD_STORE_URL": "s3://from-the-parent"}, monkeypatch)
        mine.put("a", b"1")
        assert mine.get("a").body == b"1"


def test_wrong_secret_is_denied(embedded_store, tmp_path, monkeypatch):
    right = Path(embedded_store.environment["ORCHARD_STORE_CREDENTIALS_FILE"]).read_text()
    (tmp_path / "wrong").write_text(right[:-5] + "0000\n")
    environment = {**embedded_store.environment, "ORCHARD_STORE_CREDENTIALS_FILE": str(tmp_path / "wrong")}
    store = client(environment, monkeypatch)

    for call in (
        lambda: store.get("a"),
        lambda: store.put("a", b""),
        lambda: store.head("a"),
        lambda: list(store.list("a")),
    ):
        with pytest.raises(StoreDenied, match="refused 'a': SignatureDoesNotMatch: ") as caught:
            call()
        assert caught.value.code == "SignatureDoesNotMatch"
