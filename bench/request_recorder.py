"""Closed-loop requests on some connections; records the time, duration and answer of every request.

    python -m bench.request_recorder PORT PATH PHOTOS CONNECTIONS SECONDS [TOKEN]

Prints a line at the start and, at the end, a JSON list of [sent, seconds, photo, status, label, probability]. `sent` is a
time of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.load_client import LoadConnection, http_request, read_rest, rest_body, run_connections
from bench.tally import Tally


class RequestRecord(Tally):
    """Records every request, without a warm-up."""

    def __init__(self, photos: list[dict[str, Any]], seconds: float) -> None:
        super().__init__(photos, seconds)
        self.end = time.perf_counter() + seconds
        self.rows: list[tuple[float, float, int, Any]] = []

    def add(self, index: int, sent: float, answer: Any) -> bool:
        """Add an answer; returns whether there is time for another request."""
        now = time.perf_counter()
        self.rows.append((sent, now - sent, index, answer))
        return now < self.end

    def result(self) -> list[list[Any]]:
        """All rows, with parsed answers."""
        result = []
        for sent, seconds, index, answer in self.rows:
            label, probability = read_rest(answer)
            finite = probability if math.isfinite(probability) else -1.0
            result.append([sent, seconds, index, int(answer[0][9:12]), label, finite])
        return result


def main() -> None:
    """Send the requests, then print the records."""
    port, path, photos, connections, seconds, *token = sys.argv[1:]
    items = json.loads(Path(photos).read_text())
    requests = [
        http_request(path, json.dumps(rest_body(photo["b64"])).encode(), token[0] if token else "") for photo in items
    ]
    record = RequestRecord(items, float(seconds))
    print("started", flush=True)
    uvloop.run(
        run_connections(lambda first, done: LoadConnection(record, requests, first, done), int(port), int(connections))
    )
    print(json.dumps(record.result()))


if __name__ == "__main__":
    main()
