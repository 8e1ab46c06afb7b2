"""The cost of serving: start, idle, reloads, and a poll of a large registry.

    python -m bench.upkeep                       # about 8 minutes, of which 500 reloads take 4
    python -m bench.upkeep --only start idle     # some of the parts
    python -m bench.upkeep --only reloads --reloads 200

start: from `orchard serve` to its first answer, against importing TensorFlow, loading the same SavedModel and one call.
idle: cores of server and sync without requests, while sync polls the store.
reloads: versions loaded and unloaded one after the other; the server's resident memory.
poll: one read of the channels of a registry with 10 versions and of one with 10,000, requests and time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.bench_models import KINDS
from bench.processor import machine
from bench.rounds import Contender, Threshold, judge, measure
from bench.stack import (
    MODEL,
    ServingStack,
    await_true,
    facts_of,
    get,
    is_up,
    make_bucket,
    run,
    run_python,
    start_server,
)
from orchard import layout
from orchard.files import atomic_write
from orchard.registry.channels import ChangeIntent
from orchard.registry.registry import Registry
from orchard.reporter import Reporter
from orchard.signing import create_pair, load_key
from orchard.store import ObjectStore
from orchard.store.embedded import EmbeddedStore
from serving.models_config import ModelConfig, Specific, render
from serving.sync.channel_watcher import ChannelWatcher, TrustedKeysFile

START = Threshold("start to first answer, against TensorFlow's import, load and first call", 1.2, maximum=True)
IDLE = Threshold("idle, cores", 0.02, maximum=True)
MEMORY = Threshold("resident memory after all reloads, of that after the first 50", 1.05, maximum=True)
REQUESTS = Threshold("requests of one poll, 10,000 versions against 10", 1, maximum=True)
POLL = Threshold("seconds of one poll, 10,000 versions against 10", 1.1, maximum=True)
IDLE_S, SETTLE_S = 20.0, 5.0
FIRST, MANY, FEW, LOOKS = 50, 10_000, 10, 100
BASELINE = """
import sys, json, base64
import tensorflow as tf
photo = base64.b64decode(json.load(open(sys.argv[2]))["photos"][0]["b64"])
call = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
call(image_bytes=tf.constant([photo]))
"""
_TICKS = os.sysconf("SC_CLK_TCK")


def cores(pid: int, seconds: float) -> float:
    """Cores that a process uses, the mean over some seconds."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    begin, before = time.monotonic(), used()
    time.sleep(seconds)
    return (used() - before) / (time.monotonic() - begin)


def resident(pid: int) -> float:
    """Resident memory of a process, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def write_config(config: Path, base: Path, version: int) -> None:
    """Write a models.config that serves one version."""
    atomic_write(config, render([ModelConfig(MODEL, str(base), Specific((version,)))]))


def make_version_folders(scratch: Path, model: Path, versions: Iterable[int]) -> tuple[Path, Path]:
    """Make version folders; returns the model's folder and models.config."""
    base = scratch / "served"
    base.mkdir()
    for version in versions:
        (base / str(version)).symlink_to(model)
    config = scratch / "models.config"
    write_config(config, base, 1)
    return base, config


def measure_start(scratch: Path, model: Path, rounds: int) -> bool:
    """Measure the time from the start to the first answer."""
    golden = model / "assets.extra" / "golden.json"
    body = json.dumps({"instances": [{"b64": json.loads(golden.read_text())["photos"][0]["b64"]}]}).encode()
    _, config = make_version_folders(scratch, model, [1])

    def start_orchard() -> float:
        begin = time.perf_counter()
        child, port = start_server(config, scratch / "start.log")
        with child:
            await_true(lambda: is_answered(port, body), child, "it answers", pause_s=0.005)
            return time.perf_counter() - begin

    def start_tensorflow() -> None:
        run_python("-c", BASELINE, str(model), str(golden), environment={})

    table = measure(
        [Contender("tensorflow", start_tensorflow), Contender("orchard serve", start_orchard)],
        rounds,
        Reporter.silent(),
    )
    print(f"\nstart\n{table.text('tensorflow')}")
    pairs = zip(table.figures["orchard serve"], table.figures["tensorflow"], strict=True)
    return judge(START, [mine / other for mine, other in pairs])


def is_answered(port: int, body: bytes) -> bool:
    """Whether the server answers a prediction with the status 200."""
    return is_up(f"http://127.0.0.1:{port}/v1/models/{MODEL}:predict", body)


def measure_idle(scratch: Path, model: Path, rounds: int) -> bool:
    """Measure server and sync with a model, without requests."""
    with ExitStack() as stack:
        serving = ServingStack.open(scratch / "stack", stack)
        version = serving.publish(model)
        serving.promote(version)
        serving.await_served(version)
        time.sleep(SETTLE_S)
        server, sync = serving.server.pid, serving.sync.pid
        with ThreadPoolExecutor(2) as pool:
            rows = [list(pool.map(lambda pid: cores(pid, IDLE_S), (server, sync))) for _ in range(rounds)]
    print("\nidle")
    reached = [
        judge(Threshold(f"{name}, {IDLE.what}", IDLE.value, maximum=True), [row[column] for row in rows])
        for column, name in enumerate(("server", "sync"))
    ]
    return all(reached)


