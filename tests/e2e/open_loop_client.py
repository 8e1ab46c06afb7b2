"""An open-loop client, run in a pod beside the model server: it sends at a fixed rate, whatever the answers.

    python open_loop_client.py HOST PORT PATH PHOTOS RATE SECONDS

PHOTOS is a JSON list of base64 texts. Runs until SIGTERM, and no longer than SECONDS. Every second request opens its own
connection, the others share kept ones; nothing is sent twice. Prints `begun` and, at the end, a JSON list of
[sent, seconds, photo, kept, status, label, probability], one for every request, `sent` in seconds since the Epoch;
status 0: no answer, and the label is the reason. It needs only the standard library.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

PATIENCE_S = 15.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class OpenLoopClient:
    """Sends requests and records the answer to each."""

    def __init__(self, host: str, port: int, path: str, photos: list[str]) -> None:
        self.host, self.port = host, port
        self.requests = [self.encode_request(path, json.dumps({"instances": [{"b64": photo}]})) for photo in photos]
        self.idle: list[Connection] = []
        self.rows: list[tuple[float, float, int, bool, int, str, float]] = []

    def encode_request(self, path: str, body: str) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    async def send(self, number: int) -> None:
        index, kept = number % len(self.requests), bool(number % 2)
        sent, begin = time.time(), time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, label, probability = await self.exchange(self.requests[index], kept)
        except (OSError, TimeoutError, ValueError, EOFError, KeyError) as error:
            status, label, probability = 0, repr(error), 0.0
        self.rows.append((sent, time.monotonic() - begin, index, kept, status, label, probability))

    async def exchange(self, request: bytes, kept: bool) -> tuple[int, str, float]:
        reader, writer = await self.connection(kept)
        try:
            writer.write(request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
            body = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if kept and "connection: close" not in head:
            self.idle.append((reader, writer))
        else:
            writer.close()
        status = int(head[9:12])
        if status != 200:
            return status, body[:200].decode("utf-8", "replace"), 0.0
        row = json.loads(body)["predictions"][0]
        return status, row["label"], row["probability"]

    async def connection(self, kept: bool) -> Connection:
        while kept and self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self.host, self.port)


async def run(client: OpenLoopClient, rate: float, seconds: float) -> None:
    stopped, begin, tasks = asyncio.Event(), time.monotonic(), set[asyncio.Task[None]]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print("begun", flush=True)
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        if stopped.is_set():
            break
        task = asyncio.create_task(client.send(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


def main() -> None:
    host, port, path, photos, rate, seconds = sys.argv[1:]
    client = OpenLoopClient(host, int(port), path, json.loads(Path(photos).read_text()))
    asyncio.run(run(client, float(rate), float(seconds)))
    print(json.dumps(client.rows), flush=True)


if __name__ == "__main__":
    main()
