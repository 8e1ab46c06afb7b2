"""Rules for a version to be served: on its manifest before anything is downloaded, and on its files afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from orchard.errors import IntegrityError
from orchard.golden import GOLDEN, read_golden
from orchard.registry.manifest import Manifest
from orchard.registry.manifest import ModelSignature as Declared
from orchard.savedmodel.graph import read_operations
from orchard.savedmodel.operations import check_names, check_operations
from orchard.savedmodel.signatures import FILE_NAME, TEXT_FILE_NAME, TensorInfo, map_document, signatures_of
from orchard.savedmodel.text_document import MAX_TEXT_BYTES
from orchard.savedmodel.types import tensor_type
from orchard.savedmodel.wire import WireError

__all__ = ["check_files", "check_manifest"]

CLASSES = "assets/classes.txt"
MAX_GRAPH_BYTES = 1 << 30
MAX_TENSOR_BYTES = 4 << 30
_SERVED = re.compile(
    r"saved_model\.pb(?:txt)?|fingerprint\.pb|variables/variables\.(?:index|data-\d{5}-of-\d{5})|assets/.+"
    r"|assets\.extra/(?:golden\.json|tf_serving_warmup_requests)|debug/saved_model_debug_info\.pb"
)
_CODE = re.compile(r"\.(?:so(?:\.\d+)*|py|pyc|dylib|dll|pkl|pickle|joblib)$", re.IGNORECASE)


def check_manifest(manifest: Manifest, override_reason: str | None) -> None:
    """Check a verified manifest, before its files are downloaded.

    Args:
        manifest: the verified manifest.
        override_reason: why the version was promoted though the gate had not accepted it; None: the gate had.

    Raises:
        IntegrityError: a file is not needed, an operation is not allowed, there are no golden photos, or the gate did
            not accept the version and nobody overrode it.
    """
    what = f"version {manifest.version} of {manifest.model!r}"
    paths = {file.path for file in manifest.files}
    for path in sorted(paths):
        unread = path == TEXT_FILE_NAME and FILE_NAME in paths  # no engine reads both
        if unread or not _SERVED.fullmatch(path) or _CODE.search(path):
            raise IntegrityError(f"{what}: the file {path!r} is not allowed in a served model")
    if not paths & {FILE_NAME, TEXT_FILE_NAME}:
        raise IntegrityError(f"{what} has no {FILE_NAME} and no {TEXT_FILE_NAME}")
    if GOLDEN not in paths:
        raise IntegrityError(f"{what} has no {GOLDEN}")
    name, limit = (FILE_NAME, MAX_GRAPH_BYTES) if FILE_NAME in paths else (TEXT_FILE_NAME, MAX_TEXT_BYTES)
    graph = next(file for file in manifest.files if file.path == name)
    if graph.size > limit:
        raise IntegrityError(f"{what}: {name} has {graph.size} bytes; at most {limit} are allowed")
    if not manifest.gate.passes and not (override_reason and override_reason.strip()):
        raise IntegrityError(f"{what}: the gate's verdict is {manifest.gate.verdict!r} and nobody overrode it")
    check_names(manifest.ops, what)


def _describe(info: TensorInfo) -> str:
    return tensor_type(info.dtype.numpy or info.dtype.name, [dim.size for dim in info.shape or ()])


def _check_signatures(document: memoryview, declared: Mapping[str, Declared], what: str) -> None:
    actual = {
        name: Declared(
            {alias: _describe(info) for alias, info in signature.inputs.items()},
            {alias: _describe(info) for alias, info in signature.outputs.items()},
        )
        for name, signature in signatures_of(document).items()
        if not name.startswith("__saved_model")
    }
    if actual != dict(declared):
        names = sorted(name for name in {*actual, *declared} if actual.get(name) != declared.get(name))
        raise IntegrityError(f"{what}: the signatures {', '.join(names)} differ from the manifest")


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check the content of a version's files, whose digests are verified.

    Raises:
        IntegrityError: the graph is malformed, has an operation that is not allowed or not declared, needs too much
            memory, has other signatures or classes than the manifest, or the golden photos are invalid.
    """
    what = f"the graph of version {manifest.version} of {manifest.model!r}"
    try:
        body = map_document(folder)
        operations = read_operations(body)
        check_operations(operations, manifest.ops, what)
        _check_signatures(body, manifest.signatures, what)
    except WireError as error:
        raise IntegrityError(f"{what} cannot be read: {error}") from error
    if operations.tensor_bytes > MAX_TENSOR_BYTES:
        raise IntegrityError(
            f"{what} has {operations.tensor_bytes} bytes of constants; at most {MAX_TENSOR_BYTES} are allowed"
        )
    classes = folder / CLASSES
    if classes.exists() and classes.read_text(encoding="utf-8").splitlines() != list(manifest.classes):
        raise IntegrityError(f"{CLASSES} of version {manifest.version} has other classes than the manifest")
    read_golden(folder)