def measure_reloads(scratch: Path, model: Path, reloads: int) -> bool:
    """Load a version, switch to it, unload the previous one, many times; measure the server's memory."""
    base, config = make_version_folders(scratch, model, range(1, reloads + 2))
    child, port = start_server(config, scratch / "reload.log")
    sizes: dict[int, float] = {}
    with child:
        url = f"http://127.0.0.1:{port}"
        await_true(lambda: is_up(f"{url}/readyz"), child, "it is ready")
        for reload in range(1, reloads + 1):
            write_config(config, base, reload + 1)
            await_true(lambda: only_available(url, reload + 1), child, f"reload {reload}", pause_s=0.02)  # noqa: B023
            if reload % FIRST == 0:
                sizes[reload] = resident(child.pid)
    print("\nreloads, resident MiB: " + ", ".join(f"{reload}: {size:.0f}" for reload, size in sizes.items()))
    return judge(MEMORY, [sizes[max(sizes)] / sizes[FIRST]])


def only_available(url: str, version: int) -> bool:
    """Whether a version is available and no other is."""
    status, body = get(f"{url}/v1/models/{MODEL}")
    if status != 200:
        return False
    states = {int(row["version"]): row["state"] for row in json.loads(body)["model_version_status"]}
    return states.get(version) == "AVAILABLE" and not any(
        state in ("AVAILABLE", "UNLOADING", "LOADING") for number, state in states.items() if number != version
    )


def fill_registry(store: ObjectStore, model: Path, folder: Path, versions: int) -> ChannelWatcher:
    """Publish one version and copy its manifest to all other numbers; returns a watcher of the registry."""
    pair = create_pair(folder)
    key = load_key(pair.private)
    registry = Registry(store, MODEL, key.trusted, key)
    first = registry.publish(model, facts_of(model)).version
    body = store.get(layout.manifest(MODEL, first)).body
    numbers = range(first + 1, versions + 1)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda number: store.put(layout.manifest(MODEL, number), body), numbers):
            pass
    registry.channel("stable").promote(first, ChangeIntent("bench@here", "the first"))
    return ChannelWatcher(store, MODEL, TrustedKeysFile(pair.public), {}, poll_s=0.2)


def measure_poll(scratch: Path, model: Path, rounds: int) -> bool:
    """Measure one read of the channels of a large registry and of a small one."""
    with EmbeddedStore(scratch / "polled") as embedded:
        followers = {
            count: fill_registry(make_bucket(embedded)[1], model, scratch / f"keys{count}", count)
            for count in (FEW, MANY)
        }
        requests = {}
        for count, follower in followers.items():
            follower.read_channels()
            before = follower.requests
            follower.read_channels()
            requests[count] = follower.requests - before

        def look(follower: ChannelWatcher) -> float:
            times = []
            for _ in range(LOOKS):
                begin = time.perf_counter()
                follower.read_channels()
                times.append(time.perf_counter() - begin)
            return statistics.median(times) * 1e3

        table = measure(
            [Contender(f"{count} versions", lambda count=count: look(followers[count])) for count in followers],  # type: ignore[misc]
            rounds,
            Reporter.silent(),
            unit="ms a poll",
        )
    print(f"\npoll, {requests[FEW]} conditional requests, one for each channel\n{table.text(f'{FEW} versions')}")
    pairs = zip(table.figures[f"{MANY} versions"], table.figures[f"{FEW} versions"], strict=True)
    reached = [judge(REQUESTS, [requests[MANY] / requests[FEW]]), judge(POLL, [many / few for many, few in pairs])]
    return all(reached)


def main() -> int:
    """Run the parts; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("start", "idle", "reloads", "poll")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="the parts to run")
    parser.add_argument(
        "--model", choices=KINDS, default="cnn", help="small network, MobileNetV2 at 100 pixels, or at 224"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of start, idle (20 s each) and poll")
    parser.add_argument("--reloads", type=int, default=500, help="a multiple of 50, at least 100")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model"
        run("bench.bench_models", options.model, str(model))
        runs: dict[str, Callable[[Path], bool]] = {
            "start": lambda folder: measure_start(folder, model, options.rounds),
            "idle": lambda folder: measure_idle(folder, model, options.rounds),
            "reloads": lambda folder: measure_reloads(folder, model, options.reloads),
            "poll": lambda folder: measure_poll(folder, model, options.rounds),
        }
        reached = []
        for part in options.only:
            folder = Path(name) / part
            folder.mkdir()
            reached.append(runs[part](folder))
    return 0 if all(reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
