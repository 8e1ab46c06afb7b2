"""The store of a project on this machine: the one that is set or runs here, else the project's embedded one, started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from orchard import settings
from orchard.running_store import DIRECTORY, PORT, found_here
from orchard.signing import create_pair
from orchard.store import ports
from orchard.store.embedded import EmbeddedStore

__all__ = ["store_of_project"]


@contextmanager
def store_of_project(report: Callable[[str], None]) -> Iterator[EmbeddedStore | None]:
    """Set ORCHARD_STORE_* and the keys for this process and its children: no more is needed to use the store.

    Args:
        report: gets a sentence about the store that is started.

    Yields:
        The store that was started and ends with the block; None: another one is set, or runs in this folder.

    Raises:
        SettingsError: the settings are invalid.
        StoreError: it cannot be started; see `EmbeddedStore.start`.
        MissingExtra: it would have to be started, and SeaweedFS is not installed.
    """
    loaded, found = settings.load(), found_here(os.environ)
    if loaded.store_url is not None:
        with _in_environment(found):
            yield None
        return
    create_pair(DIRECTORY / "keys")
    with EmbeddedStore(DIRECTORY, port=PORT if ports.is_free(PORT) else None) as store:
        report(f"the store of this folder, {DIRECTORY}, runs until this command ends")
        with _in_environment(found_here(os.environ)):
            yield store


@contextmanager
def _in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
