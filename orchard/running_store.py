"""The embedded store that runs in a folder, and its settings: read from its files, without the program that starts it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchard.env_files import NO_FILE, PREFIX, VARIABLE
from orchard.errors import StoreError, StoreUnavailable

__all__ = ["BUCKET", "DIRECTORY", "PORT", "client_environment", "environment_of", "found_here", "is_alive", "read_json"]

BUCKET = "orchard"

DIRECTORY = Path(".orchard/store")
"""Where a project's embedded store is, in the folder that its verbs run in."""

TRUSTED = (0,)
"""User ids, besides one's own, whose stores are used: root's."""

PORT = 8333
"""The port of S3, as `orchard store run` chooses it."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file of the store's directory; empty: there is no such file. Raises `StoreError`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}", hint="restore it, or move the whole folder away") from error
    if not isinstance(document, dict):
        raise StoreError(f"{path} is not a JSON object", hint="restore it, or move the whole folder away")
    return document


def is_alive(pid: object) -> bool:
    """Whether a process of that id runs. A zombie does not, unless some of its threads have not ended yet."""
    if not isinstance(pid, int):
        return False
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
        return state != "Z" or len(list((process / "task").iterdir())) > 1
    except OSError:
        return False


def client_environment(directory: Path, endpoint: str) -> dict[str, str]:
    """Return the ORCHARD_STORE_* variables for a store with its data in `directory` and S3 at `endpoint`."""
    return {
        "ORCHARD_STORE_URL": f"s3://{BUCKET}",
        "ORCHARD_STORE_ENDPOINT": endpoint,
        "ORCHARD_STORE_CREDENTIALS_FILE": str(directory / "credentials"),
    }


def environment_of(directory: Path) -> dict[str, str]:
    """Return the ORCHARD_* variables for the store that runs in `directory`, with the key pair in its folder `keys`.

    Raises:
        StoreUnavailable: no store runs there.
    """
    from orchard.signing import PRIVATE_NAME, PUBLIC_NAME  # its cryptography takes longer to import than settings

    directory = directory.resolve()
    running = read_json(directory / "running.json")
    if not is_alive(running.get("pid")):
        raise StoreUnavailable(f"no embedded store runs in {directory}", hint="start one: orchard store run")
    environment = client_environment(directory, str(running["endpoint"]))
    private, public = directory / "keys" / PRIVATE_NAME, directory / "keys" / PUBLIC_NAME
    if private.exists() and public.exists():
        environment |= {"ORCHARD_SIGNING_KEY_FILE": str(private), "ORCHARD_TRUSTED_KEYS_FILE": str(public)}
    return environment


def found_here(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the embedded store that runs in the working folder, where the environment names no store.

    A store of another user is passed over, as a `.env` of another user is. With ORCHARD_ENV_FILE=none none is looked for.
    """
    if environ.get(VARIABLE, "").strip() == NO_FILE:
        return {}
    if any(name.startswith(f"{PREFIX}STORE_") and value.strip() for name, value in environ.items()):
        return {}
    try:
        if (DIRECTORY / "running.json").stat().st_uid not in (os.getuid(), *TRUSTED):
            return {}
        found = environment_of(DIRECTORY)
    except (OSError, StoreError):
        return {}
    return {name: value for name, value in found.items() if not environ.get(name, "").strip()}
