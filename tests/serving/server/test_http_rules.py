"""HTTP side effects: each message of RFC 9110 and 9112 has exactly the effect that they name."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.http.http_messages import HttpLimits
from tests.serving.server.echo_server import GET, exchange, heads, listening, run

LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
EXPECT = b"Expect: 100-continue\r\n"

MESSAGES = {
    "absolute form": (b"GET http://a:1/p?q=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"GET /p?q=1 "),
    "absolute form, upper case": (b"GET HTTP://a/p HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"GET /p "),
    "absolute form without a path": (b"GET http://a HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"GET / "),
    "absolute form with only a query": (b"GET http://a?q HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"GET /?q "),
    "absolute form, IPv6": (b"GET http://[::1]:80/p HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200, b"GET /p "),
    "options of the server": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"OPTIONS * "),
    "options of the server by a proxy": (b"OPTIONS http://a HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"OPTIONS * "),
    "an empty Host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200, b"GET / "),
    "lower-case names, upper-case values": (
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, b"POST / abc",
    ),
    "chunk extensions": (CHUNKED + b'3;a=b;c="d e"\r\nabc\r\n0;last\r\n\r\n', 200, b"POST / abc"),
    "trailers": (CHUNKED + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", 200, b"POST / abc"),
    "empty lines before a request": (b"\r\n\r\n" + GET, 200, b"GET / "),
    "an offer of HTTP/2": (POST + OFFER + b"Content-Length: 3\r\n\r\nabc", 200, b"POST / abc"),
    "an offer of HTTP/2, chunked": (
        POST + OFFER + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, b"POST / abc",
    ),
    "an offer of WebSocket": (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200, b"GET / "),
    "a body of length 0 that is expected": (POST + EXPECT + b"Content-Length: 0\r\n\r\n", 200, b"POST / "),
    "an expected body that is there": (POST + EXPECT + b"Content-Length: 3\r\n\r\nabc", 200, b"POST / abc"),
}  # fmt: skip
"""Messages after which the connection is open: status and body of the answer."""


@pytest.mark.parametrize("name", MESSAGES)
def test_a_valid_message_has_one_answer_and_the_connection_continues(name):
    message, status, body = MESSAGES[name]

    received = run(message + LAST)

    assert heads(received) == [status, 200]
    assert body + b"HTTP/1.1 200" in received
    assert received.endswith(b"GET /last ")
    assert received.count(b"Connection: ") == 1


REFUSED = {
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "a Host that is not one": (b"GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "HTTP/2 without an offer": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "Transfer-Encoding in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400,
    ),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "a signed length": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "a length and chunks": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 501),
    "a folded header": (b"GET / HTTP/1.1\r\nHost: x\r\nX: 1\r\n 2\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "white space before a colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "a NUL in a value": (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400),
    "an unknown method": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a negative chunk": (CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", 400),
    "an unknown expectation": (POST + b"Expect: tea\r\nContent-Length: 3\r\n\r\nabc", 417),
    "an expected body that is too large": (POST + EXPECT + b"Content-Length: 5000\r\n\r\n", 413),
    "the same with an offer of HTTP/2": (POST + OFFER + EXPECT + b"Content-Length: 5000\r\n\r\n", 413),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_message_has_one_answer_and_ends_the_connection(name):
    message, status = REFUSED[name]

    received = run(message + LAST)

    assert heads(received) == [status]
    assert received.count(b"Connection: close\r\n") == 1


@pytest.mark.parametrize("offer", [b"", OFFER], ids=["", "with an offer of HTTP/2"])
@pytest.mark.parametrize("length", [b"Content-Length: 3\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue"])
def test_a_client_that_waits_is_asked_for_its_body_once(offer, length, value):
    async def main() -> tuple[bytes, bytes]:
        async with listening() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST + offer + b"Expect: " + value + b"\r\n" + length)
            first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            writer.write((b"abc" if b"Content" in length else b"3\r\nabc\r\n0\r\n\r\n") + LAST)
            rest = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return first, rest

    first, rest = asyncio.run(main())
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert heads(rest) == [200, 200]
    assert b"POST / abc" in rest


def test_a_client_that_waits_behind_its_own_request_is_asked_after_that_answer():
    async def main() -> bytes:
        async with listening() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET + POST + EXPECT + b"Content-Length: 3\r\n\r\n")
            received = await asyncio.wait_for(reader.readuntil(b"100 Continue\r\n\r\n"), 5)
            writer.write(b"abc" + LAST)
            received += await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return received

    assert heads(asyncio.run(main())) == [200, 100, 200, 200]


def test_http_1_0_never_gets_an_interim_answer():
    received = run(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", b"abc", pause=0.05)

    assert heads(received) == [200]


@pytest.mark.parametrize("value", [b"keep-alive", b"Keep-Alive", b"KEEP-ALIVE, x"])
def test_http_1_0_keep_alive_is_honoured_and_announced(value):
    one = b"GET /1 HTTP/1.0\r\nConnection: " + value + b"\r\n\r\n"

    received = run(one + one + b"GET /2 HTTP/1.0\r\n\r\n")

    assert heads(received) == [200, 200, 200]
    assert received.count(b"Connection: keep-alive\r\n") == 2
    assert received.count(b"Connection: close\r\n") == 1


@pytest.mark.parametrize("value", [b"close", b"Close", b"x, close", b"close, Upgrade\r\nUpgrade: h2c"])
def test_close_is_honoured_and_announced(value):
    received = run(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: " + value + b"\r\n\r\n" + GET)

    assert heads(received) == [200]
    assert received.count(b"Connection: close\r\n") == 1


def test_a_trailer_is_not_a_header():
    received = run(CHUNKED + b"0\r\nX-Request-Id: forged\r\nAuthorization: Bearer x\r\nHost: y\r\n\r\n" + LAST)

    assert heads(received) == [200, 200]
    assert b"forged" not in received


def test_a_refused_head_request_has_no_body():
    received = run(b"HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n")

    assert heads(received) == [400]
    assert received.endswith(b"\r\n\r\n")


def test_a_client_that_has_sent_everything_gets_its_answers_and_then_the_end():
    patient = HttpLimits(idle_s=600)

    received = run(GET + GET, limits=patient, end=True)

    assert heads(received) == [200, 200]
    assert received.count(b"Connection: close\r\n") == 1


def test_an_empty_line_after_a_request_does_not_begin_another():
    async def main() -> bytes:
        async with listening(HttpLimits(header_s=0.1, idle_s=600)) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET + b"\r\n")
            await asyncio.wait_for(reader.readuntil(b"GET / "), 5)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.4)
            writer.write(LAST)
            received = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return received

    assert heads(asyncio.run(main())) == [200]


VALID = st.sampled_from([message for message, status, _ in MESSAGES.values() if status == 200])


@settings(max_examples=60, deadline=None)
@given(st.lists(VALID, min_size=1, max_size=5), st.data())
def test_messages_mean_the_same_however_they_are_cut(messages, data):
    stream = b"".join(messages) + LAST
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def main() -> tuple[bytes, bytes]:
        async with listening(HttpLimits()) as (_, port):
            return await exchange(port, stream), await exchange(port, *pieces, pause=0.002)

    def answers(received: bytes) -> list[bytes]:
        return re.findall(rb"(?:GET|POST|OPTIONS) [^H]*", received)

    whole, cut = asyncio.run(main())
    assert answers(cut) == answers(whole)
    assert [status for status in heads(cut) if status != 100] == [200] * (len(messages) + 1)
    assert heads(cut).count(100) <= stream.count(EXPECT)
