"""Programs killed at any moment, and hostile clients: only verified versions are served."""

from __future__ import annotations

import base64
import json
import os
import random
import threading
import time

import pytest

from serving.sync.version_cache import check_bytes
from tests.serving.conftest import plain_config, registry, server, zoo  # noqa: F401  fixtures
from tests.serving.model_registry import MODEL
from tests.serving.programs import raw, send_request, until

KILLS = int(os.environ.get("KILLS", "5"))


class HostileClient(threading.Thread):
    """Sends predictions to the stable label in a loop and records the answers."""

    def __init__(self, registry) -> None:  # noqa: F811
        super().__init__(daemon=True)
        self.port = int(registry.environment["ORCHARD_SERVER_URL"].rsplit(":", 1)[1])
        self.body = json.dumps({"instances": [{"b64": base64.b64encode(registry.test_photo()).decode()}]})
        self.answers: list[tuple[str, float]] = []
        self.wrong: list[bytes] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                answer = send_request(self.port, "POST", f"/v1/models/{MODEL}/labels/stable:predict", self.body)
            except OSError:
                continue  # the server was killed
            if answer.status == 200:
                prediction = answer.json["predictions"][0]
                self.answers.append((prediction["label"], round(prediction["probability"], 4)))
            elif "Unrecognized servable version label" not in answer.error:  # a server that has just started
                self.wrong.append(answer.body)


def expected_answers(registry) -> set[tuple[str, float]]:  # noqa: F811
    """The good models' answers for the photo, as the server writes them."""
    answers = set()
    for name in ("one", "two", "three"):
        photo = json.loads((registry.photos / name / "assets.extra" / "golden.json").read_text())["photos"][0]
        answers.add((photo["label"], round(photo["probability"], 4)))
    return answers


def test_programs_killed_at_any_moment_serve_only_verified_versions(registry):  # noqa: F811
    seed = random.randrange(1 << 30)  # noqa: S311
    print(f"seed {seed}, {KILLS} kills")
    rng = random.Random(seed)  # noqa: S311
    versions = [registry.publish(name) for name in ("one", "two", "three")]
    bad = registry.publish("wrong")
    registry.promote(versions[0])
    programs = {"serve": registry.serve()}
    port = programs["serve"].port
    programs["sync"] = registry.sync()
    client = HostileClient(registry)
    client.start()
    try:
        until(lambda: len(client.answers) > 3, "it answers")
        for turn in range(KILLS):
            registry.promote(rng.choice([*versions, bad]), why=f"turn {turn}")
            victim = rng.choice(["serve", "sync", "sync"])
            time.sleep(rng.uniform(0, 0.5))  # a random moment for the kill
            programs[victim].kill()
            programs[victim] = registry.serve(port=port) if victim == "serve" else registry.sync()
            assert programs[victim].port
        registry.promote(versions[2], why="the end")
        until(lambda: programs["sync"].served() == versions[2], f"the end is served (seed {seed})")
    finally:
        client.stop.set()
        client.join()
        for program in programs.values():
            program.child.stop()

    assert client.wrong == [], f"seed {seed}"
    assert set(client.answers) <= expected_answers(registry), f"seed {seed}"
    for folder in (registry.serving / MODEL).iterdir():
        if folder.name.isdigit():
            manifest = registry.registry.manifest(int(folder.name))
            check_bytes(folder, manifest)


SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
PREDICT = b"POST /v1/models/matrix:predict HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (PREDICT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
        (PREDICT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (PREDICT + b"Content-Length: -1\r\n\r\n", 400),
        (PREDICT + b"Content-Length: 1e3\r\n\r\n", 400),
        (PREDICT + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (PREDICT + b"Content-Length: 104857600\r\n\r\n", 413),
        (PREDICT + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (PREDICT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (PREDICT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello", 400),
        (PREDICT + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", 415),
        (PREDICT + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (PREDICT + b"Expect: something\r\nContent-Length: 5\r\n\r\n", 417),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\0" * 100, 400),
        (b"CONNECT example.test:443 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    ],
)
def test_ambiguous_http_is_refused_and_the_connection_closes(server, payload, status):  # noqa: F811
    received = raw(server.port, payload)

    assert received.startswith(b"HTTP/1.1 %d " % status), received[:200]
    assert received.count(b"HTTP/1.1 ") == 1, "the smuggled request was answered"


def test_an_upgrade_offer_is_ignored(server):  # noqa: F811
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    body = b'{"instances": [[1, 2, 3, 4]]}'
    request = PREDICT + offer + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    received = raw(server.port, request + request + last)

    assert received.count(b'"predictions": [[7.0, 10.0]') == 2
    assert received.endswith(b'{"healthy": true}\n')


def deep(depth: int) -> bytes:
    return b'{"instances": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (deep(100_000), 400),
        (deep(1020), 400),
        (b'{"instances": ' + b'{"a":' * 100_000, 400),
        (b'{"x": ' + b"[" * 900 + b"]" * 900 + b', "instances": [[1,2,3,4]]}', 200),
        (b'{"instances": [' + b"1," * 3_000_000 + b"1]}", 413),
        (b'{"instances": [' + b"NaN," * 600_000 + b"1]}", 400),
        (b'{"instances": [1' + b"0" * 100_000 + b"]}", 400),
        (b'{"instances": "' + b"\\u0000" * 100_000 + b'"}', 400),
        (b"\xef\xbb\xbf" * 3, 400),
        (b"{" + b'"a":1,' * 200_000 + b'"instances": []}', 400),
        (b'{"instances": [[1e308, 1e308, 1e308, 1e308]]}', 200),
        (b'{"instances": [[1,2,3,4]], "signature_name": "\\ud800"}', 400),
    ],
    ids=range(12),
)
def test_hostile_json_is_a_4xx_and_affects_no_other_client(server, body, status):  # noqa: F811
    answer = server.predict("matrix", body)

    assert answer.status == status, answer.body[:300]
    assert len(answer.body) < 10_000
    assert server.predict("matrix", {"instances": [[1, 2, 3, 4]]}).json == {"predictions": [[7.0, 10.0]]}


def test_others_are_answered_while_some_send_garbage(server):  # noqa: F811
    bodies = [
        deep(50_000),
        b'{"instances": [' + b"NaN," * 100_000 + b"1]}",
        b'{"instances": [' + b'"x",' * 300_000 + b"1]}",
    ]
    stop = threading.Event()

    def attack(body: bytes) -> None:
        while not stop.is_set():
            server.predict("matrix", body)

    attackers = [threading.Thread(target=attack, args=(body,)) for body in bodies]
    for thread in attackers:
        thread.start()
    try:
        for _ in range(50):
            assert server.predict("matrix", {"instances": [[1, 2, 3, 4]]}).status == 200
    finally:
        stop.set()
        for thread in attackers:
            thread.join()


def test_a_client_that_disconnects_or_sends_in_pieces_affects_no_other_client(server):  # noqa: F811
    import socket

    body = b'{"instances": [[1, 2, 3, 4]]}'
    head = b"POST /v1/models/matrix:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for cut in (1, 10, len(head) - 1, len(head), len(head) + 3):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall((head + body)[:cut])
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for byte in head + body:
            connection.sendall(bytes([byte]))
        assert connection.recv(1 << 16).endswith(b'"predictions": [[7.0, 10.0]\n    ]\n}')
        connection.sendall((head + body) * 30)  # pipelined: answered in order
        received = b""
        while received.count(b"predictions") < 30:
            received += connection.recv(1 << 16)
