"""Versions of a model: published by one atomic commit, numbered without gaps, never changed afterwards.

How a version comes to be: the bodies of its files go up first, each named by its SHA-256; then a *claim* named by the
content's own hash (`publish_id`) says below which number this content cannot be; then the signed manifest is created
under the next free number. That creation is the commit: whoever lists or reads sees all of a version or nothing.

One content is one version. Every commit of a content is preceded by its claim, and a claim is created once: so nothing
at or below the number that it names has this content, and every number above it is looked at, in order, before the
first free one is taken. Two publishers of the same bytes meet at the same number, where put-if-absent lets one win and
shows the other its own content. A publisher that was killed leaves at most a claim and blobs, and running it again
goes on from there. Manifests and claims are never deleted; both statements rest on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from orchard import layout
from orchard.documents import FORMAT, MAX_BYTES, STRICT, canonical_json, decode, encode, parse, sha256_hex
from orchard.errors import (
    ConflictError,
    DataError,
    GateRefused,
    IntegrityError,
    ObjectChanged,
    ObjectNotFound,
    OrchardError,
)
from orchard.registry.leases import hold_publish, release_publish
from orchard.registry.manifest import (
    Manifest,
    ManifestFile,
    PublishMetadata,
    check_files,
    publish_id,
    read_manifest_bytes,
)
from orchard.signing import SigningKey, TrustedKeys, sign
from orchard.store import probe
from orchard.store.conditional import create_once, get_or_none, swap_once
from orchard.store.objects import ObjectStore

__all__ = ["PublishResult", "publish", "read_files", "read_manifest", "verify_blobs", "versions"]

CHUNK = 1 << 20
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


def versions(store: ObjectStore, model: str, after: int = 0) -> list[int]:
    """Return the numbers of the model's versions that are greater than `after`, ascending."""
    found = (
        layout.version_of_manifest_key(stat.key)
        for stat in store.list(layout.versions(model), after=layout.manifest(model, after) if after else None)
    )
    return sorted(number for number in found if number is not None and number > after)


def read_manifest(
    store: ObjectStore, model: str, version: int, trusted: TrustedKeys, *, sha256: str | None = None
) -> Manifest:
    """Return a version's manifest, verified.

    Args:
        store: where.
        model: the model's name.
        version: its number.
        trusted: the keys that are believed.
        sha256: what the document's bytes must hash to, if a channel's pointer has said so.

    Raises:
        DataError: there is no such version.
        IntegrityError: see `orchard.registry.manifest.read_manifest_bytes`; or it is not the document that the pointer meant.
    """
    key = layout.manifest(model, version)
    found = get_or_none(store, key)
    if found is None:
        raise DataError(
            f"{model!r} has no version {version} in {store.name}", hint="`orchard versions` lists what there is"
        )
    if sha256 is not None and sha256_hex(found.body) != sha256:
        raise IntegrityError(f"{key} is not the manifest that the channel points to: its SHA-256 is another")
    return read_manifest_bytes(found.body, trusted, model, version, key)


def read_files(folder: Path) -> tuple[ManifestFile, ...]:
    """Hash every file of a SavedModel folder, by path.

    Raises:
        DataError: no folder, no `saved_model.pb` in it, a symlink or anything else that is no plain file.
        IntegrityError: paths or sizes break a rule of `orchard.registry.manifest.check_files`.
    """
    if not (folder / "saved_model.pb").is_file():
        raise DataError(f"{folder} is no SavedModel: there is no saved_model.pb in it")
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DataError(f"{path} is a link or a special file; only plain files are published")
        if path.is_file():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(ManifestFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256))
    check_files(found, str(folder))
    return tuple(found)


def _problem(store: ObjectStore, model: str, file: ManifestFile) -> str | None:
    """Read a blob back and say what is wrong with it, or None."""
    key, seen, size = layout.blob(model, file.sha256), hashlib.sha256(), 0
    try:
        stat = store.head(key)
        if stat.size != file.size:
            return f"{key} has {stat.size} bytes; {file.path} needs {file.size}"
        for piece in store.stream(key, CHUNK):
            seen.update(piece)
            size += len(piece)
    except ObjectNotFound:
        return f"{key}, which holds {file.path}, is missing"
    if size != file.size or seen.hexdigest() != file.sha256:
        return f"{key} does not hold {file.path} any more: its bytes have another SHA-256"
    return None


