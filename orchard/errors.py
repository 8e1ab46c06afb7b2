"""Every error that Orchard raises on purpose.

Each names what happened, what was expected and what to do, and has the exit code of the command::

    OrchardError                 1   something failed; the base of all
    ├── SettingsError            3   an ORCHARD_* variable is missing, unknown, malformed or contradicts another
    ├── ParamsError              3   params.yaml or data/schema.yaml has a typo, a wrong type or an impossible value
    ├── DataError                4   photos, a dataset or an argument is invalid; nothing was written
    ├── DiskError                1   a folder cannot be written: it is full, read-only or somebody else's
    ├── GateRefused              5   the gate refused a model; its page says why
    ├── StoreError               6   the object store refused or failed a request
    │   ├── StoreUnavailable     6   it was not reachable, or failed after bounded retries
    │   ├── StoreDenied          6   it refused the credentials, their signature, time or rights
    │   ├── ObjectNotFound       6   the object does not exist
    │   ├── ObjectExists         7   `create`: the object exists already
    │   └── ObjectChanged        7   `swap`: the object is not the one that was read
    ├── ConflictError            7   another program changed the same thing first
    ├── IntegrityError           8   bytes, a document, a signature or a digest is invalid
    ├── ServerError              9   the model server refused or did not answer
    ├── MissingExtra            10   the program of the verb is not installed
    └── DeliveryError           11   a webhook receiver did not get its events, which were given up

Exit codes 2 (wrong command line) and 130 (interrupted) are the shell's usual ones.
"""

from __future__ import annotations

__all__ = [
    "DISTRIBUTION",
    "ConflictError",
    "DataError",
    "DeliveryError",
    "DiskError",
    "GateRefused",
    "IntegrityError",
    "MissingExtra",
    "ObjectChanged",
    "ObjectExists",
    "ObjectNotFound",
    "OrchardError",
    "ParamsError",
    "ServerError",
    "SettingsError",
    "StoreDenied",
    "StoreError",
    "StoreUnavailable",
    "install_hint",
]

DISTRIBUTION = "orchard-loop"
"""The name on the package index: there `orchard` belongs to another project."""


def install_hint(extra: str) -> str:
    """Return the hint that tells how to install the program of an extra."""
    return f"install the program: pip install '{DISTRIBUTION}[{extra}]', or `make setup` in a checkout"


class OrchardError(Exception):
    """An expected failure.

    Args:
        message: what happened and what was expected, in one or two sentences.
        hint: what to do, often a command; empty: unknown.
        exit_code: of the command, where a program that failed has chosen it; None: the class's.
    """

    exit_code = 1
    code = ""
    """The cause, for programs, where the kind has several."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    @property
    def kind(self) -> str:
        """The error's name in the JSON output."""
        return type(self).__name__


class SettingsError(OrchardError):
    """An ORCHARD_* variable is missing, unknown, malformed or contradicts another."""

    exit_code = 3


class ParamsError(OrchardError):
    """params.yaml or data/schema.yaml has a typo, a wrong type or an impossible value."""

    exit_code = 3


class DataError(OrchardError):
    """Photos, a dataset or an argument is invalid; nothing was written."""

    exit_code = 4


class DiskError(OrchardError):
    """A folder cannot be written: it is full, read-only or somebody else's."""


class GateRefused(OrchardError):
    """The gate refused a model; its page says why."""

    exit_code = 5


class StoreError(OrchardError):
    """The object store refused or failed a request.

    Args:
        message: as of every error.
        hint: as of every error.
        code: S3's own code, such as ``AccessDenied``, or why there was no answer, such as ``UnknownIssuer``; empty: unknown.
    """

    exit_code = 6

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class StoreUnavailable(StoreError):
    """The store was not reachable, or failed after bounded retries."""


class StoreDenied(StoreError):
    """The store refused the request's credentials, signature or time, or the rights of its key."""


class ObjectNotFound(StoreError):
    """The object does not exist."""


class ObjectExists(StoreError):
    """`create`: the object exists already."""

    exit_code = 7


class ObjectChanged(StoreError):
    """`swap`: the object is not the one that was read."""

    exit_code = 7


class ConflictError(OrchardError):
    """Another program changed the same thing first."""

    exit_code = 7


class IntegrityError(OrchardError):
    """Bytes, a document, a signature or a digest is invalid."""

    exit_code = 8


class ServerError(OrchardError):
    """The model server refused a request or did not answer."""

    exit_code = 9


class MissingExtra(OrchardError):
    """The program of a verb is not installed."""

    exit_code = 10


class DeliveryError(OrchardError):
    """A webhook receiver did not get its events, which were given up."""

    exit_code = 11
