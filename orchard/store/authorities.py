"""The certificate authorities that are trusted for a store, besides the system's."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from orchard.errors import SettingsError
from orchard.settings import PREFIX, Settings

__all__ = ["VARIABLES", "AuthorityFile", "authority_file", "read_authorities"]

VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""The variables of other programs that name such a file; the first that is set is used, after ORCHARD_STORE_CA_FILE."""

_BEGIN = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class AuthorityFile:
    """A PEM file of certificate authorities, and the variable that names it."""

    path: Path
    variable: str


def authority_file(settings: Settings) -> AuthorityFile | None:
    """Return the file whose authorities are trusted for the settings' store; None: only the system's, or no TLS."""
    if settings.store_endpoint is not None and not settings.store_endpoint.startswith("https://"):
        return None
    if settings.store_ca_file is not None:
        return AuthorityFile(settings.store_ca_file, f"{PREFIX}STORE_CA_FILE")
    for variable in VARIABLES:
        if value := os.environ.get(variable, "").strip():
            return AuthorityFile(Path(value), variable)
    return None


def read_authorities(file: AuthorityFile) -> bytes:
    """Read a file of one or more certificates in PEM form.

    Raises:
        SettingsError: the file cannot be read, or has no certificate, or one that is damaged.
    """
    try:
        body = file.path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{file.variable} cannot be read: {error}",
            hint="name the PEM file of the authority that signed the store's certificate (a folder is not accepted), "
            "or unset it",
        ) from error
    if _BEGIN not in body:
        raise SettingsError(f"{file.variable}: {file.path} has no certificate in PEM form", hint=_advice(file, body))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata="".join(part.decode("ascii") for part in _certificates(body))
        )
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(
            f"{file.variable}: a certificate in {file.path} is damaged: {error}",
            hint=f"`openssl crl2pkcs7 -nocrl -certfile {file.path} | openssl pkcs7 -print_certs -noout` lists the sound ones",
        ) from error
    return body


def _certificates(body: bytes) -> list[bytes]:
    end = _BEGIN.replace(b"BEGIN", b"END")
    return [_BEGIN + part.partition(end)[0] + end + b"\n" for part in body.split(_BEGIN)[1:]]


def _advice(file: AuthorityFile, body: bytes) -> str:
    if b"PRIVATE KEY" in body:
        return "it has a private key: name the certificate of the authority, and keep that key away from clients"
    if body[:1] == b"\x30":  # an ASN.1 sequence
        return f"it is in DER form: openssl x509 -inform der -in {file.path} -out ca.pem, then name ca.pem"
    return "expected one or more blocks that begin with -----BEGIN CERTIFICATE-----"
