"""The keys of a store: an AWS-style credentials file, read again when it changes."""

from __future__ import annotations

import configparser
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchard.errors import SettingsError
from orchard.files import WatchedFile

__all__ = ["CREDENTIALS_TTL", "check_environment", "credential_provider", "read_credentials"]

_LOG = logging.getLogger(__name__)

CREDENTIALS_TTL = timedelta(seconds=20)
"""How long credentials are used before their file is examined again: a rotated key is in use after this time."""

_NAMES = {"access_key_id": "aws_access_key_id", "secret_access_key": "aws_secret_access_key"}
_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_FORM = (
    "expected, as the AWS command line writes it: [{profile}], then aws_access_key_id = … and aws_secret_access_key = …, "
    "a line each, without quotes; the embedded store writes one (`orchard store env` names it), "
    "`aws configure --profile {profile}` another"
)


def read_credentials(path: Path, profile: str) -> dict[str, str | None]:
    """Read an AWS-style credentials file.

    Args:
        path: the file.
        profile: the section to read.

    Returns:
        ``access_key_id``, ``secret_access_key`` and ``token``, which may be None.

    Raises:
        SettingsError: the file cannot be read, has no such section, or a key in it is missing or cannot be right.
    """
    hint = _FORM.format(profile=profile)
    parser = configparser.ConfigParser(interpolation=None, default_section="")  # [default] is a profile like others
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))  # Windows' editors begin a file with a mark
    except OSError as error:
        raise SettingsError(f"ORCHARD_STORE_CREDENTIALS_FILE cannot be read: {error}", hint=hint) from error
    except (configparser.Error, UnicodeDecodeError) as error:  # without the text: it may hold the secret
        raise SettingsError(
            f"ORCHARD_STORE_CREDENTIALS_FILE: {path} is not a credentials file ({type(error).__name__})", hint=hint
        ) from None
    if profile not in parser:
        found = ", ".join(parser.sections()) or "none"
        raise SettingsError(
            f"{path} is not a credentials file with the profile [{profile}]; its profiles: {found}",
            hint=f"ORCHARD_STORE_PROFILE selects the profile; {hint}",
        )
    section = parser[profile]
    keys = {name: section.get(option, "") for name, option in _NAMES.items()}
    token = section.get("aws_session_token", "")
    if missing := [_NAMES[name] for name, value in keys.items() if not value]:
        raise SettingsError(f"the profile [{profile}] in {path} lacks {' and '.join(missing)}", hint=hint)
    for option, value in {**{_NAMES[name]: value for name, value in keys.items()}, "aws_session_token": token}.items():
        if flaw := _flaw(value):
            raise SettingsError(f"{option} of the profile [{profile}] in {path} {flaw}", hint=hint)
    return {**keys, "token": token or None}


def _flaw(value: str) -> str:
    """Return why a value cannot be a key, as the end of "it …"; empty if it can."""
    if value[:1] in ('"', "'", "“"):
        return "is in quotes, which would belong to it"
    if any(letter.isspace() for letter in value):
        return "has white space in it"
    return "" if (value.isascii() and value.isprintable()) or not value else "has a letter that no key has"


def check_environment() -> None:
    """Check AWS's own variables, which are used where no file is set: both halves of a key, or none.

    Raises:
        SettingsError: one is missing.
    """
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if len(missing) == 1:
        (other,) = set(_VARIABLES) - set(missing)
        raise SettingsError(
            f"there are no credentials: {other} is set, and {missing[0]} is not",
            hint="set both or none of them; ORCHARD_STORE_CREDENTIALS_FILE names a file with both and is read first",
        )


def credential_provider(path: Path, profile: str) -> Callable[[], dict[str, Any]]:
    """Return a provider of the keys in a file, so that a rotated key needs no restart.

    While the file cannot be read, for example because another program writes it, the keys before stay in use.

    Raises:
        SettingsError: the file is invalid now.
    """
    file = WatchedFile(path, lambda found: read_credentials(found, profile), report=_LOG.warning)
    return lambda: {**file.current(), "expires_at": datetime.now(UTC) + CREDENTIALS_TTL}
