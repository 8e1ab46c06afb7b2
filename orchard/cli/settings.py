"""`orchard settings`."""

from __future__ import annotations

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    group="Operate",
    env_file=False,  # it lists the settings also if the file is wrong
    examples="orchard settings\nORCHARD_STORE_URL=s3://orchard orchard settings --json",
)
def settings(reporter: Reporter) -> None:
    """Show every setting, its value, where the value comes from, and its meaning.

    Settings are ORCHARD_* variables of the environment. Those that are not in it are read from the file .env in the
    working directory, or in the nearest folder above that has one; the names of model and dataset also from the nearest
    params.yaml, and the store from the embedded one that runs in this folder. A secret is never a setting: settings name the files of keys.
    """
    import os

    from orchard import env_files
    from orchard.errors import SettingsError
    from orchard.settings import Settings, from_project, from_running_store, load, value_text, variable

    uses = {variable(name): field.description for name, field in Settings.model_fields.items()}
    try:
        values = load().model_dump()
    except SettingsError as error:  # its hint names this verb, so the list is printed anyway
        table = reporter.table(["setting", "meaning"], uses.items())
        raise SettingsError(error.message, hint=f"{error.hint}\nall settings:\n{table}") from error
    document = {
        key: None if value is None else value_text(value) for key, value in zip(uses, values.values(), strict=True)
    }
    environ = dict(os.environ)
    found_elsewhere = dict.fromkeys(map(variable, from_project(environ)), "params.yaml")
    found_elsewhere |= dict.fromkeys(map(variable, from_running_store(environ)), "the store that runs here")
    sources = {
        key: env_files.origin(key)
        or ("environment" if os.environ.get(key, "").strip() else found_elsewhere.get(key, "default"))
        for key in uses
    }
    found, winners = env_files.find(), env_files.winners()
    chosen = found.chosen
    text = f"\n\n{chosen} is in use: `orchard use` chose it" if chosen else ""
    if chosen and winners:
        text += f", and the environment wins over it: {', '.join(winners)}"
    rows = [[key, document[key] or "-", sources[key], use] for key, use in uses.items()]
    for line in env_files.remarks():
        reporter.note(line)
    reporter.result(
        {**document, "sources": sources, "files": [str(path) for path in found.files], "chosen": chosen},
        reporter.table(["setting", "value", "from", "meaning"], rows) + text,
    )
