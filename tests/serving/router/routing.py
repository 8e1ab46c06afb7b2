"""What the router's tests run: `orchard route` with the real Envoy, and a model server that only says its channel."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import HttpAnswer, Program, send_request

__all__ = ["GrpcUpstream", "KeptConnection", "Route", "Upstream", "call"]

PATH = "/v1/models/m:predict"
RPC = "/tensorflow.serving.PredictionService/Predict"
_RUN = (
    "import sys; from orchard.cli import main; from serving.cli.route import route; sys.exit(main(sys.argv[1:], route))"
)


class Route(Program):
    """`orchard route` on a free port, with one thread of Envoy, so that a new weight acts at one moment."""

    def __init__(self, upstream: int, folder: Path, *options: str) -> None:
        self.weights = folder / "router"
        given = ("--server", f"http://127.0.0.1:{upstream}", "--router-dir", str(self.weights))
        environment = {**ENVIRONMENT, "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir(exist_ok=True)
        options = ("--port", "0", "--threads", "1", *given, *options)
        super().__init__("route", *options, log=folder / "route.log", environment=environment)

    def command(self, verb: str) -> list[str]:
        return [sys.executable, "-c", _RUN]  # it works before `make setup` has registered the verb, too

    def channel(self, client: str, **headers: str) -> str:
        """The channel that a client's request goes to."""
        return self.predict({"x-client": client, **headers}).json["channel"]

    def predict(self, headers: dict[str, str], body: bytes | str = "{}") -> HttpAnswer:
        return send_request(self.port, "POST", PATH, body, headers)


class Upstream:
    """A model server of the tests: it answers with the channel and the size of a request's body.

    A request to a path with `slow` waits until `release` is called; with `holding` every request does.
    """

    holding = False

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.waiting = threading.Event()
        self._release = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait(20)

    def _run(self, started: threading.Event) -> None:
        async def main() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await asyncio.Event().wait()

        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(main())
        except RuntimeError:
            return  # stopped

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._release.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.seen.append({"": head[0], "sha256": hashlib.sha256(body).hexdigest(), **headers})
                if self.holding or "slow" in head[0]:
                    self.waiting.set()
                    await self._release.wait()
                answer = json.dumps({"channel": headers.get("x-orchard-channel", ""), "bytes": len(body)}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class GrpcUpstream(grpc.GenericRpcHandler):
    """A gRPC server of the tests: it answers a call with what it got, and keeps its method (""), metadata and `size`."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=(self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        details = {"": handler_call_details.method, **dict(handler_call_details.invocation_metadata)}

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.seen.append({**details, "size": str(len(request))})
            return request

        return grpc.unary_unary_rpc_method_handler(answer)

    def channels(self) -> list[tuple[str, int]]:
        """The channel and the size of each call."""
        return [(item["x-orchard-channel"], int(item["size"])) for item in self.seen]

    def stop(self) -> None:
        self._server.stop(None)


def call(channel: grpc.Channel, *metadata: tuple[str, str], body: bytes = b"", method: str = RPC) -> grpc.StatusCode:
    """The status of a call over gRPC."""
    try:
        channel.unary_unary(method)(body, timeout=30, metadata=metadata)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


class KeptConnection:
    """One connection for many small requests, written by hand: thousands take a second or two."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def get(self, path: str) -> int:
        """Send a request for a path as it is; returns the status."""
        return self._send([f"GET {path} HTTP/1.1", "host: x"])[0]

    def post(self, *headers: str, body: bytes = b"{}") -> tuple[int, bytes]:
        """Send a request with header lines; returns the status and the body."""
        return self._send([f"POST {PATH} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers], body)

    def _send(self, lines: list[str], body: bytes = b"") -> tuple[int, bytes]:
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return self._read_answer()

    def _read_answer(self) -> tuple[int, bytes]:
        status = int(self._file.readline().split()[1])
        size = 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b":")
            size = int(value) if name.lower() == b"content-length" else size
        return status, self._file.read(size)

    def post_many(self, number: int) -> list[int]:
        """Send small requests one behind the other before the first answer is read; returns the statuses."""
        request = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-client: anna\r\ncontent-length: 2\r\n\r\n{{}}".encode()
        self._socket.sendall(request * number)
        return [self._read_answer()[0] for _ in range(number)]

    def is_canary(self, client: str) -> bool:
        status, body = self.post(f"x-client: {client}")
        assert status == 200, body
        return b'"canary"' in body

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> KeptConnection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
