"""The manifest: one signed document that describes a version of a model, its files, data, parameters and gate result."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from orchard.documents import decode, digest, encode, parse, sha256_hex, strict_dataclass
from orchard.errors import IntegrityError
from orchard.signing import TrustedKeys, verify

__all__ = [
    "MAX_FILES",
    "MAX_TOTAL",
    "DatasetRef",
    "GateRecord",
    "Manifest",
    "ManifestFile",
    "ModelSignature",
    "PublishMetadata",
    "check_files",
    "publish_id",
    "read_manifest_bytes",
]

MAX_FILES = 256
MAX_TOTAL = 2 << 30
"""The largest total size of a version's files, in bytes."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@strict_dataclass
class ManifestFile:
    """One file of a SavedModel: its path inside the version's folder (with /), its bytes, their SHA-256."""

    path: str
    size: int
    sha256: str


@strict_dataclass
class ModelSignature:
    """A SavedModel signature: names of inputs and outputs, each with its type as ``float32[N,100,100,3]``."""

    inputs: dict[str, str]
    outputs: dict[str, str]


@strict_dataclass
class DatasetRef:
    """The dataset that a model was trained on; `version` is None for data that was never ingested into the store."""

    name: str
    version: int | None
    digest: str


@strict_dataclass
class GateRecord:
    """The gate's verdict and reason, and the SHA-256 of `verdict.json`."""

    verdict: Literal["accepted", "refused", "overridden"]
    reason: str
    sha256: str

    @property
    def passes(self) -> bool:
        """Whether the version was accepted, or overridden with a written reason."""
        return self.verdict == "accepted" or (self.verdict == "overridden" and bool(self.reason.strip()))


@dataclass(frozen=True, slots=True)
class PublishMetadata:
    """What the manifest records beside the files; the fields are those of `Manifest`."""

    signatures: Mapping[str, ModelSignature]
    ops: tuple[str, ...]
    classes: tuple[str, ...]
    dataset: DatasetRef
    params_digest: str
    code: str
    metrics: Mapping[str, float]
    gate: GateRecord
    created_by: str
    run_id: str | None = None


@strict_dataclass
class Manifest:
    """A version of a model.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        version: 1, 2, 3 …
        publish_id: SHA-256 that names the content: model, files, dataset and params; see `publish_id`.
        files: every file of the version's folder.
        signatures: of the SavedModel, by name.
        ops: every TensorFlow operation in its graphs and functions, sorted.
        classes: labels in the order of the `probabilities`.
        dataset: what it was trained on.
        params_digest: SHA-256 of the parameters it was trained with.
        code: the program's version and commit.
        run_id: the run that made it, None outside a run.
        metrics: figures of the evaluation, such as ``shop.accuracy`` (0 to 1).
        gate: the gate's verdict.
        created: the time, for people (RFC 3339, UTC).
        created_by: the actor.
        document_sha256: SHA-256 of the signed document's bytes in the store; set by the reader, not part of the document.
        signed_by: the id of the trusted key that signed it; set by the reader too.
    """

    format: int
    model: str
    version: int
    publish_id: str
    files: tuple[ManifestFile, ...]
    signatures: dict[str, ModelSignature]
    ops: tuple[str, ...]
    classes: tuple[str, ...]
    dataset: DatasetRef
    params_digest: str
    code: str
    run_id: str | None
    metrics: dict[str, float]
    gate: GateRecord
    created: str
    created_by: str
    document_sha256: str = ""
    signed_by: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def payload(self) -> dict[str, Any]:
        """The signed payload."""
        document = encode(self)
        del document["document_sha256"], document["signed_by"]
        return document


def publish_id(model: str, files: Iterable[ManifestFile], dataset_digest: str, params_digest: str) -> str:
    """Return the SHA-256 of a version's content: the same content is the same version.

    The run, the time, the actor and the gate's report are not part of it. So publishing the same content again makes no
    new version, whoever publishes it and whatever was published in between.
    """
    listed = sorted(([file.path, file.size, file.sha256] for file in files), key=lambda item: str(item[0]))
    return digest({"model": model, "files": listed, "dataset": dataset_digest, "params": params_digest})


def _path_problem(path: str) -> str | None:
    parts = path.split("/")
    if any(unicodedata.category(char) in {"Cf", "Cs", "Co", "Zl", "Zp"} for char in path):
        return "has an invisible character"
    if not path or len(path.encode()) > 512 or any(len(part.encode()) > 200 for part in parts):
        return "is empty or too long"
    if unicodedata.normalize("NFC", path) != path:
        return "is not in Unicode's composed form (NFC)"
    if any(ord(char) < 32 or ord(char) == 127 or char in '\\:*?"<>|' for char in path):
        return 'has a control character or one of \\ : * ? " < > |'
    if any(part in {"", ".", ".."} or part != part.strip() or part.endswith(".") for part in parts):
        return "is absolute, or has an empty, dotted or padded part"
    return None


def check_files(files: Iterable[ManifestFile], what: str) -> None:
    """Check that a version's files may be written to a disk.

    - At most `MAX_FILES` files and `MAX_TOTAL` bytes.
    - Paths are relative, without ``..``, backslash, control or invisible characters.
    - No two paths are equal to a file system (upper and lower case, Unicode forms).
    - No file has the path of a folder that another file needs.

    Raises:
        IntegrityError: naming the first file that breaks a rule.
    """
    listed = tuple(files)
    if not 1 <= len(listed) <= MAX_FILES:
        raise IntegrityError(f"{what} has {len(listed)} files; expected 1 to {MAX_FILES}")
    seen: dict[str, tuple[str, bool]] = {}
    for file in listed:
        problem = _path_problem(file.path)
        if problem:
            raise IntegrityError(f"{what}: the path {file.path!r} {problem}")
        if file.size < 0 or not _SHA256.fullmatch(file.sha256):
            raise IntegrityError(f"{what}: {file.path!r} has no valid size and SHA-256")
        parts = file.path.split("/")
        for depth in range(1, len(parts) + 1):
            here = ("/".join(parts[:depth]), depth == len(parts))
            there = seen.setdefault(unicodedata.normalize("NFKC", here[0]).casefold(), here)
            if there != here or (there is not here and here[1]):
                raise IntegrityError(f"{what}: {file.path!r} clashes with {there[0]!r}")
    total = sum(file.size for file in listed)
    if total > MAX_TOTAL:
        raise IntegrityError(f"{what} has {total} bytes; at most {MAX_TOTAL} are allowed")


def read_manifest_bytes(body: bytes, trusted: TrustedKeys, model: str, version: int, what: str) -> Manifest:
    """Verify and read a manifest's signed bytes.

    Raises:
        IntegrityError: unsigned, signed by a key that is not trusted, changed, of another model or version (a valid
            manifest under the wrong key), or its files break a rule of `check_files`.
    """
    document = parse(body, what)
    manifest = decode(Manifest, verify(document, trusted, what), what)
    if (manifest.model, manifest.version) != (model, version):
        raise IntegrityError(f"{what} is the manifest of version {manifest.version} of {manifest.model!r}")
    check_files(manifest.files, what)
    if manifest.publish_id != publish_id(model, manifest.files, manifest.dataset.digest, manifest.params_digest):
        raise IntegrityError(f"{what} has a publish_id that does not match its content")
    return replace(manifest, document_sha256=sha256_hex(body), signed_by=document["signature"]["key_id"])
