"""`orchard settings`."""

from __future__ import annotations

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(examples="orchard settings\nORCHARD_STORE_URL=s3://orchard orchard settings --json")
def settings(reporter: Reporter) -> None:
    """Show every setting, its value and its meaning.

    Settings are ORCHARD_* environment variables and nothing else. A secret is never a setting: settings name the files
    of keys.
    """
    from orchard.errors import SettingsError
    from orchard.settings import PREFIX, Settings, load

    uses = {PREFIX + name.upper(): field.description for name, field in Settings.model_fields.items()}
    try:
        values = load().model_dump()
    except SettingsError as error:  # its hint names this verb, so the list is printed anyway
        table = reporter.table(["setting", "meaning"], uses.items())
        raise SettingsError(error.message, hint=f"all settings:\n{table}") from error
    document = {key: None if value is None else str(value) for key, value in zip(uses, values.values(), strict=True)}
    rows = [[key, document[key] or "-", use] for key, use in uses.items()]
    reporter.result(document, reporter.table(["setting", "value", "meaning"], rows))
