"""Orchard's server against the model itself and against other Python servers, on the same SavedModel.

    python -m bench.serving --model cnn --rounds 3              # about 5 minutes, and 1 the first time for the peers
    python -m bench.serving --model mobilenet --rounds 3
    python -m bench.serving --model backbone --rounds 3         # the network of the profile `transfer`
    python -m bench.serving --peers fastapi --rounds 5          # fewer peers
    python -m bench.serving --documented                        # peers with TensorFlow's own choice of threads

All servers are up at once, one process each. Every round loads each server over 1, 8 and 32 connections and runs the
model without a server. The other servers are stopped meanwhile, because some poll while they are idle. Orchard's server
has its token, limits, validation, metrics and access log on. The peers have none of these; they have the same frozen
export, one thread per operation and their best known settings. The client sends 200 different photos and compares every
answer with the model's own: one wrong answer voids the run. With --documented the peers start as in their documentation,
with TensorFlow's default number of threads per operation, and the same frozen export. The peers come from the package
index; their environments are kept for the next run.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.bench_models import KINDS, draw_photos
from bench.peers.environments import PACKAGES, default_folder, python_of
from bench.processor import machine
from bench.rounds import Contender, Threshold, judge, measure, spread
from bench.stack import ROOT, await_true, free_port, get, is_up, run, start_server
from orchard.processes import ChildProcess
from orchard.reporter import Reporter
from serving.models_config import ModelConfig, render

CONNECTIONS = (1, 8, 32)
LIMIT, ORCHARD, RAW, RPC, RPC_PEER = "model alone", "orchard", "orchard raw", "orchard grpc", "grpc.aio"
ROUTED = "router"
CAPTURES = {"capture at 0 %": "0", "capture at 10 %": "10", "capture at 100 %": "100"}
"""Servers that capture so many percent, see `bench.capture`."""
OTHER = "other checkout"
TOKEN = "benchmark-token-of-forty-characters-long"  # noqa: S105  it protects nothing
PATHS = {
    ORCHARD: ("rest", "/v1/models/m:predict"),
    RAW: ("raw", "/v1/models/m:predict"),
    **dict.fromkeys((ROUTED, *CAPTURES, OTHER), ("rest", "/v1/models/m:predict")),
    "fastapi": ("rest", "/predict"),
    "litserve": ("rest", "/predict"),
    "kserve": ("rest", "/v1/models/m:predict"),
    "mlserver": ("v2", "/v2/models/m/infer"),
    RPC: ("grpc", "m"),
    RPC_PEER: ("grpc", "m"),
}
OVERHEAD = Threshold("p50 over the model alone, 1 connection, ms", 0.3, maximum=True)
SHARE = Threshold("requests/s at 32 connections, of the model alone", 0.85)
TAIL = Threshold("p99 at 32 connections, of the best peer's", 0.5, maximum=True)
GRPC = Threshold("gRPC requests/s at 32 connections, times grpc.aio with threads", 2.2)
BEST = {
    "cnn": Threshold("requests/s at 32 connections, times the best peer's", 2.5),
    "mobilenet": Threshold("requests/s at 32 connections, times the best peer's", 1.6),
    "backbone": Threshold("requests/s at 32 connections, times the best peer's", 1),
}


@dataclass
class ServingBench:
    """The shared state of all runs.

    Attributes:
        folder: scratch.
        model: the SavedModel.
        seconds: of each measurement.
        ports: by server.
        children: by server; one process may be two servers (HTTP and gRPC).
        reports: of every measurement, by server and connections.
    """

    folder: Path
    model: Path
    seconds: float
    ports: dict[str, int] = field(default_factory=dict)
    children: dict[str, ChildProcess] = field(default_factory=dict)
    reports: dict[tuple[str, int], list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))

    def start(
        self, stack: ExitStack, names: Sequence[str], child: ChildProcess, until: Callable[[], bool], what: str
    ) -> None:
        """Wait until a server is up, then stop it until its measurement."""
        stack.enter_context(child)
        await_true(until, child, what)
        child.signal(signal.SIGSTOP)
        stack.callback(child.signal, signal.SIGCONT)  # a stopped process cannot exit
        self.children.update(dict.fromkeys(names, child))

    @property
    def photos(self) -> Path:
        """The photos and their answers."""
        return self.folder / "photos.json"

    def load(self, server: str, connections: int) -> float:
        """Load one server; returns its requests/s."""
        kind, path = PATHS[server]
        token = [TOKEN] if server in (ORCHARD, RAW, ROUTED, RPC) else []
        arguments = [kind, str(self.ports[server]), path, str(self.photos), str(connections), str(self.seconds), *token]
        self.children[server].signal(signal.SIGCONT)
        report = json.loads(run("bench.load_client", *arguments))
        self.children[server].signal(signal.SIGSTOP)
        if report["wrong"]:
            raise SystemExit(f"{server} gave {report['wrong']} wrong answers: the run is void")
        self.reports[server, connections].append(report)
        return float(report["rate"])

    def run_bare_model(self) -> float:
        """Run the model without a server; returns photos/s."""
        report = json.loads(run("bench.bare_model", str(self.model), str(self.photos), str(self.seconds)))
        self.reports[LIMIT, 1].append(report)
        return float(report["limit"])


def make_model(kind: str, folder: Path, seconds: float, side: int = 100) -> ServingBench:
    """Make the model, the photos (of so many pixels a side) and their answers."""
    bench = ServingBench(folder, folder / "model", seconds)
    run("bench.bench_models", kind, str(bench.model))
    photos = draw_photos(200, side)
    bench.photos.write_text(json.dumps([{"b64": base64.b64encode(photo).decode()} for photo in photos]))
    run("bench.bare_model", str(bench.model), str(bench.photos), "answers")
    return bench


def start_orchard(bench: ServingBench, stack: ExitStack) -> None:
    """Start Orchard's server with everything on."""
    base, tokens = bench.folder / "served", bench.folder / "tokens"
    base.mkdir()
    (base / "1").symlink_to(bench.model)
    tokens.write_text(TOKEN + "\n")
    config = bench.folder / "models.config"
    config.write_text(render([ModelConfig("m", str(base), labels={"stable": 1})]))
    bench.ports[RPC] = free_port()
    options = ("--grpc-port", str(bench.ports[RPC]), "--token-file", str(tokens))
    child, bench.ports[ORCHARD] = start_server(config, bench.folder / "orchard.log", *options)
    page = f"http://127.0.0.1:{bench.ports[ORCHARD]}/readyz"
    bench.ports[RAW] = bench.ports[ORCHARD]
    bench.start(stack, (ORCHARD, RAW, RPC), child, lambda: is_up(page), "Orchard's server is ready")


