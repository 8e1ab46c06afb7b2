"""Every error that Orchard raises on purpose.

Each says what happened, what was expected and what to do, and carries the exit code of the command that ends with it::

    OrchardError                 1   something failed; the base of all
    ├── SettingsError            3   an ORCHARD_* variable is missing, unknown, malformed or contradicts another
    ├── ParamsError              3   params.yaml or data/schema.yaml has a typo, a wrong type or an impossible value
    ├── DataError                4   photos or a dataset were refused; nothing was written
    ├── GateRefused              5   the gate refused a model; its page says why
    ├── StoreError               6   the object store did not do what was asked
    │   ├── StoreUnavailable     6   it could not be reached, or kept failing after bounded retries
    │   ├── StoreDenied          6   it refused the credentials
    │   ├── ObjectNotFound       6   there is no such object
    │   ├── ObjectExists         7   `create` found an object there already
    │   └── ObjectChanged        7   `swap` found another object than the one that was read
    ├── ConflictError            7   somebody else changed the same thing first
    ├── IntegrityError           8   bytes, a signature or a digest are not what they must be
    ├── ServerError              9   the model server refused or did not answer
    └── MissingExtra            10   the program that the verb belongs to is not installed

Exit codes 2 (wrong command line) and 130 (interrupted) are the shell's usual ones.
"""

from __future__ import annotations

__all__ = [
    "DISTRIBUTION",
    "ConflictError",
    "DataError",
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
"""The name on the package index: `orchard` is somebody else's there."""


def install_hint(extra: str) -> str:
    """Return how the program of an extra is installed."""
    return f"install the program: pip install '{DISTRIBUTION}[{extra}]', or `make setup` in a checkout"


class OrchardError(Exception):
    """Something failed in a way that Orchard foresaw.

    Args:
        message: what happened and what was expected, in one or two sentences.
        hint: what to do about it, if there is one thing to do; often a command.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> str:
        """The error's name for programs, as `--json` prints it."""
        return type(self).__name__


class SettingsError(OrchardError):
    """An ORCHARD_* variable is missing, unknown, malformed or contradicts another."""

    exit_code = 3


class ParamsError(OrchardError):
    """params.yaml or data/schema.yaml has a typo, a wrong type or an impossible value."""

    exit_code = 3


class DataError(OrchardError):
    """Photos or a dataset were refused; nothing was written."""

    exit_code = 4


class GateRefused(OrchardError):
    """The gate refused a model; its page says why."""

    exit_code = 5


class StoreError(OrchardError):
    """The object store did not do what was asked."""

    exit_code = 6


class StoreUnavailable(StoreError):
    """The store could not be reached, or kept failing after bounded retries."""


class StoreDenied(StoreError):
    """The store refused the credentials."""


class ObjectNotFound(StoreError):
    """There is no such object."""


class ObjectExists(StoreError):
    """`create` found an object there already."""

    exit_code = 7


class ObjectChanged(StoreError):
    """`swap` found another object than the one that was read."""

    exit_code = 7


class ConflictError(OrchardError):
    """Somebody else changed the same thing first."""

    exit_code = 7


class IntegrityError(OrchardError):
    """Bytes, a signature or a digest are not what they must be."""

    exit_code = 8


class ServerError(OrchardError):
    """The model server refused a request or did not answer."""

    exit_code = 9


class MissingExtra(OrchardError):
    """The program that a verb belongs to is not installed."""

    exit_code = 10
