"""Requests that a connection refuses by itself: by their syntax (RFC 9112) or by a limit."""

from __future__ import annotations

from collections.abc import Mapping

import httptools

from serving.http.http_messages import HttpLimits
from serving.http.request_head import is_valid_host

__all__ = ["SMALLER_BODIES", "refuse_body", "refuse_head", "refuse_syntax"]

Refusal = tuple[int, str]
"""An HTTP status and a message."""

_NOT_IMPLEMENTED = (b"CONNECT", b"TRACE")
_VERSIONS = ("1.1", "1.0")


SMALLER_BODIES = (
    'Send photos as they are (Content-Type: image/jpeg) or as bytes ({"b64": ...}) to a signature that decodes them, '
    "arrays by gRPC, or fewer rows in a request"
)
"""The ways around a limit of JSON, in which an array takes five times as many bytes as by gRPC."""


def refuse_syntax(error: httptools.HttpParserError) -> Refusal:
    """Return the refusal of what the parser cannot read."""
    text = str(error)
    if "HTTP version" in text or "PRI" in text:
        return 505, f"Malformed request: {text}: use HTTP/1.1"
    return 400, f"Malformed request: {text}"


def refuse_body(limits: HttpLimits) -> Refusal:
    """Return the refusal of a body that is too large."""
    return (
        413,
        f"The body is larger than {limits.body_bytes} bytes. {SMALLER_BODIES}, or raise orchard serve --max-body",
    )


def refuse_head(
    method: bytes, version: str, headers: Mapping[str, str], hosts: int, limits: HttpLimits
) -> Refusal | None:
    """Return why a request is refused before its body is read; None: it is not.

    Args:
        method: the method.
        version: the version of HTTP: 1.1.
        headers: the headers by lower-case name.
        hosts: the number of Host headers.
        limits: the limits of the connection.
    """
    if version not in _VERSIONS:
        return 505, f"HTTP/{version} is not supported: use HTTP/1.1"
    if hosts != 1 and (version == "1.1" or hosts):
        return 400, f"Malformed request: {hosts} Host headers, expected one"
    if hosts and not is_valid_host(headers["host"]):
        return 400, "Malformed request: the Host header is not a host and port"
    if method in _NOT_IMPLEMENTED:
        return 501, f"{method.decode()} is not implemented"
    if headers.get("content-encoding", "identity").lower() != "identity":
        return 415, "Content-Encoding is not supported: send the body uncompressed"
    if "transfer-encoding" in headers:
        if version == "1.0":
            return 400, "Malformed request: HTTP/1.0 has no Transfer-Encoding"
        if headers["transfer-encoding"].lower() != "chunked":
            return 501, "Transfer-Encoding other than chunked is not supported"
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length[:20]) > limits.body_bytes:
        return refuse_body(limits)
    if "expect" in headers and version == "1.1" and headers["expect"].lower() != "100-continue":
        return 417, "Expect other than 100-continue is not supported"
    return None
