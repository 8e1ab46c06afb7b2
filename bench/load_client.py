"""A closed-loop client in its own process: each connection sends its next request when it has its answer.

    python -m bench.load_client rest PORT PATH PHOTOS CONNECTIONS SECONDS [TOKEN]      # TF Serving's JSON, rows
    python -m bench.load_client raw  PORT PATH PHOTOS CONNECTIONS SECONDS [TOKEN]      # each photo as it is, image/jpeg
    python -m bench.load_client v2   PORT PATH PHOTOS CONNECTIONS SECONDS              # the Open Inference Protocol's JSON
    python -m bench.load_client grpc PORT MODEL PHOTOS CONNECTIONS SECONDS [TOKEN]     # PredictionService/Predict

PHOTOS is a JSON list of {"b64", "label", "probability"}: every answer is compared with the model's own, made in process.
Prints a JSON document: requests/s, p50, p99 and the longest in ms, wrong answers. The client shares the machine with the
server, so it does as little as possible: it prepares requests before and parses answers after the measured time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from bench.tally import Tally


class LoadConnection(asyncio.Protocol):
    """One HTTP/1.1 connection: sends a request, waits for its answer, sends the next."""

    def __init__(self, tally: Tally, requests: list[bytes], first: int, done: Callable[[], None]) -> None:
        self.tally, self.requests, self.index, self.done = tally, requests, first, done
        self.received = b""
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self.transport: Any = transport
        self.send()

    def send(self) -> None:
        """Send the next photo."""
        self.index = (self.index + 7) % len(self.requests)
        self.sent = time.perf_counter()
        self.transport.write(self.requests[self.index])

    def data_received(self, data: bytes) -> None:
        """Handle an answer once it is complete."""
        self.received += data
        head, mark, body = self.received.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length: ")
        if not mark or len(body) < int(head[at + 16 :].split(b"\r\n", 1)[0]):
            return
        self.received = b""
        if self.tally.add(self.index, self.sent, (head[:12], body)):
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the connection has ended."""
        self.done()


async def run_connections(
    make: Callable[[int, Callable[[], None]], asyncio.BaseProtocol], port: int, connections: int
) -> None:
    """Open the connections and wait until all have ended."""
    loop, remaining, finished = asyncio.get_running_loop(), connections, asyncio.Event()

    def done() -> None:
        nonlocal remaining
        remaining -= 1
        if not remaining:
            finished.set()

    for number in range(connections):
        await loop.create_connection(lambda number=number: make(number * 13, done), "127.0.0.1", port)  # type: ignore[misc]
    await finished.wait()


def http_request(path: str, body: bytes, token: str, content_type: str = "application/json") -> bytes:
    """An HTTP/1.1 request as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def rest_body(b64: str) -> dict[str, Any]:
    """TF Serving's row format."""
    return {"instances": [{"b64": b64}]}


def read_rest(answer: tuple[bytes, bytes]) -> tuple[str, float]:
    """Label and probability of a reply in row format; of an error: values that never match."""
    status, body = answer
    if not status.endswith(b"200"):
        return "", math.nan
    row = json.loads(body)["predictions"][0]
    return row["label"], row["probability"]


def v2_body(b64: str) -> dict[str, Any]:
    """The Open Inference Protocol."""
    tensor = {"name": "image_bytes", "shape": [1, 1], "datatype": "BYTES", "data": [b64]}
    return {"inputs": [{**tensor, "parameters": {"content_type": "base64"}}]}


def read_v2(answer: tuple[bytes, bytes]) -> tuple[str, float]:
    """Label and probability of an Open Inference Protocol reply."""
    status, body = answer
    if not status.endswith(b"200"):
        return "", math.nan
    outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    return outputs["label"][0], outputs["probability"][0]


async def rest(tally: Tally, port: int, path: str, connections: int, token: str, *, v2: bool = False) -> dict[str, Any]:
    """Send requests over HTTP/1.1."""
    body = v2_body if v2 else rest_body
    requests = [http_request(path, json.dumps(body(photo["b64"])).encode(), token) for photo in tally.photos]
    await run_connections(lambda first, done: LoadConnection(tally, requests, first, done), port, connections)
    return tally.report(read_v2 if v2 else read_rest)


async def raw(tally: Tally, port: int, path: str, connections: int, token: str) -> dict[str, Any]:
    """Send each photo as it is."""
    bodies = [base64.b64decode(photo["b64"]) for photo in tally.photos]
    requests = [http_request(path, body, token, "image/jpeg") for body in bodies]
    await run_connections(lambda first, done: LoadConnection(tally, requests, first, done), port, connections)
    return tally.report(read_rest)


async def rpc(tally: Tally, port: int, model: str, connections: int, token: str) -> dict[str, Any]:
    """Call over gRPC, one call at a time on each connection."""
    from bench.load_client_grpc import GrpcLoadConnection, predict_message, read_predict

    requests = [predict_message(model, base64.b64decode(photo["b64"])) for photo in tally.photos]
    path = "/tensorflow.serving.PredictionService/Predict"
    await run_connections(
        lambda first, done: GrpcLoadConnection(tally, path, requests, first, done, token), port, connections
    )
    return tally.report(read_predict)


def main() -> None:
    """Run one measurement."""
    kind, port, target, photos, connections, seconds, *optional = sys.argv[1:]
    token = optional[0] if optional else ""
    tally = Tally(json.loads(Path(photos).read_text()), float(seconds))
    if kind == "grpc":
        run = rpc(tally, int(port), target, int(connections), token)
    elif kind == "raw":
        run = raw(tally, int(port), target, int(connections), token)
    else:
        run = rest(tally, int(port), target, int(connections), token, v2=kind == "v2")
    print(json.dumps(uvloop.run(run)))


if __name__ == "__main__":
    main()
