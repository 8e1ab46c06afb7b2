"""`orchard settings`."""

from __future__ import annotations

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(examples="orchard settings\nORCHARD_STORE_URL=s3://orchard orchard settings --json")
def settings(reporter: Reporter) -> None:
    """Show every setting, its value and what it is for.

    Settings come from ORCHARD_* environment variables and nowhere else. A secret is never a setting: the settings
    name the files that hold keys.
    """
    from orchard.errors import SettingsError
    from orchard.settings import PREFIX, Settings, load

    uses = {PREFIX + name.upper(): field.description for name, field in Settings.model_fields.items()}
    try:
        values = load().model_dump()
    except SettingsError as error:  # the listing is what its hint promises
        table = reporter.table(["setting", "what it is"], uses.items())
        raise SettingsError(error.message, hint=f"every setting there is:\n{table}") from error
    document = {key: None if value is None else str(value) for key, value in zip(uses, values.values(), strict=True)}
    rows = [[key, document[key] or "-", use] for key, use in uses.items()]
    reporter.result(document, reporter.table(["setting", "value", "what it is"], rows))
