"""Connections within limits: slow clients, pipelines, and any bytes at all."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.server.echo_server import GET, exchange, listening, run


def test_a_client_that_sends_its_headers_slowly_is_let_go():
    assert run(b"GET / HTTP/1.1\r\nHost").startswith(b"HTTP/1.1 408 ")


def test_a_client_that_sends_its_body_slowly_is_let_go():
    assert run(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1").startswith(b"HTTP/1.1 408 ")


def test_a_slow_drip_of_headers_does_not_buy_time():
    drips = [b"GET / HTTP/1.1\r\n", *[b"X: 1\r\n"] * 30]

    assert run(*drips, pause=0.03).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_ends():
    assert run(GET).startswith(b"HTTP/1.1 200 ")
    assert run() == b""


def test_more_connections_than_allowed_are_told_so():
    async def main() -> bytes:
        async with listening() as (_, port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            received = await exchange(port, GET)
            for _, writer in held:
                writer.close()
            return received

    assert asyncio.run(main()).startswith(b"HTTP/1.1 503 ")


def test_pipelined_requests_are_answered_in_order():
    bodies = [b"%d" % number for number in range(20)]
    requests = [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies]

    received = run(b"".join(requests), end=True)

    assert [part.split(b"\r\n\r\n")[1] for part in received.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"POST / " + body for body in bodies
    ]


def test_what_comes_before_a_refused_request_is_answered_first():
    received = run(GET + b"rubbish\r\n\r\n" + GET)

    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


def test_expect_continue_is_met_and_a_body_too_large_is_not_asked_for():
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"

    met = run(head % 5, b"hello", pause=0.05)
    assert met.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert run(head % 5000).startswith(b"HTTP/1.1 413 ")


def test_the_reply_to_a_refused_body_survives_a_client_that_keeps_sending():
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"

    assert run(head, *[b"x" * 65536] * 20).startswith(b"HTTP/1.1 413 ")


def test_head_has_no_body():
    received = run(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\n")
    assert b"Content-Length: 7\r\n" in received


def test_http_1_0_ends_after_its_answer():
    assert b"Connection: close" in run(b"GET / HTTP/1.0\r\n\r\n")


def test_draining_ends_idle_connections_and_answers_the_others():
    async def main() -> tuple[bytes, bytes]:
        async with listening() as (server, port):
            idle = await asyncio.open_connection("127.0.0.1", port)
            busy = await asyncio.open_connection("127.0.0.1", port)
            busy[1].write(GET)
            while not any(connection._current for connection in server.connections):
                await asyncio.sleep(0)
            server.drain()
            found = await idle[0].read(), await busy[0].read()
            for _, writer in (idle, busy):
                writer.close()
            return found

    assert asyncio.run(main())[0] == b""
    assert asyncio.run(main())[1].startswith(b"HTTP/1.1 200 ")


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                GET,
                b"POST / HTTP/1.1\r\n",
                b"Content-Length: 3\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"\r\n",
                b"0\r\n\r\n",
            ]
        ),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(PIECES)
def test_any_bytes_get_whole_answers_or_none(pieces):
    received = run(*pieces, end=True)

    while received:
        assert received.startswith(b"HTTP/1.1 ")
        head, _, rest = received.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            received = rest
            continue
        length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
        if rest[:length].startswith(b"HTTP"):
            length = 0  # HEAD
        received = rest[length:]
