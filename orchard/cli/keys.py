"""`orchard keys`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def keys() -> None:
    """Keys that sign what is published, and keys that readers believe."""


@verb(examples='orchard keys create .orchard/keys\neval "$(orchard keys create .orchard/keys)"')
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def create(reporter: Reporter, folder: Path) -> None:
    """Make a pair of Ed25519 keys in FOLDER, unless there is one already.

    The private half signs manifests and channels: give it to whoever publishes and promotes, and to nobody else. The
    public half is what sync believes; several may stand in one file, one after the other. Prints the two settings as
    lines for a shell.
    """
    import shlex

    from orchard.signing import create_pair

    pair = create_pair(folder)
    settings = {
        "ORCHARD_SIGNING_KEY_FILE": str(pair.private.resolve()),
        "ORCHARD_TRUSTED_KEYS_FILE": str(pair.public.resolve()),
    }
    reporter.note(f"key {pair.key_id} {'made' if pair.created else 'was there already'} in {folder}")
    lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items())
    reporter.result({"key_id": pair.key_id, "created": pair.created, "settings": settings}, lines)


keys.add_command(create)
