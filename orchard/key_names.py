"""The names that are parts of keys in the bucket: which are valid.

Names of models, datasets and channels are lower-case letters, digits and hyphens, so no key can leave its folder.
"""

from __future__ import annotations

import re
from datetime import date

from orchard.errors import DataError

__all__ = ["NAME", "RUN_ID", "is_name", "is_run_id", "require_day", "require_hex", "require_name", "require_run_id"]

NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""The pattern of names of models, datasets, channels and verbs."""

RUN_ID = r"^[A-Za-z0-9][A-Za-z0-9._:+-]{0,199}$"
"""The pattern of run ids."""

_NAME = re.compile(NAME)
_RUN = re.compile(RUN_ID)
_HEX = re.compile(r"[0-9a-f]+")


def is_name(name: str) -> bool:
    """Whether this is a valid name."""
    return _NAME.fullmatch(name) is not None


def require_name(name: str) -> str:
    """Return `name` if it is valid in a key. Raises `DataError` otherwise."""
    if not is_name(name):
        raise DataError(
            f"{name!r} is not a valid name: expected 1 to 63 lower-case letters, digits and hyphens, a letter or digit at both ends"
        )
    return name


def is_run_id(run_id: str) -> bool:
    """Whether this is a valid run id."""
    return _RUN.fullmatch(run_id) is not None


def require_run_id(run_id: str) -> str:
    """Return `run_id` if it is valid in a key. Raises `DataError` otherwise."""
    if not is_run_id(run_id):
        raise DataError(f"{run_id!r} is not a valid run id: expected up to 200 letters, digits and . _ : + -")
    return run_id


def require_hex(value: str, digits: int = 64) -> str:
    """Return `value` if it is that many lower-case hexadecimal digits. Raises `DataError` otherwise."""
    if len(value) != digits or not _HEX.fullmatch(value):
        what = "SHA-256" if digits == 64 else "id"
        raise DataError(f"{value!r} is not a valid {what}: expected {digits} lower-case hexadecimal digits")
    return value


def require_day(day: str) -> str:
    """Return `day` if it is a date, ``YYYY-MM-DD``. Raises `DataError` otherwise."""
    try:
        if date.fromisoformat(day).isoformat() == day:
            return day
    except ValueError:
        pass
    raise DataError(f"{day!r} is not a valid day: expected YYYY-MM-DD")
