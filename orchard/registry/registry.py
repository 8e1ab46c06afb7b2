"""The registry of a model: versions published by one atomic commit, numbered without gaps, never changed afterwards.

How a version is published:

1. The blobs of its files are uploaded, each named by its SHA-256.
2. A *claim*, named by the content's hash (`publish_id`), records up to which number no version has this content.
3. The signed manifest is created under the next free number. That creation is the commit: readers see all of a version
   or nothing.

One content is one version. The claim of a content is created once, before its commit. So no version up to the number in
the claim has this content, and every number above it is checked, in order, before the first free one is taken. Two
publishers of the same content meet at the same number: put-if-absent accepts one, and the other finds its own content
there. A publisher that was killed leaves at most a claim and blobs; publishing again continues from there. Manifests and
claims are never deleted: both statements depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from orchard import layout
from orchard.documents import FORMAT, MAX_BYTES, canonical_json, decode, encode, parse, strict_dataclass
from orchard.errors import (
    ConflictError,
    DataError,
    GateRefused,
    IntegrityError,
    ObjectChanged,
    OrchardError,
    SettingsError,
)
from orchard.registry.blobs import read_files, upload
from orchard.registry.channels import Channel
from orchard.registry.known_channels import find_channel
from orchard.registry.leases import lease_publish, release_publish
from orchard.registry.manifest import Manifest, ManifestFile, PublishMetadata, publish_id, read_manifest_bytes
from orchard.registry.pruning import PruneOptions, PruneResult, prune
from orchard.registry.versions import ModelVersions
from orchard.settings import Settings
from orchard.signing import TrustedKeys, load_key, load_trusted, sign
from orchard.store.conditional import create_once, get_or_none, swap_once
from orchard.store.objects import open_store
from orchard.store.probe import check_conditional_writes

__all__ = ["PublishResult", "Registry"]

MAX_LOST_RACES = 64
"""How many numbers in a row other publishers may take before this one gives up."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The version of the published content, its publish_id, and whether this call created it."""

    version: int
    publish_id: str
    created: bool


@strict_dataclass
class _Claim:
    """`after`: no version up to this one has the content; `version`: the version that has it, None until it is known."""

    format: int
    model: str
    publish_id: str
    after: int
    version: int | None


