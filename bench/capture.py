"""The model server with capture at 0, 10 and 100 %, on the same model and a real store.

    python -m bench.capture                                      # 4 minutes
    python -m bench.capture --rounds 2 --seconds 1               # shorter
    python -m bench.capture --checkout OTHER                     # also the server of another checkout, such as one without capture

One server for each share is up, and all but the measured one are stopped meanwhile. Every answer is compared with the model's own. The
store is the embedded one on the same machine, so its own work counts too; a store elsewhere costs less. A run whose server
dropped a photo is void: it would not have done the work.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.bench_models import KINDS
from bench.processor import machine
from bench.rounds import Contender, Threshold, judge, measure, spread
from bench.serving import CAPTURES, OTHER, ServingBench, make_model
from bench.stack import ROOT, free_port, get, is_up
from orchard.processes import ChildProcess
from orchard.reporter import Reporter
from orchard.store.embedded import EmbeddedStore
from serving.models_config import ModelConfig, render

CONNECTIONS = (1, 32)
TENTH = Threshold("requests/s at 32 connections with capture at 10 %, of that without", 0.98)
ALL = Threshold("requests/s at 32 connections with capture at 100 %, of that without", 0.95)
_PAGE = "/monitoring/prometheus/metrics"


def start_captures(bench: ServingBench, stack: ExitStack, checkout: Path | None) -> None:
    """Start a server for each share, and one of the other checkout."""
    store = stack.enter_context(EmbeddedStore(bench.folder / "store"))
    store.create_bucket("capture")
    environment = {**os.environ, **store.environment, "ORCHARD_STORE_URL": "s3://capture"}
    base, config = bench.folder / "served", bench.folder / "models.config"
    base.mkdir()
    (base / "1").symlink_to(bench.model)
    config.write_text(render([ModelConfig("m", str(base), labels={"stable": 1})]))
    servers = {name: (ROOT, ["--capture", share]) for name, share in CAPTURES.items()}
    if checkout is not None:
        servers[OTHER] = checkout.resolve(), []
    for name, (root, options) in servers.items():
        port = bench.ports[name] = free_port()
        command = [
            sys.executable,
            "-m",
            "orchard",
            "serve",
            "--port",
            str(port),
            "--models-config",
            str(config),
            *options,
        ]
        log = bench.folder / f"{port}.log"
        child = ChildProcess(command, environment={**environment, "PYTHONPATH": str(root)}, log=log, cwd=root)
        page = f"http://127.0.0.1:{port}/readyz"
        bench.start(stack, (name,), child, lambda page=page: is_up(page), f"{name} is ready")  # type: ignore[misc]


def check_nothing_dropped(bench: ServingBench, name: str) -> None:
    """End the run if a server has dropped photos."""
    bench.children[name].signal(signal.SIGCONT)
    page = get(f"http://127.0.0.1:{bench.ports[name]}{_PAGE}")[1].decode()
    if dropped := [line for line in page.splitlines() if line.startswith("orchard_serving_capture_dropped_total{")]:
        raise SystemExit(f"{name} dropped photos, the run is void: {dropped}")


def conclude(bench: ServingBench, names: list[str]) -> bool:
    """Print latencies and ratios, and judge both thresholds; returns whether they were reached."""
    without = next(iter(CAPTURES))
    for name in names:
        for connections in CONNECTIONS:
            reports = bench.reports[name, connections]
            figures = "  ".join(f"{each} {spread([report[each] for report in reports])}" for each in ("p50", "p99"))
            print(f"{name:16} {connections:3}  {figures} ms")

    def ratios(name: str) -> list[float]:
        pairs = zip(bench.reports[name, 32], bench.reports[without, 32], strict=True)
        return [mine["rate"] / base["rate"] for mine, base in pairs]

    _, tenth, every = CAPTURES
    return all([judge(TENTH, ratios(tenth)), judge(ALL, ratios(every))])


def main() -> int:
    """Run the benchmark; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", choices=KINDS, default="cnn", help="small network, MobileNetV2 at 100 pixels, or at 224"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, after one second of warm-up")
    parser.add_argument("--checkout", type=Path, help="another checkout, whose server is measured too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers and the store are stopped
    print(machine())
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        bench = make_model(options.model, Path(scratch), options.seconds)
        start_captures(bench, stack, options.checkout)
        names = [name for name in (*CAPTURES, OTHER) if name in bench.children]
        contenders = [
            Contender(f"{name} c={number}", lambda n=name, c=number: bench.load(n, c))  # type: ignore[misc]
            for number in CONNECTIONS
            for name in names
        ]
        table = measure(contenders, options.rounds, Reporter(), unit="requests/s", higher_is_better=True)
        for name in CAPTURES:
            check_nothing_dropped(bench, name)
        print(f"\n{options.model}")
        print(table.text(f"{next(iter(CAPTURES))} c=32"))
        return 0 if conclude(bench, names) else 1


if __name__ == "__main__":
    sys.exit(main())
