"""`orchard use`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    group="Operate",
    env_file=False,  # it mends a choice whose file is missing
    examples=(
        "orchard use                              # lists them\n"
        "orchard use staging                      # from now on the settings of .env.staging\n"
        "orchard use --none                       # those of .env alone"
    ),
)
@click.argument("name", required=False)
@click.option("--none", "nothing", is_flag=True, help="Use none of them: only .env.")
def use(reporter: Reporter, *, name: str | None, nothing: bool) -> None:
    """Choose among the settings of several stores: NAME is that of a file .env.NAME beside .env.

    The values of .env.NAME win over those of .env, and the environment wins over both. The choice is kept in .orchard/use,
    for this folder and those below it, until another one is made. Without NAME, the command lists what there is.
    """
    from orchard import env_files

    if name is not None and nothing:
        raise click.UsageError("NAME and --none exclude each other")
    folder = env_files.settings_folder(named=True) or Path.cwd()
    if nothing:
        env_files.choose(folder, None)
        reporter.result({"chosen": None}, f"none is in use: only {folder / env_files.FILE_NAME} is read")
    elif name is not None:
        _choose(reporter, folder, name)
    else:
        _list(reporter, folder)


def _choose(reporter: Reporter, folder: Path, name: str) -> None:
    import os

    from orchard import env_files
    from orchard.settings import read_env_file

    path = env_files.named_files(folder).get(name)
    values = read_env_file(path) if path else {}  # an invalid file is not chosen
    env_files.choose(folder, name)
    store = values.get("ORCHARD_STORE_URL") or "the store of .env"
    winners = sorted({*env_files.winners(), *(key for key in values if key in os.environ)})
    if os.environ.get(env_files.VARIABLE, "").strip():
        reporter.note(f"{env_files.VARIABLE} is set in this shell: the choice has no effect in it")
    elif winners:
        reporter.note(f"the environment of this shell wins over it: `unset {' '.join(winners)}`")
    reporter.result({"chosen": name, "file": str(path), "store": values.get("ORCHARD_STORE_URL")}, f"{name}: {store}")


def _list(reporter: Reporter, folder: Path) -> None:
    from orchard import env_files
    from orchard.errors import SettingsError
    from orchard.settings import read_env_file

    chosen = env_files.chosen_name(folder)
    rows: list[list[str]] = []
    documents: list[dict[str, Any]] = []
    files = env_files.named_files(folder)
    for name in sorted({*files, *([chosen] if chosen else [])}):
        path = folder / f"{env_files.FILE_NAME}.{name}"
        store, state = None, "missing"
        if name in files:
            try:
                store, state = read_env_file(path).get("ORCHARD_STORE_URL"), ""
            except SettingsError as error:
                state = error.message.splitlines()[-1].strip()
        documents.append({"name": name, "file": str(path), "store": store, "problem": state or None})
        rows.append(["*" if name == chosen else "", name, state or store or "-", env_files.shown(path)])
    reporter.result({"names": documents, "chosen": chosen}, reporter.table(["in use", "name", "store", "file"], rows))
