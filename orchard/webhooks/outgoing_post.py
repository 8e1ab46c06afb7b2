"""One HTTP POST to an address that somebody wrote into a file: where it may go, and how long it may take.

- The host's name is resolved once. Every address that it has is checked, and the connection goes to the checked address,
  not to the name: a name that resolves to another address a moment later (DNS rebinding) changes nothing.
- An address of this machine, of a private network or of a cluster is refused, unless the receiver is said to be internal.
- No redirect is followed, and no proxy of the environment is used.
- The whole exchange has a time limit, however slowly the other side sends. Of the answer, the status and the header lines
  are read; the body is not.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

__all__ = ["PostLimits", "PostResult", "find_internal", "post_message"]

_PASSING = (408, 425, 429)
"""The statuses from 400 to 499 that the same request may not get again."""
_MAX_WAIT_S = 3600.0

_INTERNAL_NAMES = (".cluster.local", ".internal", ".local", ".localhost", ".svc")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class PostLimits:
    """The longest times in seconds: for a connection to one address, and for everything after the name's resolution."""

    connect_s: float = 5.0
    total_s: float = 15.0


@dataclass(frozen=True, slots=True)
class PostResult:
    """How a POST ended.

    Attributes:
        status: of the answer; None: there was none.
        problem: why it failed; empty: the answer was 200 to 299.
        remedy: what to do; empty: wait, or unknown.
        final: the same request would fail again, until somebody changes something.
        wait_s: how long the receiver wants to be left alone; 0: it did not say.
    """

    status: int | None = None
    problem: str = ""
    remedy: str = ""
    final: bool = False
    wait_s: float = 0.0


class _CheckedConnection(http.client.HTTPConnection):
    """A connection to one of some addresses, for the name of a host."""

    def __init__(self, url: SplitResult, addresses: list[str], limits: PostLimits) -> None:
        super().__init__(url.hostname or "", _port(url))
        self.default_port = 443 if url.scheme == "https" else 80  # which the header Host does not name
        self._addresses = addresses
        self._limits = limits
        self._tls = _tls_context() if url.scheme == "https" else None
        self._deadline = time.monotonic() + limits.total_s
        self._watchdog = threading.Timer(limits.total_s, self._end)
        self._watchdog.daemon = True
        self.expired = False

    def connect(self) -> None:
        """Connect to the first address that answers."""
        self._watchdog.start()
        for place, address in enumerate(self._addresses):
            left = max(self._deadline - time.monotonic(), 0.1)
            try:
                self.sock = socket.create_connection((address, self.port), min(self._limits.connect_s, left))
                break
            except OSError:
                if place == len(self._addresses) - 1:
                    raise
        self.sock.settimeout(self._limits.total_s)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock.do_handshake()

    def _end(self) -> None:
        """End the exchange from the watchdog's thread: what reads or writes there gets an error or an end."""
        self.expired = True
        with suppress(OSError, AttributeError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # of an SSLSocket: without changing its state

    def close(self) -> None:
        """Close the connection."""
        self._watchdog.cancel()
        super().close()


def _tls_context() -> ssl.SSLContext:
    """Trust the system's authorities, or those of SSL_CERT_FILE, and the ones that the REST client trusts."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH  # takes 40 ms to import

    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    # from 3.13 on Python refuses authorities without extensions that `openssl req -x509` leaves out; the store's client does not
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def post_message(
    url: str, body: bytes, headers: Mapping[str, str], *, internal: bool = False, limits: PostLimits | None = None
) -> PostResult:
    """Send a POST; see the module for what is refused. It raises no error of the network.

    Args:
        url: http(s)://HOST[:PORT][/PATH], checked by `orchard.webhooks.receivers`.
        body: the bytes.
        headers: besides Host and Content-Length.
        internal: the receiver may be on this machine, in a private network or in the cluster.
        limits: None: the defaults.
    """
    parts, limits = urlsplit(url), limits or PostLimits()
    try:
        addresses = _resolve(parts)
    except (OSError, UnicodeError) as error:
        return PostResult(problem=f"the host {parts.hostname} has no address: {_reason(error)}")
    if not internal and (why := _refuse(parts.hostname or "", addresses)):
        return PostResult(
            problem=f"{why}; nothing was sent",
            remedy="if it belongs to you, set `internal: true` for this receiver",
            final=True,
        )
    connection = _CheckedConnection(parts, addresses, limits)
    try:
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        connection.request("POST", target, body, {"connection": "close", **headers})
        answer = connection.getresponse()
        return _judge(answer.status, answer.headers.get("retry-after", ""))
    except (OSError, http.client.HTTPException, ValueError) as error:
        if connection.expired or isinstance(error, TimeoutError):
            return PostResult(problem=f"it did not answer within {limits.total_s:g} s")
        return PostResult(problem=f"no answer: {_reason(error)}", remedy=_remedy(error))
    finally:
        connection.close()


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _resolve(url: SplitResult) -> list[str]:
    found = socket.getaddrinfo(url.hostname, _port(url), type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def _refuse(host: str, addresses: list[str]) -> str:
    """Return why a POST may not go to a host; empty: it may."""
    name = host.rstrip(".").lower()
    if name.endswith(_INTERNAL_NAMES):
        return f"{host} is a name inside a network or a cluster"
    for address in addresses:
        if why := find_internal(address):
            return f"{host} is {'' if address == host else f'{address}, '}{why}"
    return ""


def find_internal(address: str) -> str:
    """Return what makes an address one of this machine, of a network or of a cluster; empty: it is in the open internet.

    Args:
        address: IPv4 or IPv6; an IPv6 address with an IPv4 address in it (mapped, NAT64, 6to4) is judged by that, too.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return _describe(ip)
    if ip.ipv4_mapped is not None:
        return _describe(ip.ipv4_mapped)
    inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.sixtofour
    return _describe(ip) or (_describe(inside) if inside else "")


def _describe(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if ip.is_loopback:
        return "a loopback address"
    if ip.is_link_local:
        return "a link-local address"
    site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return "not an address of the open internet" if site_local or ip.is_multicast or not ip.is_global else ""


def _judge(status: int, wait: str) -> PostResult:
    if 200 <= status < 300:
        return PostResult(status)
    wait_s = min(float(wait), _MAX_WAIT_S) if wait.isascii() and wait.isdecimal() else 0.0
    if 300 <= status < 400:
        remedy = "redirects are not followed: write the address that it redirects to"
        return PostResult(status, f"it answered {status}, a redirect", remedy, final=True)
    final = 400 <= status < 500 and status not in _PASSING
    remedy = {401: _AUTHENTICATION, 403: _AUTHENTICATION, 404: _ADDRESS, 410: _ADDRESS}.get(status, "")
    return PostResult(status, f"it answered {status}", remedy, final, wait_s)


_AUTHENTICATION = "has the receiver the same secret, and the right clock?"
_ADDRESS = "is the receiver's URL still right?"


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error)
    return " ".join(str(text).split())[:200] or type(error).__name__


def _remedy(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "SSL_CERT_FILE names the authorities of a network of your own"
    return "is it the port of https?" if isinstance(error, ssl.SSLError) else ""
