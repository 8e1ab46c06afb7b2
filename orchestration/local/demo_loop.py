"""The order of the demo: each step is a verb, run as a child process in the demo's workspace."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from orchard.cli.output import Output
from orchard.errors import OrchardError
from orchard.processes import ChildProcess
from orchard.signing import create_pair
from orchard.store.embedded import EmbeddedStore, environment_of
from orchestration.local.commands import CommandRunner
from orchestration.local.demo_messages import ending, measured
from orchestration.local.demo_workspace import lay
from orchestration.local.sample_data import SampleData, find, unseen

__all__ = ["run"]

MODEL = "fruits"
SERVER_READY_SECONDS = 60.0


def run(out: Output, *, data: str | None, keep: bool, folder: Path) -> None:
    """Run the loop; see `orchestration.cli.demo.demo`.

    Args:
        out: where the result is printed.
        data: the photos, as the user named them.
        keep: stay up until interrupted.
        folder: the absolute path under which each kind of photos gets a workspace of its own.
    """
    source = find(data)
    workspace = folder / source.name
    lay(workspace, source)
    click.echo(f"Orchard's loop on {source.title}, in {_short(workspace)}\n", err=True)
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        begin = time.monotonic()
        store = stack.enter_context(EmbeddedStore(workspace / "store"))
        create_pair(store.directory / "keys")
        steps = CommandRunner(workspace, _environment(store, workspace, source), workspace / "logs")
        steps.tell("store", f"S3 at {store.environment['ORCHARD_STORE_ENDPOINT']}", time.monotonic() - begin)
        predictions = _loop(steps, stack, source)
        seconds = time.monotonic() - steps.started
        server = steps.environment["ORCHARD_SERVER_URL"]
        document = {"predictions": predictions, "seconds": round(seconds, 1), "workspace": str(workspace)}
        if keep:
            stack.enter_context(_program(steps, "sync"))
        out.result(document, ending(workspace=_short(workspace), server=server, keep=keep, seconds=seconds))
        if keep:
            _stay(store)


def _loop(steps: CommandRunner, stack: ExitStack, source: SampleData) -> list[dict[str, Any]]:
    paths = source.paths or (_drawn(steps),)
    steps.verb("ingest", *map(str, paths), *(("--classes", ",".join(source.classes)) if source.classes else ()))
    seconds = steps.command("dvc repro", [sys.executable, "-m", "dvc", "repro"])[1]
    steps.tell("dvc repro", measured(steps.folder), seconds)
    port = steps.environment["ORCHARD_SERVER_URL"].rpartition(":")[2]
    server = stack.enter_context(
        _program(steps, "serve", "--port", port)
    )  # it imports TensorFlow while the gate judges
    steps.verb("gate")
    steps.verb("publish")
    steps.verb("promote", "latest", "--why", "the demo's candidate passed the gate")
    _await_server(server, int(port))
    steps.verb("sync", "--once")
    return [_predicted(steps, truth, archive, body) for truth, archive, body in unseen(source, paths)]


def _drawn(steps: CommandRunner) -> Path:
    folder = steps.folder / "synthetic"  # the name that data/schema.yaml knows as turntable photos
    steps.verb("synthetic", str(folder))
    return folder


def _predicted(steps: CommandRunner, truth: str, archive: str, body: bytes) -> dict[str, Any]:
    """Ask the server about one photo, by the verb, and tell both what it is and what was answered."""
    path = steps.folder / "unseen" / f"{truth}-{archive}.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(body)
    output, seconds = steps.run("predict", str(path), "--json")
    answer: dict[str, Any] = json.loads(output)["predictions"][0]
    said = f"{answer['label']}, {100 * answer['probability']:.1f} %"
    steps.tell("predict", f"{said} (a photo of {truth} from {archive} that training never saw)", seconds)
    return {**answer, "truth": truth}


def _environment(store: EmbeddedStore, workspace: Path, source: SampleData) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ORCHARD_")}
    bin_folder = str(Path(sys.executable).parent)
    return {
        **clean,
        **environment_of(store.directory),
        "PATH": bin_folder + os.pathsep + clean.get("PATH", ""),
        "ORCHARD_DATASET": source.name,
        "ORCHARD_MODEL": MODEL,
        "ORCHARD_SERVING_DIR": str(workspace / "serving"),
        "ORCHARD_SERVER_URL": f"http://127.0.0.1:{_port(8501)}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _port(preferred: int) -> int:
    """The preferred port if it is free, else any that is."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OrchardError("no free port on 127.0.0.1", hint="something on this machine holds all of them")


def _program(steps: CommandRunner, name: str, *options: str) -> ChildProcess:
    command = [sys.executable, "-m", "orchard", name, *options]
    return ChildProcess(command, environment=steps.environment, log=steps.logs / f"{name}.log", cwd=steps.folder)


def _await_server(server: ChildProcess, port: int) -> None:
    deadline = time.monotonic() + SERVER_READY_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if not server.running() or time.monotonic() > deadline:
            raise OrchardError(f"the model server did not start:\n{server.tail()}", hint=f"its log: {server.log}")
        time.sleep(0.05)


def _stay(store: EmbeddedStore) -> None:
    click.echo("\nServing until Ctrl-C.", err=True)
    while True:
        store.check()
        time.sleep(1)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does, so that its children are stopped."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _short(path: Path) -> str:
    """The path as the user would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
