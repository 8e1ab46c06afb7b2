"""JSON that means the same to everyone: one canonical form to hash and sign, and a strict way to read it back.

What comes out of the store was written by somebody else, perhaps by nobody we trust: it is bounded in size, has no
NaN, no doubled name and no field that its dataclass does not have.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from orchard.errors import DataError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import TypeAdapter

__all__ = ["FORMAT", "MAX_BYTES", "STRICT", "canonical_json", "decode", "digest", "encode", "parse", "sha256_hex"]

FORMAT = 1
"""The version of every document's form. A reader refuses any other."""

MAX_BYTES = 1 << 20
"""No document is larger: a commit is one small request."""

STRICT: dict[str, Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""What a dataclass that `decode` reads sets as its ``__pydantic_config__``."""

T = TypeVar("T")


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
    """Return the SHA-256 of the document's canonical JSON: it names the content exactly."""
    return sha256_hex(canonical_json(document))


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def parse(body: bytes, what: str, *, limit: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON object strictly.

    Args:
        body: UTF-8 bytes.
        what: what the document is and where it lies, for messages.
        limit: more bytes than this are refused unread.

    Raises:
        IntegrityError: too large, not UTF-8, not JSON, a NaN, a doubled name, or not an object.
    """
    if len(body) > limit:
        raise IntegrityError(f"{what} has {len(body)} bytes; at most {limit} are read")
    try:
        found = json.loads(
            body.decode("utf-8"), object_pairs_hook=_no_doubles, parse_constant=_no_constant, parse_float=_finite
        )
        if isinstance(found, dict):
            canonical_json(found)  # lone surrogates can be written as \ud800 and are no text
    except (ValueError, RecursionError, DataError) as error:
        raise IntegrityError(f"{what} is not JSON as it must be: {error}") from error
    if not isinstance(found, dict):
        raise IntegrityError(f"{what} is a JSON {type(found).__name__}; expected an object")
    return found


@lru_cache(maxsize=32)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # takes 100 ms; only who reads documents waits for it

    return TypeAdapter(kind)


def decode(kind: type[T], document: Mapping[str, Any], what: str) -> T:
    """Make a frozen dataclass of a parsed document.

    Args:
        kind: a dataclass whose ``__pydantic_config__`` is `STRICT`, as are those inside it.
        document: what `parse` or `orchard.signing.verify` gave.
        what: what it is, for messages.

    Raises:
        IntegrityError: naming every field that is missing, unknown or of the wrong type; an unknown format before all.
    """
    from pydantic import ValidationError

    known = {field.name for field in fields(kind)} if is_dataclass(kind) else set()
    if "format" in known and (document.get("format") != FORMAT or type(document.get("format")) is not int):
        raise IntegrityError(
            f"{what} has format {document.get('format')!r}; this version of Orchard reads format {FORMAT}",
            hint="was it written by a newer Orchard? upgrade this one",
        )
    try:
        found: T = _adapter(cast("Any", kind)).validate_json(canonical_json(document))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc'])) or 'document'}: {item['msg']}" for item in error.errors()[:8]]
        raise IntegrityError(f"{what} is not what it must be: {'; '.join(lines)}") from error
    return found


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
