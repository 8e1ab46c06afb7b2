"""Bearer tokens, where only their holders may send requests."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path

from orchard.errors import SettingsError
from orchard.files import WatchedFile

__all__ = ["BearerTokens", "accepted_tokens", "first_token"]

_CHECK_S = 1.0
_MIN_LENGTH = 16
_HINT = (
    "expected a file that this user may read, with a token a line; "
    "python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > FILE writes one"
)


def _read_tokens(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text in UTF-8"
        raise SettingsError(f"the token file {path} cannot be read: {reason}", hint=_HINT) from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def accepted_tokens(path: Path) -> list[str]:
    """Return the tokens that a file lets in, one a line. Empty lines and lines that begin with # are skipped.

    Raises:
        SettingsError: the file cannot be read, has no token, or has one that is too short.
    """
    tokens = _read_tokens(path)
    if not tokens or min(map(len, tokens)) < _MIN_LENGTH:
        raise SettingsError(
            f"the token file {path} must contain tokens of at least {_MIN_LENGTH} characters, one a line"
            + ("" if tokens else "; it has none"),
            hint=_HINT,
        )
    return tokens


def first_token(path: Path) -> str:
    """Return the token that a client sends: the file's first one.

    Raises:
        SettingsError: the file cannot be read, or its first line is not a valid token.
    """
    tokens = _read_tokens(path)
    if not tokens or not tokens[0].isascii() or not tokens[0].isprintable():
        raise SettingsError(f"the first line of {path} is not a valid token", hint="ASCII, nothing else on the line")
    return tokens[0]


def _read_digests(path: Path) -> list[bytes]:
    return [hashlib.sha256(token.encode()).digest() for token in accepted_tokens(path)]


class BearerTokens:
    """The tokens in a file; the file is read again when it changes.

    Args:
        path: the file; see `accepted_tokens`.
        report: called once with the reason when the file cannot be used any more; the tokens before are still accepted.

    Raises:
        SettingsError: the file cannot be read, has no token, or has one that is too short.
    """

    def __init__(self, path: Path, report: Callable[[str], None] = lambda text: None) -> None:
        self._checked_at = time.monotonic()
        self._file = WatchedFile(path, _read_digests, report=report)
        self._digests = self._file.current()
        self._allowed = b""

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked_at < _CHECK_S:
            return
        self._checked_at = now
        digests = self._file.current()
        if digests is not self._digests:
            self._digests, self._allowed = digests, b""

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each accepted token."""
        self._refresh()
        return self._digests

    def allow(self, authorization: str) -> bool:
        """Whether an Authorization header contains one of the tokens."""
        self._refresh()
        header = authorization.encode("utf-8", "replace")
        if self._allowed and hmac.compare_digest(header, self._allowed):
            return True  # most requests have the header of the one before
        scheme, _, token = header.partition(b" ")
        token_digest = hashlib.sha256(token.strip()).digest()
        matches = [hmac.compare_digest(token_digest, digest) for digest in self._digests]
        if scheme.lower() != b"bearer" or not any(matches):
            return False
        self._allowed = header
        return True
