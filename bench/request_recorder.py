"""Requests one after the other on some connections, each of them kept: when, how long, what came.

    python -m bench.request_recorder PORT PATH PHOTOS CONNECTIONS SECONDS [TOKEN]

Prints a line when it begins and, at the end, a JSON list of [sent, seconds, photo, status, label, probability]; `sent` is
of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.load_client import LoadConnection, converse, lay_out, read_rest, rest_body
from bench.tally import Tally


class RequestRecord(Tally):
    """Keeps every request."""

    def __init__(self, photos: list[dict[str, Any]], seconds: float) -> None:
        super().__init__(photos, seconds)
        self.end = time.perf_counter() + seconds
        self.rows: list[tuple[float, float, int, Any]] = []

    def add(self, index: int, sent: float, answer: Any) -> bool:
        """Keep one answer; returns whether there is time for another."""
        now = time.perf_counter()
        self.rows.append((sent, now - sent, index, answer))
        return now < self.end

    def listed(self) -> list[list[Any]]:
        """All rows, their answers read."""
        found = []
        for sent, seconds, index, answer in self.rows:
            label, probability = read_rest(answer)
            kept = probability if math.isfinite(probability) else -1.0
            found.append([sent, seconds, index, int(answer[0][9:12]), label, kept])
        return found


def main() -> None:
    """Ask, then print what came."""
    port, path, photos, connections, seconds, *token = sys.argv[1:]
    listed = json.loads(Path(photos).read_text())
    requests = [
        lay_out(path, json.dumps(rest_body(photo["b64"])).encode(), token[0] if token else "") for photo in listed
    ]
    record = RequestRecord(listed, float(seconds))
    print("begun", flush=True)
    uvloop.run(converse(lambda first, done: LoadConnection(record, requests, first, done), int(port), int(connections)))
    print(json.dumps(record.listed()))


if __name__ == "__main__":
    main()
