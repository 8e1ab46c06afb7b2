"""JSON documents: one canonical form to hash and sign, and a strict parser.

The writer of a document in the store may not be trusted. So documents are limited in size, and NaN, repeated names and
fields that the dataclass does not have are errors.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast, dataclass_transform

from orchard.errors import DataError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import TypeAdapter

__all__ = [
    "FORMAT",
    "MAX_BYTES",
    "STRICT",
    "canonical_json",
    "decode",
    "digest",
    "encode",
    "load_json",
    "parse",
    "sha256_hex",
    "strict_dataclass",
]

FORMAT = 1
"""The version of every document's format. Readers refuse any other."""

MAX_BYTES = 1 << 20
"""The largest document: a commit is one small request."""

STRICT: dict[str, Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""What a dataclass that `decode` reads sets as its ``__pydantic_config__``."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def strict_dataclass(kind: type[T]) -> type[T]:
    """Make a class a frozen dataclass that `decode` reads strictly."""
    kind.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    return dataclass(frozen=True, slots=True)(kind)


def canonical_json(document: Any) -> bytes:
    """Return the one UTF-8 form of `document`: sorted keys, no spaces, no NaN.

    Raises:
        DataError: `document` has no JSON form (NaN, infinity, a set, a lone surrogate …).
    """
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"this cannot be written as JSON: {error}") from error


def sha256_hex(body: bytes) -> str:
    """Return the SHA-256 of `body` as 64 hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def digest(document: Any) -> str:
    """Return the SHA-256 of the document's canonical JSON."""
    return sha256_hex(canonical_json(document))


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same name twice")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def load_json(text: str) -> Any:
    """Read any JSON value strictly. Raises `ValueError` or `RecursionError`: not JSON, a NaN, a repeated name, too deep."""
    return json.loads(text, object_pairs_hook=_unique_names, parse_constant=_refuse_constant, parse_float=_finite)


def parse(body: bytes, what: str, *, limit: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON object strictly.

    Args:
        body: UTF-8 bytes.
        what: the document's name or key, for messages.
        limit: the largest size in bytes.

    Raises:
        IntegrityError: too large, not UTF-8, not JSON, a NaN, a repeated name, or not an object.
    """
    if len(body) > limit:
        raise IntegrityError(f"{what} has {len(body)} bytes; at most {limit} are read")
    try:
        document = load_json(body.decode("utf-8"))
        if isinstance(document, dict):
            canonical_json(document)  # refuses lone surrogates, which JSON can write as \ud800
    except (ValueError, RecursionError, DataError) as error:
        raise IntegrityError(f"{what} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise IntegrityError(f"{what} is a JSON {type(document).__name__}; expected an object")
    return document


@lru_cache(maxsize=32)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # takes 100 ms to import

    return TypeAdapter(kind)


def decode(kind: type[T], document: Mapping[str, Any], what: str) -> T:
    """Convert a parsed document to a frozen dataclass.

    Args:
        kind: a `strict_dataclass`, as are those inside it.
        document: the result of `parse` or `orchard.signing.verify`.
        what: the document's name or key, for messages.

    Raises:
        IntegrityError: the format is unknown, or fields are missing, unknown or of the wrong type; with their names.
    """
    from pydantic import ValidationError

    known = {field.name for field in fields(kind)} if is_dataclass(kind) else set()
    if "format" in known and (document.get("format") != FORMAT or type(document.get("format")) is not int):
        raise IntegrityError(
            f"{what} has format {document.get('format')!r}; this version of Orchard reads format {FORMAT}",
            hint="was it written by a newer Orchard? upgrade this one",
        )
    try:
        result: T = _adapter(cast("Any", kind)).validate_json(canonical_json(document))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc'])) or 'document'}: {item['msg']}" for item in error.errors()[:8]]
        raise IntegrityError(f"{what} is invalid: {'; '.join(lines)}") from error
    return result


def encode(value: Any) -> dict[str, Any]:
    """Return a dataclass as a document: dataclasses inside it become objects, tuples become lists."""
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return encode(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
