"""Sends almost valid requests, thousands a second, to a real server: none may break it, and none may get a 5xx but 501 and 505.

    python -m tests.faults.fuzz --seconds 600
    python -m tests.faults.fuzz --seconds 600 --seed 7     # the same requests again

Valid requests of every kind are cut, doubled, mixed and filled with tokens that are hard to parse. After each batch the
server must still run and answer a valid request correctly. It prints how many requests got which status. When something
breaks, it prints the request as Python bytes and returns exit code 1.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from serving.models_config import All, ModelConfig, render
from tests.serving.conftest import PLAIN, make_zoo
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve

__all__ = ["fuzz", "serve_zoo"]

BATCH = 200
REQUEST = {"instances": [[1, 2, 3, 4]]}
ANSWER = {"predictions": [[7.0, 10.0]]}
BODIES = [
    (b"matrix", b'{"instances": [[1, 2, 3, 4], [5.5, -6e-3, NaN, Infinity]]}'),
    (b"matrix", b'{"signature_name": "serving_default", "inputs": {"x": [[1, 2, 3, 4]]}}'),
    (b"half_plus_two", b'{"instances": [1.0, 2, {"x": 3}]}'),
    (b"half_plus_two/versions/123", b'{"inputs": [1, 2, 3]}'),
    (b"half_plus_two/labels/stable", b'{"instances": [{"x": 1e30}]}'),
    (b"types", b'{"instances": [{"b64": "aGVsbG8="}, "\\u00e9\\ud83d\\ude00", true, null, -1]}'),
    (b"shapes", b'{"instances": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}'),
]
TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"\\u0000",
        b'"',
        b"\\",
    ),
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b"[" * 2000,
        b'{"a":' * 500,
        b"1e999",
        b"-0",
        b"NaN",
        b"-Infinity",
        b"9" * 400,
    ),
    *(b"18446744073709551616", b"null", b"true", b'{"b64": "', b'{"b64": "A"}', b'"instances"', b'"inputs"', b'"x"'),
    *(b"Content-Length: 0\r\n", b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: y\r\n"),
    *(
        b"Expect: 100-continue\r\n",
        b"Content-Encoding: gzip\r\n",
        b"0\r\n\r\n",
        b"fffffffff\r\n",
        b"%00",
        b"%ff",
        b"/../",
    ),
    *(
        b":predict",
        b":classify",
        b":regress",
        b"/metadata",
        b"/versions/99999999999999999999",
        b"/labels/",
        b" HTTP/1.1",
    ),
    *(b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"GET / HTTP/1.1\r\n\r\n", b"Connection: close\r\n", b"\x16\x03\x01"),
]


def make_request(rng: random.Random) -> bytes:
    """Make a request; if it has a length, that usually fits its body."""
    model, body = rng.choice(BODIES)
    verb = rng.choice((b"predict", b"predict", b"classify", b"regress"))
    body = mutate(body, rng, rng.choice((0, 1, 2, 5)))
    path = mutate(b"/v1/models/%s:%s" % (model, verb), rng, rng.choice((0, 0, 0, 1)))
    if rng.random() < 0.1:
        return mutate(b"GET /v1/models/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % model, rng, 2)
    if rng.random() < 0.2:
        half = len(body) // 2
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
        head, body = b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n\r\n"
    else:
        head = b"Content-Length: %d\r\n" % len(body)
    head = mutate(b"Host: x\r\nConnection: close\r\n" + head, rng, rng.choice((0, 0, 0, 1, 2)))
    return b"POST " + path + b" HTTP/1.1\r\n" + head + b"\r\n" + body


def mutate(body: bytes, rng: random.Random, times: int) -> bytes:
    """Change some bytes: cut, double, insert, replace, flip."""
    for _ in range(times):
        at, to = sorted((rng.randint(0, len(body)), rng.randint(0, len(body))))
        change = rng.randrange(5)
        if change == 0:
            body = body[:at] + body[to:]
        elif change == 1:
            body = body[:to] + body[at:to] * rng.randint(1, 3) + body[to:]
        elif change == 2:
            body = body[:at] + rng.choice(TOKENS) + body[at:]
        elif change == 3:
            body = body[:at] + rng.choice(TOKENS) + body[to:]
        elif body:
            at = min(at, len(body) - 1)
            body = body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]
    return body


def send(port: int, payload: bytes) -> bytes:
    """Send it, close the sending side, and return the reply."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with suppress(ConnectionError, BrokenPipeError):
            connection.sendall(payload)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while chunk := connection.recv(1 << 16):
                received += chunk
    return bytes(received)


def fuzz(server: Serve, rng: random.Random, seconds: float, limit: int | None = None) -> Counter[str]:
    """Send requests for some seconds, at most `limit` of them.

    Returns:
        How many requests got each status; "none": the connection closed without an answer.

    Raises:
        AssertionError: a 5xx, a reply that is not valid HTTP, a server that ended or gave a wrong answer.
    """
    statuses: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end and (limit is None or statuses.total() < limit):
        for _ in range(BATCH):
            payload = make_request(rng)
            received = send(server.port, payload)
            assert not received or received.startswith(b"HTTP/1.1 "), payload
            status = received[9:12].decode() or "none"
            assert status < "500" or status in ("501", "505", "none"), (status, payload, received[:500])
            statuses[status] += 1
        assert server.child.running(), server.text[-2000:]
        assert server.predict("matrix", REQUEST).json == ANSWER
    return statuses


def serve_zoo(folder: Path) -> Serve:
    """Start a server of all plain models, which are made in `folder` if they are missing."""
    zoo = make_zoo(folder / "zoo")
    config = folder / "models.config"
    labels = {"half_plus_two": {"stable": 124}}
    config.write_text(render(ModelConfig(name, str(zoo / name), All(), labels.get(name, {})) for name in PLAIN))
    return Serve(config, folder / "serve.log", ENVIRONMENT, "--no-access-log")


def main() -> int:
    """Parse the command line and fuzz."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))  # noqa: S311
    args = parser.parse_args()
    print(f"seed {args.seed}, {args.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, serve_zoo(Path(folder)) as server:
        try:
            statuses = fuzz(server, random.Random(args.seed), args.seconds)  # noqa: S311
        except AssertionError as error:
            print(f"broken: {error}", file=sys.stderr)
            return 1
    print(
        f"{statuses.total()} requests: "
        + ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
