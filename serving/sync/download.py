"""From the store to the version cache: a version's manifest and files, checked before, during and after the download."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from orchard import layout
from orchard.documents import sha256_hex
from orchard.errors import DiskError, IntegrityError, ObjectNotFound
from orchard.registry.blobs import receive
from orchard.registry.manifest import Manifest, read_manifest_bytes
from orchard.registry.pointers import ChannelPointer
from orchard.savedmodel.rules import check_files, check_manifest
from orchard.signing import TrustedKeys
from orchard.store import ObjectStore
from serving.sync.version_cache import VersionCache, remove_tree

__all__ = ["DiskQuota", "InsufficientSpace", "PermanentError", "download_version"]


class PermanentError(IntegrityError):
    """A version breaks a rule that it will always break: trying again is useless."""


class InsufficientSpace(DiskError):
    """There is no space for a version now."""


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


def _check_space(manifest: Manifest, cache: VersionCache, quota: DiskQuota) -> None:
    """Refuse a version that does not fit before any of it is downloaded."""
    size = manifest.size
    if size > quota.version_bytes:
        raise PermanentError(
            f"version {manifest.version} has {size} bytes; the limit for one version is {quota.version_bytes}"
        )
    used, free = cache.used_bytes(), shutil.disk_usage(cache.base).free
    if used + size > quota.total_bytes:
        raise InsufficientSpace(
            f"version {manifest.version} needs {size} bytes; {used} of the quota of {quota.total_bytes} are used",
            hint="give `orchard sync` a larger --max-total, or a smaller --keep",
        )
    if size + quota.reserve_bytes > free:
        raise InsufficientSpace(
            f"version {manifest.version} needs {size} bytes; {free} are free on the volume of {cache.base}, "
            f"{quota.reserve_bytes} of which must stay free",
            hint=f"make room there (`df -h {cache.base}` shows it), or set ORCHARD_SERVING_DIR to another folder",
        )


def download_version(
    store: ObjectStore,
    pointer: ChannelPointer,
    cache: VersionCache,
    trusted: TrustedKeys,
    quota: DiskQuota,
    count: Callable[[int], None],
) -> Manifest:
    """Put the version that a channel points to in the cache. A version that is there is verified again and moves no byte.

    Args:
        store: the source.
        pointer: the channel's pointer.
        cache: the destination.
        trusted: the trusted keys.
        quota: how much of the disk the version may take.
        count: called with the size of each piece in bytes.

    Returns:
        The version's manifest.

    Raises:
        PermanentError: the version can never be served.
        IntegrityError: the store sent something other than what was published; a later try may succeed.
        InsufficientSpace: it does not fit now.
        StoreError: the store did not answer or refused.
    """
    if cache.folder(pointer.version).exists():
        try:
            manifest = cache.verify(pointer.version, trusted)
            if manifest.document_sha256 == pointer.manifest_sha256:
                return manifest
        except IntegrityError:
            pass  # damaged on our disk: downloaded again
    manifest, document = _read_manifest(store, pointer, trusted)
    try:
        check_manifest(manifest, pointer.override_reason)
    except IntegrityError as error:
        raise PermanentError(error.message, hint=error.hint) from error
    _check_space(manifest, cache, quota)
    staged = cache.stage(manifest.version)
    try:
        for file in manifest.files:
            receive(store, manifest.model, file, staged / file.path, count)
        try:
            check_files(staged, manifest)
        except IntegrityError as error:
            raise PermanentError(error.message, hint=error.hint) from error
        cache.put(staged, manifest, document)
    finally:
        if staged.exists():
            remove_tree(staged)
    return manifest
