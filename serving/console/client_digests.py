"""Who sends corrections, as a digest: enough to tell clients apart for a while, too little to name or to follow one.

The key of the digests is made at random, is in this process's memory alone, and is another one after `ROTATE_S`. So nobody
can find out an address from a digest that is stored, and digests of another time or another process cannot be compared.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from orchard.documents import sha256_hex

__all__ = ["ROTATE_S", "ClientDigest", "ClientDigests", "address_of"]

ROTATE_S = 30 * 86400.0
"""How long a key is used, in seconds."""

_FORWARDED = "x-forwarded-for"
_CLIENT_DIGITS, _SALT_DIGITS = 16, 8
_IPV6_NETWORK = 64
_MOST_HOPS = 16

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ClientDigest:
    """A client, and the key of its digest: both as hexadecimal digits."""

    client: str
    salt: str


class ClientDigests:
    """Makes digests of clients.

    Args:
        proxies: the networks of proxies whose ``X-Forwarded-For`` counts; the loopback's always does.
        clock: the time in seconds.
    """

    def __init__(self, proxies: Sequence[Network] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._proxies = proxies
        self._clock = clock
        self._lock = threading.Lock()
        self._key, self._until = b"", 0.0

    def of(self, request: Request, user: str | None = None) -> ClientDigest:
        """Return the digest of who sends a request.

        Args:
            request: the request.
            user: the person's name, if a proxy has authenticated one; None: the address counts.
        """
        name = f"user {user}" if user else f"address {address_of(request, self._proxies)}"
        with self._lock:
            if not self._key or self._clock() > self._until:
                self._key, self._until = secrets.token_bytes(32), self._clock() + ROTATE_S
            key = self._key
        client = hmac.digest(key, name.encode("utf-8", "replace"), "sha256").hex()[:_CLIENT_DIGITS]
        return ClientDigest(client, sha256_hex(key)[:_SALT_DIGITS])


def address_of(request: Request, proxies: Sequence[Network]) -> str:
    """Return the address that a request comes from; of IPv6 the network, of which one person has all addresses.

    Each proxy adds the address that it was reached from, so the last one that is no proxy's is the client's. What stands
    before it is whatever the client wrote.
    """
    hops = [item.strip() for value in request.headers.getlist(_FORWARDED) for item in value.split(",")]
    at = _parsed(request.client.host if request.client else "")
    for hop in reversed(hops[-_MOST_HOPS:]):
        if at is None or not _is_proxy(at, proxies) or (before := _parsed(hop)) is None:
            break
        at = before
    if isinstance(at, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((at, _IPV6_NETWORK), strict=False))
    return str(at)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_proxy(address: ipaddress.IPv4Address | ipaddress.IPv6Address, proxies: Sequence[Network]) -> bool:
    return address.is_loopback or any(address in network for network in proxies)
