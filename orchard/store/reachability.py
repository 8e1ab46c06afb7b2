"""Questions to a store's address after a request failed: is there a proxy, TLS, a server, another region?"""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from orchard.loopback import is_loopback
from orchard.settings import Settings
from orchard.store.clouds import AZURE, GCS, account_of, bucket_of, cloud_of

if TYPE_CHECKING:
    from obstore.store import ClientConfig

__all__ = ["StoreAddress", "address_of", "direct_options"]

_SECONDS = 2.0
"""The longest time of a question. It is asked once, after the retries of the request itself."""


def direct_options(endpoint: str | None) -> ClientConfig:
    """Return the client's options that let no proxy of the environment be between this machine and itself.

    The client has no option "without proxy": it gets one that nothing uses.
    """
    host = urlsplit(endpoint).hostname if endpoint else None
    return {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": str(host)} if is_loopback(host) else {}


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where requests to a bucket go.

    Attributes:
        url: the address of the requests, without the bucket's folder.
        bucket: the bucket; empty: its name is in the host.
    """

    url: SplitResult
    bucket: str = ""

    @property
    def host(self) -> str:
        """The host's name or address."""
        return self.url.hostname or ""

    @property
    def port(self) -> int:
        """The port."""
        return self.url.port or (443 if self.url.scheme == "https" else 80)

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def proxy(self) -> str:
        """Return the proxy between, as ``http://HOST:PORT (HTTP_PROXY)`` without its password; empty: none."""
        if is_loopback(self.host) or urllib.request.proxy_bypass(self.host):
            return ""
        found = urllib.request.getproxies_environment()
        for name in (self.url.scheme, "all"):
            if name in found:
                return f"{found[name].rsplit('@')[-1].removeprefix('http://').rstrip('/')} ({name.upper()}_PROXY)"
        return ""

    def accepts(self) -> bool:
        """Whether a connection can be made."""
        with suppress(OSError):
            socket.create_connection((self.host, self.port), timeout=_SECONDS).close()
            return True
        return False

    def speaks_tls(self) -> bool:
        """Whether the server completes a TLS handshake. Nothing is sent, so its certificate is not examined."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=_SECONDS) as plain:
            context.wrap_socket(plain, server_hostname=self.host).close()
            return True
        return False

    def region(self) -> str:
        """Return the bucket's region as the store names it to anybody; empty: it names none."""

        class NoRedirects(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *args: object) -> None:
                return None

        proxies = urllib.request.ProxyHandler({} if is_loopback(self.host) else None)
        request = urllib.request.Request(f"{self.url.geturl().rstrip('/')}/{self.bucket}", method="HEAD")  # noqa: S310
        try:
            with urllib.request.build_opener(NoRedirects, proxies).open(request, timeout=_SECONDS) as answer:
                found = answer.headers.get("x-amz-bucket-region")
        except urllib.error.HTTPError as answer:
            found = answer.headers.get("x-amz-bucket-region")
            answer.close()
        except (OSError, ValueError):
            return ""
        return found if found and found.replace("-", "").isalnum() else ""


def address_of(settings: Settings) -> StoreAddress:
    """Return where requests to the settings' bucket go."""
    bucket, cloud = bucket_of(settings), cloud_of(settings)
    if settings.store_endpoint is not None:
        return StoreAddress(urlsplit(settings.store_endpoint), bucket)
    if cloud is GCS:
        return StoreAddress(urlsplit("https://storage.googleapis.com"), bucket)
    if cloud is AZURE:
        return StoreAddress(urlsplit(f"https://{account_of(settings)}.blob.core.windows.net"), bucket)
    return StoreAddress(urlsplit(f"https://{bucket}.s3.{settings.store_region}.amazonaws.com"))
