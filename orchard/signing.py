"""Ed25519 signatures over documents: whoever has a key that readers trust may publish and promote.

A signed document is ``{"payload": {…}, "signature": {"key_id", "ed25519"}}``. The signature is over the payload's
canonical JSON, so it stays valid when the file is formatted in another way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from orchard.disk import writing_to
from orchard.documents import canonical_json, parse
from orchard.errors import DataError, IntegrityError, SettingsError

__all__ = [
    "PRIVATE_NAME",
    "PUBLIC_NAME",
    "KeyPair",
    "SigningKey",
    "TrustedKeys",
    "create_pair",
    "load_key",
    "load_trusted",
    "read_signed",
    "sign",
    "verify",
]

PRIVATE_NAME = "signing-key.pem"
PUBLIC_NAME = "trusted-keys.pem"
_PAIR = (
    f"`orchard keys create DIR` creates a pair: {PRIVATE_NAME} signs (ORCHARD_SIGNING_KEY_FILE, PEM, without a password), "
    f"{PUBLIC_NAME} is trusted (ORCHARD_TRUSTED_KEYS_FILE)"
)
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)


def _key_id(public: Ed25519PublicKey) -> str:
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys whose signatures are accepted, by key id."""

    keys: Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that signs."""

    private: Ed25519PrivateKey

    @property
    def key_id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the raw public half."""
        return _key_id(self.private.public_key())

    @property
    def trusted(self) -> TrustedKeys:
        """Only this key, as trusted keys."""
        return TrustedKeys({self.key_id: self.private.public_key()})


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The files of a key pair, its id, and whether this call created it."""

    private: Path
    public: Path
    key_id: str
    created: bool


def create_pair(folder: Path) -> KeyPair:
    """Create a key pair in `folder` unless there is one: `PRIVATE_NAME` (only its owner may read it) and `PUBLIC_NAME`.

    Raises:
        DataError: one of the two files is missing, or they do not belong together; nothing was changed.
        SettingsError: a file is not a valid key.
    """
    private, public = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    existing = [path for path in (private, public) if path.exists()]
    if len(existing) == 1:
        raise DataError(
            f"{existing[0]} is half of a key pair; the other half is missing",
            hint="restore it from the backup, or move this half away and run again for a new pair",
        )
    if existing:
        key = load_key(private)
        if key.key_id not in load_trusted(public).keys:
            raise DataError(
                f"{public} does not hold the public half of {private}",
                hint="restore both from the same backup, or move both away and run again",
            )
        return KeyPair(private, public, key.key_id, created=False)
    folder.mkdir(parents=True, exist_ok=True)
    new_key = Ed25519PrivateKey.generate()
    private_pem = new_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public_pem = new_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write_new(private, private_pem, 0o600)
    try:
        _write_new(public, public_pem, 0o644)
    except BaseException:  # half a pair is worse than none
        private.unlink(missing_ok=True)
        raise
    return KeyPair(private, public, _key_id(new_key.public_key()), created=True)


def _write_new(path: Path, body: bytes, mode: int) -> None:
    with writing_to(path.parent):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _read(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{variable} cannot be read: {error}",
            hint="this user must be able to read the file; `orchard keys create DIR` creates a key pair",
        ) from error


def load_key(path: Path) -> SigningKey:
    """Load the private key (PEM) that signs.

    Raises:
        SettingsError: the file cannot be read, or is not an unencrypted Ed25519 private key.
    """
    body = _read(path, "ORCHARD_SIGNING_KEY_FILE")
    try:
        key = serialization.load_pem_private_key(body, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise SettingsError(
            f"ORCHARD_SIGNING_KEY_FILE: {path} is not a valid private key: {error}", hint=_PAIR
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            f"ORCHARD_SIGNING_KEY_FILE: {path} has another kind of key; expected an Ed25519 private key", hint=_PAIR
        )
    return SigningKey(key)


def load_trusted(path: Path) -> TrustedKeys:
    """Load the trusted public keys: one file, one or more PEM blocks.

    Raises:
        SettingsError: the file cannot be read, is empty, or a block in it is not an Ed25519 public key.
    """
    body = _read(path, "ORCHARD_TRUSTED_KEYS_FILE")
    keys: dict[str, Ed25519PublicKey] = {}
    for block in _PEM.finditer(body):
        if block[1] != b"PUBLIC KEY":
            raise SettingsError(
                f"ORCHARD_TRUSTED_KEYS_FILE: {path} has a {block[1].decode()} block; expected PUBLIC KEY blocks only",
                hint=f"the file to trust is {PUBLIC_NAME}, not {PRIVATE_NAME}",
            )
        try:
            key = serialization.load_pem_public_key(block[0])
        except ValueError as error:
            raise SettingsError(
                f"ORCHARD_TRUSTED_KEYS_FILE: {path} has a block that is not a valid public key: {error}", hint=_PAIR
            ) from error
        if not isinstance(key, Ed25519PublicKey):
            raise SettingsError(
                f"ORCHARD_TRUSTED_KEYS_FILE: {path} has another kind of key; expected Ed25519 public keys", hint=_PAIR
            )
        keys[_key_id(key)] = key
    if not keys:
        found = "has no PEM public key" + ("" if body.strip() else ": it is empty")
        raise SettingsError(f"ORCHARD_TRUSTED_KEYS_FILE: {path} {found}", hint=_PAIR)
    return TrustedKeys(keys)


def sign(payload: Mapping[str, Any], key: SigningKey) -> dict[str, Any]:
    """Return the signed document of `payload`. Ed25519 is deterministic: the same payload gives the same document."""
    signature = key.private.sign(canonical_json(payload))
    return {
        "payload": dict(payload),
        "signature": {"key_id": key.key_id, "ed25519": base64.b64encode(signature).decode("ascii")},
    }


def verify(document: Mapping[str, Any], trusted: TrustedKeys, what: str) -> dict[str, Any]:
    """Return the payload of a signed document.

    Args:
        document: a parsed document, not trusted yet.
        trusted: the trusted keys.
        what: the document's name or key, for messages.

    Raises:
        IntegrityError: it is unsigned, signed by a key that is not trusted, or the signature is wrong.
    """
    payload, signature = document.get("payload"), document.get("signature")
    if not isinstance(payload, dict) or not isinstance(signature, dict) or set(document) != {"payload", "signature"}:
        raise IntegrityError(f"{what} is unsigned; only signed documents are trusted")
    key_id, encoded = signature.get("key_id"), signature.get("ed25519")
    if not isinstance(key_id, str) or not isinstance(encoded, str) or set(signature) != {"key_id", "ed25519"}:
        raise IntegrityError(f"{what} is unsigned: its signature needs the fields key_id and ed25519, and no others")
    key = trusted.keys.get(key_id)
    if key is None:
        raise IntegrityError(
            f"{what} is signed by the unknown key {key_id!r}; trusted are {', '.join(sorted(trusted.keys)) or 'none'}",
            hint="if that key is yours, add its public key to ORCHARD_TRUSTED_KEYS_FILE",
        )
    try:
        key.verify(base64.b64decode(encoded, validate=True), canonical_json(payload))
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise IntegrityError(f"{what} has a wrong signature: it was changed after key {key_id} signed it") from error
    return payload


def read_signed(body: bytes, trusted: TrustedKeys, what: str) -> dict[str, Any]:
    """Parse and verify the bytes of a signed document; returns its payload. Raises `IntegrityError`."""
    return verify(parse(body, what), trusted, what)