def verify_blobs(store: ObjectStore, manifest: Manifest) -> None:
    """Prove that every file of a version is in the store with its size and SHA-256, by reading all of them.

    Raises:
        IntegrityError: naming every blob that is missing or wrong.
    """
    problems = [text for file in manifest.files if (text := _problem(store, manifest.model, file))]
    if problems:
        raise IntegrityError(
            f"version {manifest.version} of {manifest.model!r} is damaged:\n  " + "\n  ".join(problems),
            hint="publishing the same files again mends it (`orchard prune` deletes the bytes of old versions)",
        )


def _upload(store: ObjectStore, model: str, folder: Path, files: tuple[ManifestFile, ...]) -> None:
    """Bring every body into the store and read it back; one that is there and right is not sent again."""
    for file in {file.sha256: file for file in files}.values():
        if _problem(store, model, file) is None:
            continue
        store.put_file(layout.blob(model, file.sha256), folder / file.path)
        problem = _problem(store, model, file)
        if problem:
            raise IntegrityError(
                f"after the upload, {problem}", hint=f"did {folder / file.path} change meanwhile? publish again"
            )


def _claim(store: ObjectStore, model: str, identity: str) -> tuple[_Claim, str]:
    """Create the claim of a content, or read the one that is there; returns its ETag too."""
    newest = max(versions(store, model), default=0)  # before the claim: nothing of ours can be at or below it
    key = layout.publish_claim(model, identity)
    found = create_once(store, key, canonical_json(encode(_Claim(FORMAT, model, identity, newest, None))))
    claim = decode(_Claim, parse(found.body, key), key)
    if (claim.model, claim.publish_id) != (model, identity) or claim.after < 0:
        raise IntegrityError(f"{key} is the claim of something else")
    return claim, found.etag


def _is_ours(body: bytes, identity: str, trusted: TrustedKeys, model: str, version: int) -> bool:
    """Whether a manifest has our content. One that cannot be read has not: its number is spent, no more."""
    key = layout.manifest(model, version)
    try:
        payload = parse(body, key).get("payload")
    except IntegrityError:
        return False
    if not isinstance(payload, dict) or payload.get("publish_id") != identity:
        return False
    read_manifest_bytes(body, trusted, model, version, key)  # whoever says that it is ours must prove it
    return True


def _existing(store: ObjectStore, claim: _Claim, numbers: Iterable[int], trusted: TrustedKeys) -> int | None:
    for number in numbers:
        found = get_or_none(store, layout.manifest(claim.model, number))
        if found and _is_ours(found.body, claim.publish_id, trusted, claim.model, number):
            return number
    return None


def _commit(
    store: ObjectStore, claim: _Claim, made: Manifest, key: SigningKey, trusted: TrustedKeys
) -> tuple[int, bool]:
    """Create the manifest under the first free number above the claim's, unless one of those has our content."""
    if claim.after and not store.exists(layout.manifest(claim.model, claim.after)):
        raise IntegrityError(f"the claim of {claim.publish_id} follows version {claim.after}, which is not there")
    first = max(versions(store, claim.model, claim.after), default=claim.after) + 1
    existing = _existing(store, claim, range(claim.after + 1, first), trusted)
    if existing is not None:
        return existing, False
    for number in range(first, first + LOST_RACES):
        payload = {**made.payload(), "version": number}
        body = canonical_json(sign(payload, key))
        if len(body) > MAX_BYTES:
            raise DataError(f"the manifest has {len(body)} bytes; at most {MAX_BYTES} are allowed")
        found = create_once(store, layout.manifest(claim.model, number), body).body
        if found == body:
            return number, True
        if _is_ours(found, claim.publish_id, trusted, claim.model, number):
            return number, False
    raise ConflictError(
        f"{LOST_RACES} other versions of {claim.model!r} were published first, one after the other",
        hint="run the same command again",
    )


