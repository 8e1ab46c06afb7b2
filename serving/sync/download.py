"""From the store to the shelf: a version's manifest and files, checked before, while and after they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchard import layout
from orchard.documents import sha256_hex
from orchard.errors import DataError, IntegrityError, ObjectNotFound
from orchard.registry.blobs import receive
from orchard.registry.manifest import Manifest, read_manifest_bytes
from orchard.registry.pointers import ChannelPointer
from orchard.savedmodel.rules import check_files, check_manifest
from orchard.signing import TrustedKeys
from orchard.store import ObjectStore
from serving.sync.disk import free_bytes, remove_tree, used_bytes
from serving.sync.version_cache import VersionCache

__all__ = ["DiskQuota", "InsufficientSpace", "PermanentError", "fetch"]


class PermanentError(IntegrityError):
    """A version breaks a rule that it will break for ever: trying again is no use."""


class InsufficientSpace(DataError):
    """There is no room for a version now."""


@dataclass(frozen=True, slots=True)
class DiskQuota:
    """How much of the disk a version may take.

    Attributes:
        version_bytes: one version.
        total_bytes: everything under the model's folder.
        reserve_bytes: what must stay free on the volume.
    """

    version_bytes: int = 2 << 30
    total_bytes: int = 16 << 30
    reserve_bytes: int = 64 << 20


def _read_manifest(store: ObjectStore, pointer: ChannelPointer, trusted: TrustedKeys) -> tuple[Manifest, bytes]:
    key = layout.manifest(pointer.model, pointer.version)
    try:
        body = store.get(key).body
    except ObjectNotFound as error:
        raise IntegrityError(f"channel {pointer.channel} points to {key}, which is not in the store") from error
    if sha256_hex(body) != pointer.manifest_sha256:
        raise IntegrityError(f"{key} is not the manifest that channel {pointer.channel} points to: another SHA-256")
    return read_manifest_bytes(body, trusted, pointer.model, pointer.version, key), body


def _check_room(manifest: Manifest, shelf: VersionCache, allowance: DiskQuota) -> None:
    """Refuse what does not fit before anything of it is fetched."""
    size = manifest.size
    if size > allowance.version_bytes:
        raise PermanentError(
            f"version {manifest.version} has {size} bytes; the allowance for one version is {allowance.version_bytes}"
        )
    used, free = used_bytes(shelf.base), free_bytes(shelf.base)
    if used + size > allowance.total_bytes:
        raise InsufficientSpace(
            f"version {manifest.version} needs {size} bytes; {used} of the allowance of {allowance.total_bytes} are taken"
        )
    if size + allowance.reserve_bytes > free:
        raise InsufficientSpace(
            f"version {manifest.version} needs {size} bytes; {free} are free on the volume of {shelf.base} and "
            f"{allowance.reserve_bytes} of them stay free"
        )


def _download(
    store: ObjectStore, manifest: Manifest, document: bytes, shelf: VersionCache, count: Callable[[int], None]
) -> None:
    staged = shelf.stage(manifest.version)
    try:
        for file in manifest.files:
            receive(store, manifest.model, file, staged / file.path, count)
        try:
            check_files(staged, manifest)
        except IntegrityError as error:
            raise PermanentError(error.message, hint=error.hint) from error
        shelf.put(staged, manifest, document)
    finally:
        if staged.exists():
            remove_tree(staged)


def fetch(
    store: ObjectStore,
    pointer: ChannelPointer,
    shelf: VersionCache,
    trusted: TrustedKeys,
    allowance: DiskQuota,
    count: Callable[[int], None] = lambda size: None,
) -> Manifest:
    """Have the version that a channel points to on the shelf; one that is there is proved again and moves no byte.

    Args:
        store: where it comes from.
        pointer: what the channel says.
        shelf: where it goes.
        trusted: the keys that are believed.
        allowance: how much of the disk it may take.
        count: called with the number of each piece's bytes.

    Returns:
        The version's manifest.

    Raises:
        RuleBroken: it will never be served.
        IntegrityError: what came is not what was published; the store, or the way, may be right another time.
        NoRoom: it does not fit now.
        StoreError: the store did not answer or refused.
    """
    if shelf.folder(pointer.version).exists():
        try:
            found = shelf.verify(pointer.version, trusted)
            if found.document_sha256 == pointer.manifest_sha256:
                return found
        except IntegrityError:
            pass  # damaged on our disk: fetched anew
    manifest, document = _read_manifest(store, pointer, trusted)
    try:
        check_manifest(manifest, pointer.override_reason)
    except IntegrityError as error:
        raise PermanentError(error.message, hint=error.hint) from error
    _check_room(manifest, shelf, allowance)
    _download(store, manifest, document, shelf, count)
    return manifest
