"""`orchard store`: run the embedded store, and check a store."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchard.cli.verb import verb, verb_group
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.store.embedded import EmbeddedStore

DIRECTORY = Path(".orchard/store")

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
@click.option("--port", type=click.IntRange(1, 65535), default=8333, show_default=True, help="The port of S3.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(reporter: Reporter, *, directory: Path, port: int, command: tuple[str, ...]) -> None:
    """Run an S3 store on this machine: SeaweedFS, on 127.0.0.1 only.

    With a COMMAND, the store runs as long as the command. The command gets ORCHARD_STORE_* and a pair of keys in its
    environment, and its exit code is returned. Without a COMMAND, the store runs until Ctrl-C or SIGTERM. Data and keys
    stay in the folder. This store is for one machine: for more, use a store with an operator.
    """
    import shutil

    from orchard.errors import OrchardError
    from orchard.signing import create_pair
    from orchard.store.embedded import EmbeddedStore, environment_of
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
    from orchard.store.embedded import environment_of

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


for _command in (run, env, status):
    store.add_command(_command)