def _settle(store: ObjectStore, claim: _Claim, etag: str, version: int) -> None:
    """Write the version into the claim, so that the next publish of this content finds it at once."""
    body = canonical_json(encode(_Claim(FORMAT, claim.model, claim.publish_id, claim.after, version)))
    try:
        swap_once(store, layout.publish_claim(claim.model, claim.publish_id), body, etag)
    except ObjectChanged as error:
        raise OrchardError(f"the claim of {claim.publish_id} changed in a way that no publisher changes it") from error


def _manifest(model: str, files: tuple[ManifestFile, ...], identity: str, facts: PublishMetadata) -> Manifest:
    return Manifest(
        format=FORMAT,
        model=model,
        version=0,
        publish_id=identity,
        files=files,
        signatures=dict(facts.signatures),
        ops=tuple(sorted(set(facts.ops))),
        classes=facts.classes,
        dataset=facts.dataset,
        params_digest=facts.params_digest,
        code=facts.code,
        run_id=facts.run_id,
        metrics=dict(facts.metrics),
        gate=facts.gate,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        created_by=facts.created_by,
    )


def publish(
    store: ObjectStore,
    model: str,
    folder: Path,
    facts: PublishMetadata,
    key: SigningKey,
    *,
    trusted: TrustedKeys | None = None,
) -> PublishResult:
    """Publish a SavedModel folder as the model's next version.

    Killed anywhere, it leaves nothing that anybody takes for a version; the same call again finishes the work. The
    same content again is the same version, whoever publishes it and whatever came in between.

    Args:
        store: where.
        model: the model's name.
        folder: the SavedModel.
        facts: what the manifest says beside the files.
        key: signs the manifest.
        trusted: keys whose manifests are believed when the content turns out to be there; unset: `key` alone.

    Raises:
        GateRefused: the gate's verdict is neither accepted nor overridden with a reason; nothing was written.
        DataError: the folder is no SavedModel or the facts have no place in a manifest; nothing was written.
        IntegrityError: a path breaks the rules, a blob is not what was sent, or this content is there with a signature
            that is not trusted.
        ConflictError: too many others published at the same time, or a prune is deleting one of the blobs.
        StoreError: the store's conditional writes cannot be relied on, or it failed.
    """
    _must_be_accepted(facts)
    files = read_files(folder)
    identity = publish_id(model, files, facts.dataset.digest, facts.params_digest)
    made = _manifest(model, files, identity, facts)
    _must_be_readable(made)
    probe.prove(store, model, identity)
    hold_publish(store, model, identity, (file.sha256 for file in files))
    _upload(store, model, folder, files)
    found = _number(store, made, key, trusted or key.trusted)
    release_publish(store, model, identity)
    return found


def _number(store: ObjectStore, made: Manifest, key: SigningKey, trusted: TrustedKeys) -> PublishResult:
    """Claim, commit, and write the number into the claim."""
    claim, etag = _claim(store, made.model, made.publish_id)
    if claim.version is not None:
        if _existing(store, claim, [claim.version], trusted) is None:
            raise IntegrityError(f"the claim of {made.publish_id} names version {claim.version}, which is another")
        return PublishResult(claim.version, made.publish_id, created=False)
    version, created = _commit(store, claim, made, key, trusted)
    _settle(store, claim, etag, version)
    return PublishResult(version, made.publish_id, created)


def _must_be_accepted(facts: PublishMetadata) -> None:
    if not facts.gate.passes:
        raise GateRefused(
            f"the gate's verdict is {facts.gate.verdict!r}"
            + (f": {facts.gate.reason}" if facts.gate.reason else "")
            + "; only an accepted or overridden model (with a written reason) is published",
            hint="`orchard gate --override-reason …` records an override for ever",
        )


def _must_be_readable(made: Manifest) -> None:
    """Refuse to write what no reader would accept."""
    try:
        decode(Manifest, made.payload(), "the manifest")
    except IntegrityError as error:
        raise DataError(error.message) from error
