"""Parses TF Serving's URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["EmptyError", "RequestTarget", "is_api_path", "parse_path"]

_POST = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_GET = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE | re.ASCII
)
_LARGEST = (1 << 63) - 1
_METHODS = {"classify", "regress", "predict"}


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """The target of a request.

    Attributes:
        model: the model's name.
        version: the version's number; None: the URL has none.
        label: the label; None: the URL has none.
        method: `predict`, `classify`, `regress`, `metadata` or `status`.
    """

    model: str
    version: int | None
    label: str | None
    method: str


class EmptyError(ServingError):
    """An error that TF Serving answers with an empty body."""


def is_api_path(path: str) -> bool:
    """Whether a path belongs to the API."""
    return path[:4].lower() == "/v1/"


def _unquote(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def _version(digits: str | None) -> int | None:
    if not digits:
        return None
    if int(digits[:20]) > _LARGEST or len(digits.lstrip("0")) > 19:
        raise EmptyError(StatusCode.INVALID_ARGUMENT, "")
    return int(digits)


def _malformed(http_method: str, path: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, f"Malformed request: {http_method} {path}")


@lru_cache(maxsize=64)
def parse_path(http_method: str, path: str) -> RequestTarget:
    """Parse a URL's path.

    Args:
        http_method: `GET` or `POST`; others are refused.
        path: the path as received, percent-encoded. With a query string: TF Serving matches both together, so that
            a request with one has another model or is malformed.

    Raises:
        ServingError: INVALID_ARGUMENT, in TF Serving's words.
    """
    pattern = {"POST": _POST, "GET": _GET}.get(http_method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise _malformed(http_method, path)
    model, digits, label, method = match.groups()
    version = _version(digits)
    if http_method == "POST" and method not in _METHODS:  # the verb is case-sensitive, the rest of the path is not
        raise _malformed(http_method, path)
    if not model:
        raise ServingError(StatusCode.INVALID_ARGUMENT, "Missing model name in request.")
    kind = method if http_method == "POST" else "metadata" if method == "metadata" else "status"
    return RequestTarget(_unquote(model), version, _unquote(label) if label else None, kind)
