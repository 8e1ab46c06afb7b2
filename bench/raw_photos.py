"""A photo as it is against the same photo in base64 JSON, at the same server.

    python -m bench.raw_photos                                   # 2 minutes
    python -m bench.raw_photos --side 1600 --rounds 3            # larger photos

Requests/s at 32 connections, and p50 at one. The answers, which are compared with the model's own, differ too: TF Serving's
have the probabilities of all classes, a photo's have the class alone.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.bench_models import KINDS
from bench.processor import machine
from bench.rounds import Contender, Threshold, judge, measure, spread
from bench.serving import ORCHARD, RAW, ServingBench, make_model, start_orchard
from orchard.reporter import Reporter

CONNECTIONS = (1, 32)
RATE = Threshold("requests/s at 32 connections, a photo as it is, times base64 JSON's", 1)
WAIT = Threshold("p50 at 1 connection, a photo as it is, of base64 JSON's", 1, maximum=True)


def conclude(bench: ServingBench) -> bool:
    """Print latencies and judge both thresholds; returns whether they were reached."""
    for (server, connections), reports in sorted(bench.reports.items()):
        line = "  ".join(f"{name} {spread([report[name] for report in reports])}" for name in ("p50", "p99"))
        print(f"{server:12} {connections:3}  {line} ms")

    def ratios(figure: str, connections: int) -> list[float]:
        pairs = zip(bench.reports[RAW, connections], bench.reports[ORCHARD, connections], strict=True)
        return [raw[figure] / json[figure] for raw, json in pairs]

    return all([judge(RATE, ratios("rate", 32)), judge(WAIT, ratios("p50", 1))])


def main() -> int:
    """Run the benchmark; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", choices=KINDS, default="cnn", help="small network, MobileNetV2 at 100 pixels, or at 224"
    )
    parser.add_argument("--side", type=int, default=480, help="of the photos, in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, after one second of warm-up")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    print(machine())
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        bench = make_model(options.model, Path(scratch), options.seconds, options.side)
        start_orchard(bench, stack)
        contenders = [
            Contender(f"{server} c={number}", lambda s=server, n=number: bench.load(s, n))  # type: ignore[misc]
            for server in (ORCHARD, RAW)
            for number in CONNECTIONS
        ]
        table = measure(contenders, options.rounds, Reporter(), unit="requests/s", higher_is_better=True)
        size = bench.photos.stat().st_size * 3 // 4 // 200
        print(f"\n{options.model}, photos of {options.side} pixels a side, {size / 1000:.0f} kB each")
        print(table.text(f"{ORCHARD} c=32"))
        return 0 if conclude(bench) else 1


if __name__ == "__main__":
    sys.exit(main())
