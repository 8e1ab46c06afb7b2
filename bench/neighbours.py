"""What other clients wait while two clients send 11 MB of JSON each, one request after another.

    python -m bench.neighbours            # about 2 minutes
    python -m bench.neighbours --short    # half a minute

photos: the 99th percentile of predictions of one photo, against the same without the large clients, interleaved.
probes: the slowest `/readyz` beside the large clients.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.bench_models import KINDS
from bench.processor import machine
from bench.rounds import Contender, Table, Threshold, judge, measure
from bench.stack import MODEL, await_true, is_up, run, start_server
from bench.upkeep import make_version_folders
from orchard.reporter import Reporter

PHOTOS = Threshold("p99 of other clients beside two of 11 MB, of their p99 alone", 3, maximum=True)
PROBES = Threshold("slowest probe beside two clients of 11 MB, milliseconds", 100, maximum=True)
LARGE_CLIENT = """
import http.client, sys
body = open(sys.argv[2], "rb").read()
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
while True:
    connection.request("POST", sys.argv[3], body)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"status {answer.status}")
"""
PHOTOS_IN_BODY, SIDE = 20, 100
PATH = f"/v1/models/{MODEL}:predict"


def large_body() -> bytes:
    """Return photos as numbers, about 11 MB."""
    pick = random.Random(0)  # noqa: S311
    row = [[[round(pick.uniform(0, 255), 13) for _ in range(3)] for _ in range(SIDE)] for _ in range(SIDE)]
    return json.dumps({"signature_name": "pixels", "instances": [row] * PHOTOS_IN_BODY}).encode()


def milliseconds(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> float:
    """Send one request; returns how long it took."""
    begin = time.perf_counter()
    connection.request(method, path, body)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: status {answer.status}")
    return (time.perf_counter() - begin) * 1e3


def prepare(scratch: Path, model: str) -> tuple[Path, bytes]:
    """Write model, configuration and the large body; returns the configuration and the body of one photo."""
    run("bench.bench_models", model, str(scratch / "model"))
    golden = json.loads((scratch / "model/assets.extra/golden.json").read_text())
    (scratch / "large.json").write_bytes(large_body())
    _, config = make_version_folders(scratch, scratch / "model", [1])
    return config, json.dumps({"instances": [{"b64": golden["photos"][0]["b64"]}]}).encode()


def measure_waits(port: int, large: Path, body: bytes, rounds: int, seconds: float) -> tuple[Table, list[float]]:
    """Return the 99th percentiles alone and beside the large clients, and how long the probes beside them took."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    probes: list[float] = []

    def p99(*, beside: bool) -> float:
        waits = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            waits.append(milliseconds(connection, "POST", PATH, body))
            probe = milliseconds(connection, "GET", "/readyz", None)
            if beside:
                probes.append(probe)
        return statistics.quantiles(waits, n=100)[98]

    def loaded() -> float:
        clients = [
            subprocess.Popen([sys.executable, "-c", LARGE_CLIENT, str(port), str(large), PATH]) for _ in range(2)
        ]
        try:
            return p99(beside=True)
        finally:
            for client in clients:
                client.kill()
                client.wait()

    contenders = [Contender("alone", lambda: p99(beside=False)), Contender("beside", loaded)]
    return measure(contenders, rounds, Reporter.silent(), unit="ms"), probes


def main() -> int:
    """Run the rounds; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=KINDS, default="cnn", help="small network, or MobileNetV2")
    parser.add_argument("--short", action="store_true", help="two rounds of 3 s")
    options = parser.parse_args()
    rounds, seconds = (2, 3.0) if options.short else (5, 10.0)
    print(machine())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        scratch = Path(name)
        config, body = prepare(scratch, options.model)
        child, port = start_server(config, scratch / "serve.log")
        stack.enter_context(child)
        await_true(lambda: is_up(f"http://127.0.0.1:{port}/readyz"), child, "ready")
        table, probes = measure_waits(port, scratch / "large.json", body, rounds, seconds)
    print(f"\np99 of one photo\n{table.text('alone')}")
    reached = [
        judge(PHOTOS, [1 / ratio for ratio in table.ratios("beside", "alone")]),
        judge(PROBES, [max(probes)]),
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
