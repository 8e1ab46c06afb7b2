"""`orchard keys`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb, verb_group
from orchard.reporter import Reporter


@verb_group("Registry")
def keys() -> None:
    """Signing keys and trusted keys."""


@verb(examples='orchard keys create .orchard/keys\neval "$(orchard keys create .orchard/keys)"')
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def create(reporter: Reporter, folder: Path) -> None:
    """Create a pair of Ed25519 keys in FOLDER, unless there is one already.

    The private key signs manifests and channels: only those who publish and promote may have it. The public key is the
    one that sync trusts; a file may contain several. Prints the two settings as lines for a shell.
    """
    import shlex

    from orchard.signing import create_pair

    pair = create_pair(folder)
    settings = {
        "ORCHARD_SIGNING_KEY_FILE": str(pair.private.resolve()),
        "ORCHARD_TRUSTED_KEYS_FILE": str(pair.public.resolve()),
    }
    reporter.note(f"key {pair.key_id} {'was created' if pair.created else 'exists already'} in {folder}")
    lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items())
    reporter.result({"key_id": pair.key_id, "created": pair.created, "settings": settings}, lines)


keys.add_command(create)
