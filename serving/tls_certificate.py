"""A TLS certificate and its key, read again when another program renews them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.errors import SettingsError
from orchard.files import WatchedFile

__all__ = ["CertificatePair", "TlsCertificate", "read_pair"]


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """A certificate chain and its key that belong together.

    Attributes:
        context: for a socket that listens.
        certificate: the chain (PEM).
        key: the key (PEM).
    """

    context: ssl.SSLContext
    certificate: bytes
    key: bytes


class TlsCertificate:
    """A certificate and its key, for REST and gRPC.

    Each handshake takes the files as they are then; connections that are open keep theirs. While the files are missing,
    broken, or do not belong together (one of the two is written first), the pair before is used.

    Args:
        certificate: the file of the certificate chain (PEM).
        key: the file of its private key (PEM).
        report: called with what is wrong with the files, once.

    Raises:
        SettingsError: the files are not a valid certificate and its key.
    """

    def __init__(self, certificate: Path, key: Path, report: Callable[[str], None]) -> None:
        self._files = WatchedFile(certificate, lambda path: read_pair(path, key), beside=(key,), report=report)
        self._sent_to_grpc: CertificatePair | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context of a listening socket: every handshake continues with the current certificate."""
        context = self._files.current().context

        def choose(connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
            connection.context = self._files.current().context

        context.sni_callback = choose  # called for clients that send no server name too
        return context

    def grpc_credentials(self) -> Any:
        """Return gRPC's credentials of a listening port: every handshake takes the current certificate."""
        import grpc  # type: ignore[import-untyped]  # slow, and only gRPC needs it

        def fetch() -> Any:
            pair = self._files.current()
            if pair is self._sent_to_grpc:
                return None  # unchanged
            self._sent_to_grpc = pair
            return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)])

        return grpc.dynamic_ssl_server_credentials(fetch(), fetch)


def read_pair(certificate: Path, key: Path) -> CertificatePair:
    """Read a certificate and its key. TLS 1.2 is the least version.

    Args:
        certificate: the file of the certificate chain (PEM).
        key: the file of its private key (PEM).

    Raises:
        SettingsError: the files are not a valid certificate and its key.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
        return CertificatePair(context, certificate.read_bytes(), key.read_bytes())
    except (OSError, ssl.SSLError, ValueError) as error:
        raise SettingsError(
            f"{certificate} and {key} are not a valid certificate and its key: {error}",
            hint="both are PEM; the key is not encrypted and belongs to the first certificate of the chain",
        ) from error


def _refuse_password() -> str:
    """Without this, OpenSSL would wait at the terminal for the password of an encrypted key."""
    raise ValueError("the key is encrypted")
