"""Signatures of webhooks, in the form of Standard Webhooks 1.0 (https://www.standardwebhooks.com, "Signature scheme").

A POST has three headers: `webhook-id`, the event's id; `webhook-timestamp`, the time of the attempt in seconds since 1970;
`webhook-signature`, ``v1,<base64>`` for each secret, with spaces between. What is signed by HMAC-SHA256 is
``<id>.<timestamp>.<body>``. A secret is written ``whsec_`` and the base64 of 24 to 64 random bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from orchard.errors import SettingsError

__all__ = ["read_secrets", "sign_message"]

PREFIX = "whsec_"
_HINT = (
    "a line of it is a secret; this writes one: python -c 'import base64, secrets; "
    'print("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())\' > FILE'
)


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Return the secrets of a file, one a line; empty lines and lines that begin with # are skipped.

    Several sign every message, so that a receiver can change from one to the other without a gap.

    Raises:
        SettingsError: the file cannot be read, has no secret, or one that is not valid. The message names no secret.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text in UTF-8"
        raise SettingsError(f"the secret file {path} cannot be read: {reason}", hint=_HINT) from None
    secrets = [_decode(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    if not secrets or None in secrets:
        what = (
            "line is not a secret: expected whsec_ and the base64 of 24 to 64 bytes" if secrets else "secret is in it"
        )
        raise SettingsError(f"the secret file {path} is invalid: {'a' if secrets else 'no'} {what}", hint=_HINT)
    return tuple(secret for secret in secrets if secret)


def _decode(line: str) -> bytes | None:
    try:
        key = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if line.startswith(PREFIX) and 24 <= len(key) <= 64 else None


def sign_message(event_id: str, timestamp: int, body: bytes, secrets: Iterable[bytes]) -> dict[str, str]:
    """Return the headers of a message.

    Args:
        event_id: the event's id, the same in every attempt; without a full stop.
        timestamp: the time of this attempt, in seconds since 1970.
        body: the bytes that are sent.
        secrets: the keys, at least 24 bytes each; none: the message has no signature.
    """
    content = b".".join([event_id.encode("ascii"), str(timestamp).encode("ascii"), body])
    macs = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode("ascii") for key in secrets]
    headers = {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
    return {**headers, "webhook-signature": " ".join(f"v1,{mac}" for mac in macs)} if macs else headers
