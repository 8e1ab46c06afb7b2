"""The model server alone against the same server behind the router.

    python -m bench.router                                       # 3 minutes
    python -m bench.router --rounds 3 --seconds 1 --open         # shorter, and a router without guards

Requests/s at 32 connections, and p50 at one. Both have their access log on; the server has its token, limits and metrics,
the router a token of its own, a rate for each client and each address, and its access log. With --open it has neither tokens
nor rates. Client, router and server share the machine, and the server runs with both. Its clients have no names: the router
gives each a cookie, which is the most work. Every answer is compared with the model's own.
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
from bench.serving import ORCHARD, ROUTED, TOKEN, ServingBench, make_model, start_orchard
from bench.stack import await_true, free_port, is_up
from orchard.processes import ChildProcess
from orchard.reporter import Reporter

CONNECTIONS = (1, 32)
RATE = Threshold("requests/s at 32 connections through the router, of the server's alone", 0.88)
WAIT = Threshold("p50 at 1 connection through the router, over the server's alone, ms", 0.4, maximum=True)


def start_router(bench: ServingBench, stack: ExitStack, *, guarded: bool) -> None:
    """Start the router in front of the server, which runs whenever the router is measured."""
    port = bench.ports[ROUTED] = free_port()
    server = f"http://127.0.0.1:{bench.ports[ORCHARD]}"
    command = [sys.executable, "-m", "orchard", "route", "--server", server, "--port", str(port)]
    command += ["--router-dir", str(bench.folder / "router")]
    if guarded:
        tokens = bench.folder / "router_tokens"
        tokens.write_text(f"{TOKEN}\n")
        command += ["--token-file", str(tokens), "--engine-token-file", str(tokens), "--client-rate", "1000000"]
    child = stack.enter_context(ChildProcess(command, log=bench.folder / "router.log"))
    bench.children[ROUTED] = bench.children[ORCHARD]
    bench.children[ORCHARD].signal(signal.SIGCONT)
    await_true(lambda: is_up(f"http://127.0.0.1:{port}/healthz"), child, "the router answers")
    bench.children[ORCHARD].signal(signal.SIGSTOP)


def conclude(bench: ServingBench) -> bool:
    """Print latencies, ratios and differences, and judge both thresholds; returns whether they were reached."""
    for (server, connections), reports in sorted(bench.reports.items()):
        line = "  ".join(f"{name} {spread([report[name] for report in reports])}" for name in ("rate", "p50", "p99"))
        print(f"{server:8} {connections:3}  {line}")

    def pairs(figure: str, connections: int) -> list[tuple[float, float]]:
        found = zip(bench.reports[ROUTED, connections], bench.reports[ORCHARD, connections], strict=True)
        return [(routed[figure], alone[figure]) for routed, alone in found]

    for figure, connections in (("p50", 1), ("p50", 32), ("p99", 32)):
        values = pairs(figure, connections)
        ratio, over = spread([a / b for a, b in values]), spread([a - b for a, b in values])
        print(f"{figure} at {connections}: through the router {ratio} times, {over} ms more")
    return all(
        [
            judge(RATE, [routed / alone for routed, alone in pairs("rate", 32)]),
            judge(WAIT, [routed - alone for routed, alone in pairs("p50", 1)]),
        ]
    )


def main() -> int:
    """Run the benchmark; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", choices=KINDS, default="cnn", help="small network, MobileNetV2 at 100 pixels, or at 224"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, after one second of warm-up")
    parser.add_argument("--open", action="store_true", help="a router without tokens and rates")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that server and router are stopped
    print(machine())
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        bench = make_model(options.model, Path(scratch), options.seconds)
        start_orchard(bench, stack)
        start_router(bench, stack, guarded=not options.open)
        contenders = [
            Contender(f"{server} c={number}", lambda s=server, n=number: bench.load(s, n))  # type: ignore[misc]
            for number in CONNECTIONS
            for server in (ORCHARD, ROUTED)
        ]
        table = measure(contenders, options.rounds, Reporter(), unit="requests/s", higher_is_better=True)
        print(
            f"\n{options.model}, the router {'without tokens and rates' if options.open else 'with tokens and rates'}"
        )
        print(table.text(f"{ORCHARD} c=32"))
        return 0 if conclude(bench) else 1


if __name__ == "__main__":
    sys.exit(main())
