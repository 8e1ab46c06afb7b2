"""Who may use the console: holders of a bearer token, and users whose name a trusted proxy sends.

A browser sends the token once, in the log-in form. After that it sends a cookie: the time at which the session ends, and an
HMAC of it whose key is the token's digest. So every process with the same file of tokens accepts it, nothing is kept in
memory, and a token that is removed from the file ends its sessions.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from orchard.errors import SettingsError
from serving.tokens import BearerTokens

__all__ = ["COOKIE", "SESSION_S", "UNNAMED", "AccessControl", "TrustedProxy", "networks_of"]

COOKIE = "orchard-console"
SESSION_S = 12 * 3600
"""How long a session lasts, in seconds."""

_ANYBODY, _TOKEN = "anybody", "token"
UNNAMED = (_ANYBODY, _TOKEN)
"""What `AccessControl.user` returns for people whose name nobody knows."""

_MESSAGE = b"orchard console session until "
_MAX_USER = 200


def networks_of(names: Sequence[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Read the option ``--trusted-proxy``. Raises `SettingsError`: one is not a network."""
    try:
        return tuple(ipaddress.ip_network(name) for name in names)
    except ValueError as error:
        raise SettingsError(
            f"--trusted-proxy: {error}", hint="expected an address or a network, such as 10.0.0.0/8"
        ) from error


@dataclass(frozen=True, slots=True)
class TrustedProxy:
    """A proxy that has authenticated the user.

    Attributes:
        header: the request header that has the user's name; the proxy removes it from what clients send.
        networks: the addresses that the proxy connects from; the header of anybody else is ignored.
    """

    header: str
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    @classmethod
    def of(cls, header: str, networks: Sequence[str]) -> TrustedProxy:
        """Read the options. Raises `SettingsError`: a network is invalid."""
        return cls(header, networks_of(networks))

    def user(self, request: Request) -> str | None:
        """Return the user whom the proxy names; None: it names none, or the request is not from it."""
        try:
            address = ipaddress.ip_address(request.client.host if request.client else "")
        except ValueError:
            return None
        named = request.headers.getlist(self.header)
        if len(named) != 1 or not any(address in network for network in self.networks):
            return None
        return named[0].strip()[:_MAX_USER] or None


class AccessControl:
    """Decides who may use the console.

    Args:
        tokens: the accepted bearer tokens; None: there are none.
        proxy: the proxy that is trusted to name users; None: none is.
    """

    def __init__(self, tokens: BearerTokens | None, proxy: TrustedProxy | None) -> None:
        self._tokens = tokens
        self._proxy = proxy

    @property
    def is_open(self) -> bool:
        """Whether everybody may use the console."""
        return self._tokens is None and self._proxy is None

    @property
    def takes_tokens(self) -> bool:
        """Whether the log-in form is of use."""
        return self._tokens is not None

    def user(self, request: Request) -> str | None:
        """Return who sent a request (a name, or `token`); None: somebody who may not use the console."""
        if self.is_open:
            return _ANYBODY
        if self._proxy is not None and (named := self._proxy.user(request)):
            return named
        if self._tokens is not None and (
            self._tokens.allow(request.headers.get("authorization", ""))
            or self._is_session(request.cookies.get(COOKIE, ""))
        ):
            return _TOKEN
        return None

    def begin_session(self, token: str) -> str | None:
        """Return the cookie of a new session; None: the token is not accepted."""
        if self._tokens is None or not self._tokens.allow(f"Bearer {token}"):
            return None
        end = str(int(time.time()) + SESSION_S)
        return f"{end}.{_sign(hashlib.sha256(token.encode('utf-8', 'replace')).digest(), end)}"

    def _is_session(self, cookie: str) -> bool:
        end, _, signature = cookie.partition(".")
        if self._tokens is None or not (end.isdecimal() and end.isascii() and len(end) < 16) or int(end) < time.time():
            return False
        found = signature.encode("utf-8", "replace")
        return any(hmac.compare_digest(_sign(key, end).encode(), found) for key in self._tokens.digests())


def _sign(key: bytes, end: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, _MESSAGE + end.encode(), "sha256")).decode()
