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
    from orchard.settings import PREFIX, load

    found = load()
    names = list(type(found).model_fields)
    document = {
        PREFIX + name.upper(): None if (value := getattr(found, name)) is None else str(value) for name in names
    }
    rows = [
        [key, value or "-", type(found).model_fields[name].description]
        for name, (key, value) in zip(names, document.items(), strict=True)
    ]
    reporter.result(document, reporter.table(["setting", "value", "what it is"], rows))
