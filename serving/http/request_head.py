"""The head of a request: header names, the request target, and an offer of another protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["REQUEST_ID", "header_name", "is_valid_host", "split_target", "without_upgrade"]

_FREQUENT_HEADERS = ("Host", "User-Agent", "Accept", "Accept-Encoding", "Connection", "Content-Type", "Content-Length")
_HEADER_NAMES = {
    form.encode(): name.lower()
    for name in (*_FREQUENT_HEADERS, "Authorization", "X-Request-Id", "Traceparent")
    for form in (name, name.lower())
}
"""The lower-case names of the most frequent headers, by the usual spellings."""
_UPGRADE_HEADERS = {"upgrade", "connection", "http2-settings"}
_ABSOLUTE = re.compile(r"https?://(?:[^/?#@]*@)?([^/?#@]+)(.*)", re.IGNORECASE | re.DOTALL)
REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
"""A client's request id that is taken over."""
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::\d*)?")


def header_name(name: bytes) -> str:
    """Return the lower-case name of a header."""
    return _HEADER_NAMES.get(name) or name.decode("latin-1").lower()


def is_valid_host(value: str) -> bool:
    """Whether the value of a Host header is a host with or without a port; it may be empty."""
    return _HOST.fullmatch(value) is not None


def split_target(target: str, method: str) -> tuple[str, str | None]:
    """Return path and query of a request target (RFC 9112, 3.2); the query is None if there is no question mark.

    A client that takes this server for a proxy sends the absolute form. Its path and query count; its authority is not
    compared with anything, as the value of Host is not.
    """
    if not target.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute:
            rest = absolute[2]
            if not rest and method == "OPTIONS":
                return "*", None
            target = rest if rest.startswith("/") else "/" + rest
    path, mark, query = target.partition("?")
    return path, query if mark else None


def without_upgrade(method: bytes, url: bytes, version: str, headers: Mapping[str, str], *, keep_alive: bool) -> bytes:
    """Return the head of a request without its offer of another protocol."""
    kept = {name: value for name, value in headers.items() if name not in _UPGRADE_HEADERS}
    kept["connection"] = "keep-alive" if keep_alive else "close"
    lines = [f"{name}: {value}".encode("latin-1") for name, value in kept.items()]
    return b"\r\n".join([method + b" " + url + b" HTTP/" + version.encode(), *lines, b"", b""])
