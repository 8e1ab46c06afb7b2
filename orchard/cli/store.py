"""`orchard store`: run the embedded store, and check a store."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchard.access_rights import IDENTITIES, LOOP
from orchard.cli.verb import verb, verb_group
from orchard.reporter import Reporter
from orchard.running_store import DIRECTORY, PORT

if TYPE_CHECKING:
    from orchard.store.embedded import EmbeddedStore

_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DIRECTORY,
    show_default=True,
    help="The folder of the embedded store's data and keys.",
)


@verb_group("Operate")
def store() -> None:
    """Run an S3 store on this machine, and check a store."""


def _exports(environment: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())


@verb(
    extra="store",
    examples=(
        "orchard store run                        # until Ctrl-C\n"
        "orchard store run --port 9000 --dir /srv/store\n"
        "orchard store run -- make pytest         # as long as the command runs, in its environment"
    ),
)
@_directory
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True, help="The port of S3.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(reporter: Reporter, *, directory: Path, port: int, command: tuple[str, ...]) -> None:
    """Run an S3 store on this machine: SeaweedFS, on 127.0.0.1 only.

    With a COMMAND, the store runs as long as the command. The command gets ORCHARD_STORE_* and a pair of keys in its
    environment, and its exit code is returned. Without a COMMAND, the store runs until Ctrl-C or SIGTERM. Data and keys
    stay in the folder. This store is for one machine: for more, use a store with an operator.
    """
    import shutil

    from orchard.errors import OrchardError
    from orchard.running_store import environment_of
    from orchard.signing import create_pair
    from orchard.store.embedded import EmbeddedStore
    from orchard.store.foreground import run_command, wait_for_signal

    if command and shutil.which(command[0]) is None:
        raise OrchardError(f"{command[0]} cannot be run: there is no such program")
    create_pair(directory / "keys")
    with EmbeddedStore(directory, port=port) as embedded:
        environment = environment_of(directory)
        if command:
            click.get_current_context().exit(run_command(command, environment, embedded.check))
        with wait_for_signal(embedded.check):
            reporter.result(
                {"endpoint": embedded.endpoint, "pid": embedded.pid, "settings": environment}, _welcome(embedded)
            )
        reporter.note("stopping")


def _welcome(embedded: EmbeddedStore) -> str:
    option = "" if embedded.directory == DIRECTORY.resolve() else f" --dir {shlex.quote(str(embedded.directory))}"
    return (
        f"S3 at {embedded.endpoint}, data and keys in {embedded.directory}\n\n"
        f'In another shell:  eval "$(orchard store env{option})"\n'
        "Ctrl-C stops it."
    )


@verb(examples='eval "$(orchard store env)"\norchard store env --json')
@_directory
def env(reporter: Reporter, *, directory: Path) -> None:
    """Print the settings of the running embedded store as lines for a shell: `eval "$(orchard store env)"`."""
    from orchard.running_store import environment_of

    environment = environment_of(directory)
    reporter.result({"settings": environment}, _exports(environment))


@verb(examples="orchard store status\norchard store status --json")
def status(reporter: Reporter) -> None:
    """Check that the store of ORCHARD_STORE_* answers, and that its conditional writes work.

    Writes one small object, models/NAME/probes/00.json, as every publish does. Exit code 6 if the store cannot be used.
    """
    import time

    from orchard import layout, settings
    from orchard.errors import StoreDenied
    from orchard.store import open_store
    from orchard.store.conditional import get_or_none
    from orchard.store.probe import check_conditional_writes

    config = settings.load()
    opened = open_store(config)
    begin = time.perf_counter()
    get_or_none(opened, layout.probe(config.model))  # GET: its answer names a missing bucket
    answered = time.perf_counter()
    try:
        check_conditional_writes(opened, config.model)
        writes = "honoured"
    except StoreDenied:
        writes = "not allowed with these credentials"
    document = {
        "store": opened.name,
        "answered_ms": round((answered - begin) * 1000, 1),
        "proved_ms": round((time.perf_counter() - answered) * 1000, 1),
        "conditional_writes": writes,
    }
    reporter.result(
        document,
        f"{opened.name} answers ({document['answered_ms']} ms); conditional writes: {writes} ({document['proved_ms']} ms)",
    )


@verb(
    examples=(
        "orchard store check\n"
        "ORCHARD_STORE_CREDENTIALS_FILE=sync.key orchard store check --for sync\n"
        "orchard store check --json | jq '.checks[] | select(.outcome != \"ok\")'"
    )
)
@click.option(
    "--for",
    "identities",
    type=click.Choice(list(IDENTITIES)),
    multiple=True,
    help=f"Whose work the key is for; may be repeated.  [default: the loop: {', '.join(LOOP)}]",
)
def check(reporter: Reporter, *, identities: tuple[str, ...]) -> None:
    """Check, before its first use, that a store honours conditional writes and that the key has the rights it needs.

    Lists, reads, writes and deletes in each folder of the bucket as the work of the identity does. Nothing that a program
    reads is touched: one small object is left, _probes/00.json in a folder that the key may write. Each failed check is
    shown with its remedy. Exit code 6 if there is any.
    """
    from dataclasses import asdict

    from orchard import settings
    from orchard.errors import StoreError
    from orchard.store import open_store
    from orchard.store.access_check import check_access

    config = settings.load()
    opened = open_store(config)
    with reporter.status(f"checking {opened.name}"):
        results = list(check_access(opened, config.model, config.dataset, dict.fromkeys(identities or LOOP)))
    failed = [item for item in results if item.outcome != "ok"]
    rows = [(item.check, item.where or "-", " ".join(item.needed_by), item.outcome) for item in results]
    lines = [reporter.table(["check", "where", "needed by", "result"], rows), ""]
    lines += [
        f"{item.check}{f' in {item.where}' if item.where else ''}: {item.reason}\n  fix: {item.remedy}"
        for item in failed
        if item.remedy
    ]
    lines.append(f"{opened.name}: {len(results) - len(failed)} of {len(results)} checks passed")
    reporter.result(
        {"store": opened.name, "passed": not failed, "checks": [asdict(item) for item in results]}, "\n".join(lines)
    )
    if failed:
        click.get_current_context().exit(StoreError.exit_code)


for _command in (run, env, status, check):
    store.add_command(_command)
