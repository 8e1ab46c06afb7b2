"""Malformed, endless, slow and flooding clients at the real Envoy: refused, or made well-formed, while others are answered."""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress

import grpc
import pytest

from tests.serving.programs import raw, until
from tests.serving.router.routing import PATH, KeptConnection, call

HEAD = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-client: anna\r\n"
NEXT = "GET /v1/second HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
"""What follows on the connection: who takes it for a part of the request before is smuggled past."""

REFUSED = {
    "CL and TE": "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two CL": "content-length: 2\r\ncontent-length: 0\r\n\r\n{}",
    "CL twice": "content-length: 2, 2\r\n\r\n{}",
    "CL with a sign": "content-length: +2\r\n\r\n{}",
    "TE with a space": "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE unknown": "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE not last": "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two TE": "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "TE with a control": "transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "NUL": "x: y\0z\r\n\r\n",
    "an underscore for a hyphen": "x_orchard_channel: canary\r\ncontent-length: 0\r\n\r\n",
    "LF in a chunk": "transfer-encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "LF in a chunk's extension": "transfer-encoding: chunked\r\n\r\n2;x\nxx\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": "transfer-encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a huge chunk": "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "many headers": "".join(f"h{number}: x\r\n" for number in range(101)) + "\r\n",
    "a long header": f"h: {'x' * (64 << 10)}\r\n\r\n",
}
PASSED = {
    "LF": ("x: y\ncontent-length: 2\r\n\r\n{}", "2", "y"),
    "CR": ("x: y\rcontent-length: 9\r\ncontent-length: 2\r\n\r\n{}", "2", "ycontent-length: 9"),
    "obs-fold": ("x: y\r\n content-length: 9\r\ncontent-length: 2\r\n\r\n{}", "2", "y content-length: 9"),
    "a folded TE": ("x: y\r\ntransfer-encoding:\r\n chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "2", "y"),
    "a chunk's extension": ("x: y\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n", "2", "y"),
    "hop by hop": ("x: y\r\nconnection: content-length, x-orchard-channel\r\ncontent-length: 2\r\n\r\n{}", "2", "y"),
    "h2c": ("x: y\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n{}", "2", "y"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_ambiguous_request_is_refused_with_what_follows(router, upstream, name):
    seen = len(upstream.seen)

    answer = raw(router.port, (HEAD + REFUSED[name] + NEXT).encode("latin-1"))

    assert answer.split(b" ", 2)[1] in (b"400", b"431", b"501")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert len(upstream.seen) == seen


@pytest.mark.parametrize("name", PASSED)
def test_an_odd_request_reaches_the_model_server_well_formed(router, upstream, name):
    request, length, value = PASSED[name]
    seen = len(upstream.seen)

    answer = raw(router.port, (HEAD + request + NEXT).encode())

    first, second = upstream.seen[seen:]
    assert (first["content-length"], first["x"], first["x-orchard-channel"]) == (length, value, "stable")
    assert not {"transfer-encoding", "upgrade", "connection"} & set(first)
    assert second[""] == "GET /v1/second HTTP/1.1"
    assert answer.count(b"HTTP/1.1 200") == 2, "both see two requests"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("//v1/models/m", 404), ("/V1/models/m", 404), ("/v1", 404), ("/v1/%2e%2e/metrics", 404), ("/v1/.%2E/metrics", 404),
        (r"/v1\..\metrics", 404), (r"/v1/..\..\metrics", 404), ("/v1/..;/metrics", 404), ("/healthz/../metrics", 404),
        ("/healthz/x", 404), (r"\v1/models", 400), ("/v1/x%00y", 400), ("/v1/models/m#x", 400), ("v1/models/m", 400), ("*", 400),
        ("/v1/a b", 400), ("http://x/metrics", 404), ("/v1/" + "x" * (64 << 10), 431),
    ],
)  # fmt: skip
def test_a_path_that_only_looks_like_one_of_the_api_is_refused(router, upstream, path, status):
    seen = len(upstream.seen)

    with KeptConnection(router.port) as connection:
        assert connection.get(path) == status

    assert len(upstream.seen) == seen


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/models/m/../n", "/v1/models/n"), ("/%76%31/models/m", "/v1/models/m"), (r"/healthz/..\v1/models/m", "/v1/models/m"),
        ("/v1/models/a%2Fb", "/v1/models/a%2Fb"),
    ],
)  # fmt: skip
def test_a_path_is_routed_by_what_the_model_server_gets(router, upstream, path, sent):
    with KeptConnection(router.port) as connection:
        assert connection.get(path) == 200

    assert upstream.seen[-1][""] == f"GET {sent} HTTP/1.1"


def answer_of(connection: socket.socket) -> bytes:
    """What the router sends until it ends the connection."""
    received = b""
    with suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


def test_an_endless_upload_is_refused_and_others_are_answered(router, upstream):
    seen = len(upstream.seen)
    with socket.create_connection(("127.0.0.1", router.port), timeout=30) as connection:
        connection.sendall(f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode())
        with suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"10000\r\n%s\r\n" % bytes(1 << 16))
        answer = answer_of(connection)

    assert answer == b"" or b" 413 " in answer[:20]
    assert len(upstream.seen) == seen
    assert router.channel("bert") == "stable"


def test_slow_uploads_end_and_others_are_answered_meanwhile(router, upstream):
    slow = [socket.create_connection(("127.0.0.1", router.port), timeout=60) for _ in range(50)]
    for number, connection in enumerate(slow):
        connection.sendall(f"{HEAD}content-length: 100000\r\n\r\n{'x' * number}".encode())

    seen = len(upstream.seen)
    for number in range(100):
        assert router.channel(f"other-{number}") == "stable"
    assert len(upstream.seen) == seen + 100

    def drip() -> bool:
        slow[0].send(b"x")  # so it is never idle
        return bool(select.select([slow[0]], [], [], 0.1)[0])

    until(drip, "the slow request ends", seconds=15)
    for connection in slow:
        assert b" 408 " in answer_of(connection)[:20]
        connection.close()


def frame(kind: int, stream: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


@pytest.mark.parametrize(
    "flood",
    [frame(6, 0, bytes(8)), frame(4, 0, b""), frame(2, 1, bytes(5)), frame(9, 1, b"\x00" * 16)],
    ids=["pings", "settings", "priorities", "continuations"],
)
def test_a_flood_of_frames_ends_its_connection_and_no_other(router, flood):
    with grpc.insecure_channel(f"127.0.0.1:{router.port}") as channel:
        assert call(channel) is grpc.StatusCode.OK
        with socket.create_connection(("127.0.0.1", router.port), timeout=30) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, b""))
            with suppress(ConnectionError):
                for _ in range(200):
                    connection.sendall(flood * 1000)
            answer_of(connection)  # it ends

        assert call(channel) is grpc.StatusCode.OK
    assert router.channel("bert") == "stable"


def test_a_message_above_the_limit_is_refused_and_its_connection_goes_on(router, rpc_upstream):
    with grpc.insecure_channel(f"127.0.0.1:{router.port}") as channel:
        seen = len(rpc_upstream.seen)
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(bytes(8 << 20), timeout=30)
        assert caught.value.details() == "Payload Too Large", "the text, not JSON"
        assert len(rpc_upstream.seen) == seen
        assert call(channel, body=bytes((1 << 20) - 5)) is grpc.StatusCode.OK