def start_peer(bench: ServingBench, stack: ExitStack, name: str, python: Path, threads: int) -> None:
    """Start a peer and wait until it answers any request."""
    port = bench.ports[name] = free_port()
    module = f"bench.peers.{name.split('.')[0]}_peer"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads))
    command = [str(python), "-m", module, str(bench.model), str(port)]
    child = ChildProcess(command, environment=environment, log=bench.folder / f"{name}.log")
    is_ready = (lambda: accepts(port)) if name == RPC_PEER else (lambda: get(f"http://127.0.0.1:{port}/")[0] != 0)
    bench.start(stack, (name,), child, is_ready, f"{name} answers")


def accepts(port: int) -> bool:
    """Whether a gRPC server accepts connections."""
    import grpc  # type: ignore[import-untyped]

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=1)
        except grpc.FutureTimeoutError:
            return False
    return True


def best_peer(bench: ServingBench, peers: Sequence[str], what: str) -> list[float]:
    """The best peer's figures at 32 connections, round by round."""
    rows = zip(*[bench.reports[peer, 32] for peer in peers], strict=True)
    choose: Callable[[list[float]], float] = max if what == "rate" else min
    return [choose([report[what] for report in row]) for row in rows]


def conclude(bench: ServingBench, kind: str, peers: Sequence[str]) -> bool:
    """Print latencies and judge every threshold; returns whether all were reached."""
    for (server, connections), reports in sorted(bench.reports.items()):
        names = [name for name in ("p50", "p99", "longest") if name in reports[0]]
        line = "  ".join(f"{name} {spread([report[name] for report in reports])}" for name in names)
        print(f"{server:14} {connections:3}  {line} ms")
    ours, alone = bench.reports[ORCHARD, 32], bench.reports[LIMIT, 1]
    over = [a["p50"] - b["p50"] for a, b in zip(bench.reports[ORCHARD, 1], alone, strict=True)]
    reached = [
        judge(OVERHEAD, over),
        judge(SHARE, [a["rate"] / b["limit"] for a, b in zip(ours, alone, strict=True)]),
    ]
    if peers:
        rates, tails = best_peer(bench, peers, "rate"), best_peer(bench, peers, "p99")
        reached.append(judge(BEST[kind], [a["rate"] / b for a, b in zip(ours, rates, strict=True)]))
        reached.append(judge(TAIL, [a["p99"] / b for a, b in zip(ours, tails, strict=True)]))
    pairs = zip(bench.reports[RPC, 32], bench.reports[RPC_PEER, 32], strict=True)
    reached.append(judge(GRPC, [a["rate"] / b["rate"] for a, b in pairs]))
    return all(reached)


def list_contenders(bench: ServingBench, peers: Sequence[str], connections: Sequence[int]) -> list[Contender]:
    """All measurements of a round."""
    pairs = [(server, number) for server in (ORCHARD, *peers) for number in connections]
    pairs += [(server, 32) for server in (RPC, RPC_PEER)]
    return [
        Contender(LIMIT, bench.run_bare_model),
        *[Contender(f"{server} c={number}", lambda s=server, n=number: bench.load(s, n)) for server, number in pairs],  # type: ignore[misc]
    ]


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", choices=KINDS, default="cnn", help="small network, MobileNetV2 at 100 pixels, or at 224"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, after one second of warm-up")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS, help="must include 1 and 32")
    parser.add_argument(
        "--peers", nargs="*", choices=sorted(PACKAGES), default=sorted(PACKAGES), help="none: grpc.aio only"
    )
    parser.add_argument("--documented", action="store_true", help="peers with TensorFlow's default threads")
    parser.add_argument("--peers-dir", type=Path, default=default_folder(), help="folder for their environments")
    return parser.parse_args()


def main() -> int:
    """Run the benchmark; returns 1 if a threshold was missed."""
    options = read_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that peers and their children are stopped
    print(machine())
    pythons = {name: python_of(name, options.peers_dir) for name in (*options.peers, RPC_PEER)}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        bench = make_model(options.model, Path(scratch), options.seconds)
        start_orchard(bench, stack)
        for name, python in pythons.items():
            start_peer(bench, stack, name, python, 0 if options.documented else 1)
        contenders = list_contenders(bench, options.peers, options.connections)
        table = measure(contenders, options.rounds, Reporter(), unit="requests/s", higher_is_better=True)
        print(f"\npeers {'as documented' if options.documented else 'tuned: one thread per operation'}")
        print(f"{options.model}: median {statistics.median(table.figures[LIMIT]):.0f} photos/s of the model alone")
        print(table.text(LIMIT))
        return 0 if conclude(bench, options.model, options.peers) else 1


if __name__ == "__main__":
    sys.exit(main())
