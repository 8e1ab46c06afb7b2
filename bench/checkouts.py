"""Two checkouts of this repository side by side: is a change as fast as what it replaces?

    python -m bench.checkouts ../before                       # this checkout against another; about 8 minutes
    python -m bench.checkouts ../before --only serving start --rounds 7

Each checkout's programs run in its own environment (`make setup` in it first), in the same rounds, on the same model, photos
and store. A ratio of 1 is equal, more is faster than the other checkout.

serving: requests a second over 32 connections, and the median of one connection.
start: from `orchard serve` to its first answer.
sync: `orchard sync --once` for one version, from an empty folder to checked files.
train: `orchard train` for two epochs on synthetic photos, with the start of the program.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import yaml

from bench.processor import machine
from bench.rounds import Contender, Table, Threshold, judge, measure
from bench.serving import make_model
from bench.stack import MODEL, ROOT, ServingStack, await_true, free_port, is_up, run
from bench.upkeep import is_answered
from orchard.processes import ChildProcess
from orchard.reporter import Reporter
from serving.models_config import ModelConfig, render

PARTS = ("serving", "start", "sync", "train")
OTHER, THIS = "other", "this"


def command(checkout: Path, *arguments: str) -> list[str]:
    """The `orchard` command of a checkout."""
    return [str(checkout / ".venv/bin/python"), "-P", "-m", "orchard", *arguments]  # -P: not this folder's code


def environment(checkout: Path, **more: str) -> dict[str, str]:
    """The environment of a checkout's programs, in which its own code comes first."""
    return {**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3", **more}


def seconds_of(checkout: Path, folder: Path, *arguments: str, **more: str) -> float:
    """Run a verb of a checkout; returns how long it took. A failure ends the benchmark."""
    begin = time.perf_counter()
    done = subprocess.run(
        command(checkout, *arguments), cwd=folder, env=environment(checkout, **more), capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} of {checkout} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return time.perf_counter() - begin


def serve(checkout: Path, config: Path, log: Path) -> tuple[ChildProcess, int]:
    """Start a checkout's server; returns it and its port."""
    port = free_port()
    arguments = ("serve", "--port", str(port), "--models-config", str(config))
    return ChildProcess(command(checkout, *arguments), environment=environment(checkout), log=log), port


def measure_serving(scratch: Path, checkouts: dict[str, Path], config: Path, rounds: int) -> list[Table]:
    """Both servers are up; the one that is not measured is stopped."""
    with ExitStack() as stack:
        servers = {}
        for name, checkout in checkouts.items():
            child, port = serve(checkout, config, scratch / f"{name}.log")
            stack.enter_context(child)
            await_true(
                lambda port=port: is_up(f"http://127.0.0.1:{port}/readyz"), child, f"the server of {name} is ready"
            )
            child.signal(signal.SIGSTOP)
            stack.callback(child.signal, signal.SIGCONT)  # a stopped process cannot end
            servers[name] = child, port

        def load(name: str, connections: int, figure: str) -> float:
            child, port = servers[name]
            child.signal(signal.SIGCONT)
            path = f"/v1/models/{MODEL}:predict"
            report = json.loads(
                run("bench.load_client", "rest", str(port), path, str(scratch / "photos.json"), str(connections), "4")
            )
            child.signal(signal.SIGSTOP)
            if report["wrong"]:
                raise SystemExit(f"{name} gave {report['wrong']} wrong answers: the run is void")
            return float(report[figure])

        many = [Contender(name, lambda name=name: load(name, 32, "rate")) for name in servers]
        one = [Contender(name, lambda name=name: load(name, 1, "p50")) for name in servers]
        return [
            measure(many, rounds, Reporter.silent(), unit="requests/s, 32 connections", higher_is_better=True),
            measure(one, rounds, Reporter.silent(), unit="ms, p50 of 1 connection"),
        ]


def measure_start(scratch: Path, checkouts: dict[str, Path], config: Path, rounds: int) -> Table:
    """From nothing to the first answer."""
    photo = json.loads((scratch / "photos.json").read_text())[0]["b64"]
    body = json.dumps({"instances": [{"b64": photo}]}).encode()

    def start(checkout: Path) -> float:
        begin = time.perf_counter()
        child, port = serve(checkout, config, scratch / "start.log")
        with child:
            await_true(lambda: is_answered(port, body), child, "it answers", pause_s=0.005)
            return time.perf_counter() - begin

    contenders = [Contender(name, lambda checkout=checkout: start(checkout)) for name, checkout in checkouts.items()]
    return measure(contenders, rounds, Reporter.silent(), unit="s, start to first answer")


def measure_sync(scratch: Path, checkouts: dict[str, Path], model: Path, rounds: int) -> Table:
    """One version from the store to the disk."""
    with ExitStack() as stack:
        source = ServingStack.open(scratch / "sync", stack)
        source.promote(source.publish(model))
        target = scratch / "served-by-sync"

        def once(checkout: Path) -> float:
            shutil.rmtree(target, ignore_errors=True)
            settings = {name: value for name, value in source.environment.items() if name.startswith("ORCHARD_")}
            settings |= {"ORCHARD_SERVING_DIR": str(target)}
            return seconds_of(checkout, scratch, "sync", "--once", "--no-engine", **settings)

        contenders = [Contender(name, lambda checkout=checkout: once(checkout)) for name, checkout in checkouts.items()]
        return measure(contenders, rounds, Reporter.silent(), unit="s, sync --once")


def measure_train(scratch: Path, checkouts: dict[str, Path], rounds: int) -> Table:
    """Two epochs; each checkout reads its own params.yaml."""
    folders = {name: scratch / f"train-{name}" for name in checkouts}
    for name, folder in folders.items():
        folder.mkdir()
        params = yaml.safe_load((checkouts[name] / "params.yaml").read_text())
        params["data"]["name"] = "synthetic"
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("*.parquet", ".staging*"))
    photos = scratch / "synthetic"
    seconds_of(ROOT, scratch, "synthetic", str(photos), "--classes", "8", "--photos", "4000")
    for folder in folders.values():  # the folder `synthetic` names the source in data/schema.yaml
        seconds_of(ROOT, folder, "ingest", str(photos), "--dataset", "synthetic", "--no-push")

    def train(name: str) -> float:
        shutil.rmtree(folders[name] / "artifacts", ignore_errors=True)
        return seconds_of(checkouts[name], folders[name], "train", "--set", "train.epochs=2")

    contenders = [Contender(name, lambda name=name: train(name)) for name in checkouts]
    return measure(contenders, rounds, Reporter.silent(), unit="s, 2 epochs")


def main() -> int:
    """Run the benchmark; returns 1 if this checkout is slower than 0.98 of the other in the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    checkouts = {OTHER: given.other.resolve(), THIS: ROOT}
    print(machine())
    with tempfile.TemporaryDirectory(prefix="orchard-checkouts-") as folder:
        scratch = Path(folder)
        model = make_model("cnn", scratch, 1).model
        (scratch / "served").mkdir()
        (scratch / "served" / "1").symlink_to(model)
        config = scratch / "models.config"
        config.write_text(render([ModelConfig(MODEL, str(scratch / "served"))]))
        tables: list[Table] = []
        if "serving" in given.only:
            tables += measure_serving(scratch, checkouts, config, given.rounds)
        if "start" in given.only:
            tables.append(measure_start(scratch, checkouts, config, given.rounds))
        if "sync" in given.only:
            tables.append(measure_sync(scratch, checkouts, model, given.rounds))
        if "train" in given.only:
            tables.append(measure_train(scratch, checkouts, given.rounds))
    held = True
    for table in tables:
        print(f"\n{table.text(OTHER)}")
        held &= judge(Threshold(f"{table.unit}: times the other checkout", 0.98), table.ratios(THIS, OTHER))
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
