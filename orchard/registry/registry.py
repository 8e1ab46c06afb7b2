"""The registry of a model: versions published by one atomic commit, numbered without gaps, never changed afterwards.

How a version is published:

1. The bodies of its files go up first, each named by its SHA-256.
2. A *claim* named by the content's own hash (`publish_id`) records below which number this content cannot be.
3. The signed manifest is created under the next free number. That creation is the commit: whoever lists or reads sees
   all of a version or nothing.

One content is one version. Every commit of a content is preceded by its claim, and a claim is created once. So no
version up to the number that it names has this content, and every number above it is looked at, in order, before the
first free one is taken. Two publishers of the same bytes meet at the same number, where put-if-absent lets one win and
shows the other its own content. A publisher that was killed leaves at most a claim and blobs, and running it again
continues from there. Manifests and claims are never deleted; both statements rest on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from orchard import layout
from orchard.documents import FORMAT, MAX_BYTES, STRICT, canonical_json, decode, encode, parse
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
from orchard.registry.leases import hold_publish, release_publish
from orchard.registry.manifest import Manifest, ManifestFile, PublishMetadata, publish_id, read_manifest_bytes
from orchard.registry.pruning import PruneOptions, PruneResult, prune
from orchard.registry.versions import ModelVersions
from orchard.settings import Settings
from orchard.signing import TrustedKeys, load_key, load_trusted, sign
from orchard.store import probe
from orchard.store.conditional import create_once, get_or_none, swap_once
from orchard.store.objects import open_store

__all__ = ["PublishResult", "Registry"]

LOST_RACES = 64
"""Numbers in a row that other publishers may take before this one gives up."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The version that holds what was published, its publish_id, and whether this call made it."""

    version: int
    publish_id: str
    created: bool


@dataclass(frozen=True, slots=True)
class _Claim:
    """`after`: no version up to this one has the content; `version`: the one that has it, once that is known."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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
            settings: ORCHARD_STORE_*, ORCHARD_MODEL, ORCHARD_TRUSTED_KEYS_FILE, ORCHARD_SIGNING_KEY_FILE.
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
                hint="name the two halves of one pair, or add the public half to ORCHARD_TRUSTED_KEYS_FILE",
            )
        return cls(open_store(settings), settings.model, trusted, key)

    def channel(self, name: str) -> Channel:
        """Return a channel: `stable`, `canary` or `shadow`. Raises `DataError`."""
        return Channel(self, name)

    def prune(self, wish: PruneOptions) -> PruneResult:
        """Delete the blobs that nobody can need any more, or report which they are; see `orchard.registry.pruning.prune`."""
        return prune(self, wish)

    def publish(self, folder: Path, metadata: PublishMetadata) -> PublishResult:
        """Publish a SavedModel folder as the model's next version.

        Killed anywhere, it leaves nothing that a reader takes for a version; the same call again finishes the work. The
        same content again is the same version, whoever publishes it and whatever came in between.

        Args:
            folder: the SavedModel.
            metadata: what the manifest records beside the files.

        Raises:
            GateRefused: the gate's verdict is neither accepted nor overridden with a reason; nothing was written.
            DataError: the folder is not a SavedModel or the metadata is invalid; nothing was written.
            IntegrityError: a path breaks the rules, a blob is not what was sent, or this content is there with a
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
        probe.prove(self.store, self.model, identity)
        hold_publish(self.store, self.model, identity, (file.sha256 for file in files))
        upload(self.store, self.model, folder, files)
        published = self._number(manifest)
        release_publish(self.store, self.model, identity)
        return published

    def _number(self, manifest: Manifest) -> PublishResult:
        """Claim, commit, and write the number into the claim."""
        identity = manifest.publish_id
        claim, etag = self._claim(identity)
        if claim.version is not None:
            if self._existing(claim, [claim.version]) is None:
                raise IntegrityError(f"the claim of {identity} names version {claim.version}, which is another")
            return PublishResult(claim.version, identity, created=False)
        version, created = self._commit(claim, manifest)
        self._settle(claim, etag, version)
        return PublishResult(version, identity, created)

    def _claim(self, identity: str) -> tuple[_Claim, str]:
        """Create the claim of a content, or read the one that is there; returns its ETag too."""
        newest = max(self.versions(), default=0)  # before the claim: nothing of ours can be at or below it
        key = layout.publish_claim(self.model, identity)
        found = create_once(self.store, key, canonical_json(encode(_Claim(FORMAT, self.model, identity, newest, None))))
        claim = decode(_Claim, parse(found.body, key), key)
        if (claim.model, claim.publish_id) != (self.model, identity) or claim.after < 0:
            raise IntegrityError(f"{key} is the claim of something else")
        return claim, found.etag

    def _is_ours(self, body: bytes, identity: str, version: int) -> bool:
        """Whether a manifest has our content. One that cannot be read has not: its number is spent, no more."""
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
            found = get_or_none(self.store, layout.manifest(self.model, number))
            if found and self._is_ours(found.body, claim.publish_id, number):
                return number
        return None

    def _commit(self, claim: _Claim, manifest: Manifest) -> tuple[int, bool]:
        """Create the manifest under the first free number above the claim's, unless one of those has our content."""
        if claim.after and not self.store.exists(layout.manifest(self.model, claim.after)):
            raise IntegrityError(f"the claim of {claim.publish_id} follows version {claim.after}, which is not there")
        first = max(self.versions(claim.after), default=claim.after) + 1
        existing = self._existing(claim, range(claim.after + 1, first))
        if existing is not None:
            return existing, False
        for number in range(first, first + LOST_RACES):
            body = canonical_json(sign({**manifest.payload(), "version": number}, self.signing_key()))
            if len(body) > MAX_BYTES:
                raise DataError(f"the manifest has {len(body)} bytes; at most {MAX_BYTES} are allowed")
            found = create_once(self.store, layout.manifest(self.model, number), body).body
            if found == body:
                return number, True
            if self._is_ours(found, claim.publish_id, number):
                return number, False
        raise ConflictError(
            f"{LOST_RACES} other versions of {self.model!r} were published first, one after the other",
            hint="run the same command again",
        )

    def _settle(self, claim: _Claim, etag: str, version: int) -> None:
        """Write the version into the claim, so that the next publish of this content finds it at once."""
        body = canonical_json(encode(_Claim(FORMAT, self.model, claim.publish_id, claim.after, version)))
        try:
            swap_once(self.store, layout.publish_claim(self.model, claim.publish_id), body, etag)
        except ObjectChanged as error:
            raise OrchardError(
                f"the claim of {claim.publish_id} changed in a way that no publisher changes it"
            ) from error


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
    """Refuse to write what no reader would accept."""
    try:
        decode(Manifest, manifest.payload(), "the manifest")
    except IntegrityError as error:
        raise DataError(error.message) from error
