"""The order of the demo: each step is a verb, run as a child process in the demo's workspace."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

import click

from orchard.processes import ChildProcess
from orchard.reporter import Reporter
from orchard.running_store import environment_of
from orchard.signing import create_pair
from orchard.store.embedded import EmbeddedStore
from orchestration.local.commands import CommandRunner, display_path, exit_on_signals
from orchestration.local.demo_messages import describe_refusal, evaluation_summary, next_commands
from orchestration.local.demo_workspace import prepare
from orchestration.local.front_programs import await_listening, preferred_port, start_console_and_router
from orchestration.local.photo_steps import ingest, photo_paths, predict_unseen, step_environment
from orchestration.local.release_steps import GateOutcome, release_candidate
from orchestration.local.sample_data import SampleData, find

__all__ = ["run"]


def run(reporter: Reporter, *, data: str | None, params: Path | None, keep: bool, folder: Path) -> None:
    """Run the loop; see `orchestration.cli.demo.demo`.

    Args:
        reporter: prints the result.
        data: the photos, as the user named them.
        params: a file with parameters that replace the demo's; None: the demo's.
        keep: serve until interrupted.
        folder: the absolute path of the workspaces, one for each kind of photos.
    """
    source = find(data)
    workspace = folder / source.name
    changed = prepare(workspace, source, params)
    click.echo(f"Orchard's loop on {source.title}, in {display_path(workspace)}", err=True)
    click.echo("".join(f"with your changes in {display_path(path)}\n" for path in changed), err=True)
    with ExitStack() as stack:
        stack.enter_context(exit_on_signals())
        begin = time.monotonic()
        store = stack.enter_context(EmbeddedStore(workspace / "store"))
        create_pair(store.directory / "keys")
        command = _repeat(data, params, keep=keep)
        runner = CommandRunner(workspace, _environment(store, workspace, source), workspace / "logs", command)
        runner.report("store", f"S3 at {store.environment['ORCHARD_STORE_ENDPOINT']}", time.monotonic() - begin)
        outcome, predictions = _loop(runner, stack, source)
        seconds = time.monotonic() - runner.started
        server = runner.environment["ORCHARD_SERVER_URL"]
        document = {"predictions": predictions, "gate": asdict(outcome), "seconds": round(seconds, 1)}
        page = _keep_serving(runner, stack) if keep else None
        text = next_commands(workspace=display_path(workspace), server=server, page=page, seconds=seconds)
        verdict = [] if not outcome.refused else describe_refusal(outcome, command)
        reporter.result({**document, "workspace": str(workspace), "page": page}, "\n".join([*verdict, text]))
        if keep:
            _serve_until_interrupted(store)


def _repeat(data: str | None, params: Path | None, *, keep: bool) -> str:
    """Return the command that repeats this run."""
    options = {"DATA": data, "PARAMS": params, "KEEP": 1 if keep else None}
    return " ".join(["make demo", *(f"{name}={quote(str(value))}" for name, value in options.items() if value)])


def _loop(runner: CommandRunner, stack: ExitStack, source: SampleData) -> tuple[GateOutcome, list[dict[str, Any]]]:
    ingest(runner, source, photo_paths(runner, source))
    with runner.timed("dvc repro") as results:
        runner.command("dvc repro", [sys.executable, "-m", "dvc", "repro"])
        results.append(evaluation_summary(runner.folder))
    port = preferred_port(8501)  # not before: another program may take it while the model is trained
    runner.environment = {**runner.environment, "ORCHARD_SERVER_URL": f"http://127.0.0.1:{port}"}
    server = stack.enter_context(
        _start_verb(runner, "serve", "--port", str(port))
    )  # it imports TensorFlow while the gate runs
    outcome = release_candidate(runner)
    await_listening(server, port, "the model server")
    runner.verb("sync", "--once")
    return outcome, list(predict_unseen(runner, source.name))


def _environment(store: EmbeddedStore, workspace: Path, source: SampleData) -> dict[str, str]:
    return {
        **step_environment(source.name),
        **environment_of(store.directory),
        "ORCHARD_SERVING_DIR": str(workspace / "serving"),
    }


def _start_verb(runner: CommandRunner, name: str, *options: str) -> ChildProcess:
    command = [sys.executable, "-m", "orchard", name, *options]
    return ChildProcess(command, environment=runner.environment, log=runner.logs / f"{name}.log", cwd=runner.folder)


def _keep_serving(runner: CommandRunner, stack: ExitStack) -> str:
    """Start sync, the console and the router; return the page's address."""
    sync_port = preferred_port(8502)
    stack.enter_context(_start_verb(runner, "sync", "--port", str(sync_port)))
    return start_console_and_router(stack, runner.environment, sync_port, folder=runner.folder, logs=runner.logs)


def _serve_until_interrupted(store: EmbeddedStore) -> None:
    click.echo("\nServing until Ctrl-C.", err=True)
    while True:
        store.check()
        time.sleep(1)