@dataclass(frozen=True, slots=True)
class Registry(ModelVersions):
    """The registry of one model in one store."""

    @classmethod
    def open(cls, settings: Settings, *, sign: bool = False) -> Self:
        """Open the registry that the settings name; no request is made yet.

        Args:
            settings: ORCHARD_STORE_*, ORCHARD_MODEL, ORCHARD_CHANNELS, ORCHARD_TRUSTED_KEYS_FILE, ORCHARD_SIGNING_KEY_FILE.
            sign: load the signing key too. Without ORCHARD_TRUSTED_KEYS_FILE that key alone is trusted.

        Raises:
            SettingsError: a setting is missing, a key file is invalid, or the signing key is not a trusted one.
        """
        settings.require("store_url", "signing_key_file" if sign else "trusted_keys_file")
        key = load_key(settings.signing_key_file) if sign and settings.signing_key_file else None
        trusted = key.trusted if key else TrustedKeys({})
        if settings.trusted_keys_file:
            trusted = load_trusted(settings.trusted_keys_file)
        if key and key.key_id not in trusted.keys:
            raise SettingsError(
                f"{settings.signing_key_file} signs as {key.key_id}, which {settings.trusted_keys_file} does not trust "
                f"({', '.join(sorted(trusted.keys))}): no reader would trust what it signs",
                hint="name both files of one key pair, or add the public half to ORCHARD_TRUSTED_KEYS_FILE",
            )
        return cls(open_store(settings), settings.model, trusted, key, settings.channels)

    def channel(self, name: str) -> Channel:
        """Return a channel that the settings name or that exists in the store. Raises `DataError`, `StoreError`."""
        return find_channel(self, name)

    def prune(self, options: PruneOptions) -> PruneResult:
        """Delete the blobs that nothing can need any more, or report which they are; see `orchard.registry.pruning.prune`."""
        return prune(self, options)

    def publish(self, folder: Path, metadata: PublishMetadata) -> PublishResult:
        """Publish a SavedModel folder as the model's next version.

        If it is killed, readers see no part of a version, and the same call again finishes the work. The same content
        again is the same version, whoever publishes it and whatever was published in between.

        Args:
            folder: the SavedModel.
            metadata: what the manifest records beside the files.

        Raises:
            GateRefused: the gate's verdict is neither accepted nor overridden with a reason; nothing was written.
            DataError: the folder is not a SavedModel or the metadata is invalid; nothing was written.
            IntegrityError: a path breaks the rules, a blob is not what was sent, or the version of this content has a
                signature that is not trusted.
            ConflictError: too many others published at the same time, or a prune is deleting one of the blobs.
            StoreError: the store's conditional writes do not work, or it failed.
        """
        self.signing_key()
        _require_accepted(metadata)
        files = read_files(folder)
        identity = publish_id(self.model, files, metadata.dataset.digest, metadata.params_digest)
        manifest = _manifest(self.model, files, identity, metadata)
        _require_readable(manifest)
        check_conditional_writes(self.store, self.model, identity)
        lease_publish(self.store, self.model, identity, (file.sha256 for file in files))
        upload(self.store, self.model, folder, files)
        result = self._claim_and_commit(manifest)
        release_publish(self.store, self.model, identity)
        return result

    def _claim_and_commit(self, manifest: Manifest) -> PublishResult:
        """Claim, commit, and write the number into the claim."""
        identity = manifest.publish_id
        claim, etag = self._claim(identity)
        if claim.version is not None:
            if self._existing(claim, [claim.version]) is None:
                raise IntegrityError(f"the claim of {identity} names version {claim.version}, which has other content")
            return PublishResult(claim.version, identity, created=False)
        version, created = self._commit(claim, manifest)
        self._settle(claim, etag, version)
        return PublishResult(version, identity, created)

    def _claim(self, identity: str) -> tuple[_Claim, str]:
        """Create the claim of a content, or read the existing one; returns the claim and its ETag."""
        newest = max(self.versions(), default=0)  # read before the claim is written: no version up to it is ours
        key = layout.publish_claim(self.model, identity)
        stored = create_once(
            self.store, key, canonical_json(encode(_Claim(FORMAT, self.model, identity, newest, None)))
        )
        claim = decode(_Claim, parse(stored.body, key), key)
        if (claim.model, claim.publish_id) != (self.model, identity) or claim.after < 0:
            raise IntegrityError(f"{key} is the claim of another content")
        return claim, stored.etag

    def _is_ours(self, body: bytes, identity: str, version: int) -> bool:
        """Whether a manifest has our content. One that cannot be read only occupies its number."""
        key = layout.manifest(self.model, version)
        try:
            payload = parse(body, key).get("payload")
        except IntegrityError:
            return False
        if not isinstance(payload, dict) or payload.get("publish_id") != identity:
            return False
        read_manifest_bytes(body, self.trusted, self.model, version, key)  # ours must be valid
        return True

    def _existing(self, claim: _Claim, numbers: Iterable[int]) -> int | None:
        for number in numbers:
            stored = get_or_none(self.store, layout.manifest(self.model, number))
            if stored and self._is_ours(stored.body, claim.publish_id, number):
                return number
        return None

    def _commit(self, claim: _Claim, manifest: Manifest) -> tuple[int, bool]:
        """Create the manifest under the first free number above the claim's, unless a version there has our content."""
        if claim.after and not self.store.exists(layout.manifest(self.model, claim.after)):
            raise IntegrityError(f"the claim of {claim.publish_id} follows version {claim.after}, which does not exist")
        first = max(self.versions(claim.after), default=claim.after) + 1
        existing = self._existing(claim, range(claim.after + 1, first))
        if existing is not None:
            return existing, False
        for number in range(first, first + MAX_LOST_RACES):
            body = canonical_json(sign({**manifest.payload(), "version": number}, self.signing_key()))
            if len(body) > MAX_BYTES:
                raise DataError(f"the manifest has {len(body)} bytes; at most {MAX_BYTES} are allowed")
            stored = create_once(self.store, layout.manifest(self.model, number), body).body
            if stored == body:
                return number, True
            if self._is_ours(stored, claim.publish_id, number):
                return number, False
        raise ConflictError(
            f"{MAX_LOST_RACES} other versions of {self.model!r} were published first, one after the other",
            hint="run the same command again",
        )

    def _settle(self, claim: _Claim, etag: str, version: int) -> None:
        """Write the version into the claim, so that the next publish of this content finds it at once."""
        body = canonical_json(encode(_Claim(FORMAT, self.model, claim.publish_id, claim.after, version)))
        try:
            swap_once(self.store, layout.publish_claim(self.model, claim.publish_id), body, etag)
        except ObjectChanged as error:
            raise OrchardError(f"the claim of {claim.publish_id} was changed, but not by a publisher") from error


def _manifest(model: str, files: tuple[ManifestFile, ...], identity: str, metadata: PublishMetadata) -> Manifest:
    return Manifest(
        format=FORMAT,
        model=model,
        version=0,
        publish_id=identity,
        files=files,
        signatures=dict(metadata.signatures),
        ops=tuple(sorted(set(metadata.ops))),
        classes=metadata.classes,
        dataset=metadata.dataset,
        params_digest=metadata.params_digest,
        code=metadata.code,
        run_id=metadata.run_id,
        metrics=dict(metadata.metrics),
        gate=metadata.gate,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        created_by=metadata.created_by,
    )


def _require_accepted(metadata: PublishMetadata) -> None:
    gate = metadata.gate
    if not gate.passes:
        raise GateRefused(
            f"the gate's verdict is {gate.verdict!r}"
            + (f": {gate.reason}" if gate.reason else "")
            + "; only an accepted or overridden model (with a written reason) is published",
            hint="`orchard gate --override-reason …` records an override permanently",
        )


def _require_readable(manifest: Manifest) -> None:
    """Check that readers will accept the manifest, before it is written."""
    try:
        decode(Manifest, manifest.payload(), "the manifest")
    except IntegrityError as error:
        raise DataError(error.message) from error
