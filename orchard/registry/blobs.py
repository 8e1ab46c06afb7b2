"""A version's files, fetched: each held against its declared size and SHA-256 while it comes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from orchard import layout
from orchard.errors import IntegrityError, ObjectNotFound
from orchard.registry.manifest import ManifestFile
from orchard.store.objects import ObjectStore

__all__ = ["receive"]

AGAIN = "publishing the same files again mends it"


def receive(
    store: ObjectStore, model: str, file: ManifestFile, path: Path, count: Callable[[int], None] = lambda size: None
) -> None:
    """Stream one file of a version to disk, hashing and counting, and flush it; stop at the declared size.

    Args:
        store: where it comes from.
        model: whose it is.
        file: what its verified manifest says of it.
        path: where it goes; must not be there. What is there after an error is not the file.
        count: called with the number of each piece's bytes.

    Raises:
        IntegrityError: it is missing in the store, or is not what was published.
        StoreError: the store did not answer.
    """
    key, digest, size = layout.blob(model, file.sha256), hashlib.sha256(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as body:
        try:
            for piece in store.stream(key):
                size += len(piece)
                if size > file.size:
                    raise IntegrityError(f"{key} is longer than the {file.size} bytes that {file.path} has", hint=AGAIN)
                digest.update(piece)
                body.write(piece)
                count(len(piece))
        except ObjectNotFound as error:
            raise IntegrityError(f"{key}, which holds {file.path}, is not in the store", hint=AGAIN) from error
        body.flush()
        os.fsync(body.fileno())
    if size != file.size:
        raise IntegrityError(f"{key} ends after {size} bytes; {file.path} has {file.size}", hint=AGAIN)
    if digest.hexdigest() != file.sha256:
        raise IntegrityError(f"{key} does not hold {file.path}: its bytes have another SHA-256", hint=AGAIN)
