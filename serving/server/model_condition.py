"""What is wrong with a model, in sentences: what it is not ready for, what an operator should know, what is yet to come."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from serving.models_config import ModelConfig, Specific
from serving.server.base_path import BasePathListing
from serving.server.version_record import VersionRecord

__all__ = ["ModelCondition", "describe_condition"]

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ModelCondition:
    """The differences between what is configured, what is on the disk and what is loaded.

    Attributes:
        problems: why the model is not ready; none: it is.
        warnings: what differs although the model is ready.
        pending: what is about to change.
        logged: those of the problems and warnings that no other line of the log reports.
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    logged: tuple[str, ...] = ()


def describe_condition(
    config: ModelConfig,
    versions: Mapping[int, VersionRecord],
    listing: BasePathListing | None,
    desired: Collection[int],
) -> ModelCondition:
    """Compare a model's configuration with its versions.

    Args:
        config: the configuration.
        versions: the known versions by number.
        listing: the folders in its base path; None: they have not been examined since the configuration changed.
        desired: the versions that should be served.
    """
    answering = {number: version for number, version in versions.items() if version.servable}
    notes = _Notes()
    if not answering:
        notes.problem("no version is available", log=False)
    if listing is None:
        notes.pending.append("the configuration was changed")
    else:
        _compare_folders(answering, listing, notes)
        named = isinstance(config.policy, Specific)
        for number in sorted(desired):
            _compare_version(number, versions.get(number), listing, notes, named=named or not answering)
    for label, number in sorted(config.labels.items()):
        if number not in answering:
            version = versions.get(number)
            log = listing is not None and (version is None or number not in desired or version.is_given_up)
            text = f"label {label} points to a version that is not available: {number}"
            notes.problem(text, log=log)
    return ModelCondition(tuple(notes.problems), tuple(notes.warnings), tuple(notes.pending), tuple(notes.logged))


class _Notes:
    """Collects sentences."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.pending: list[str] = []
        self.logged: list[str] = []

    def problem(self, text: str, *, log: bool, ready: bool = False) -> None:
        (self.warnings if ready else self.problems).append(text)
        if log:
            self.logged.append(text)


def _compare_folders(answering: Mapping[int, VersionRecord], listing: BasePathListing, notes: _Notes) -> None:
    if listing.problem:
        # Versions that were loaded from this folder answer on: an emptied folder is an accident.
        kept = any(version.folder.parent == listing.base for version in answering.values())
        notes.problem(listing.problem, log=True, ready=kept)
    if listing.warning:
        notes.problem(listing.warning, log=True, ready=True)


def _compare_version(
    number: int,
    version: VersionRecord | None,
    listing: BasePathListing,
    notes: _Notes,
    *,
    named: bool,
) -> None:
    """Compare one desired version; `named`: the model is not ready without it."""
    if version is None or (version.servable is None and version.present is None):
        if not listing.problem:  # else that is the reason
            numbers = sorted(listing.versions, reverse=True)
            shown = ", ".join(map(str, numbers[:_SHOWN])) + (", …" if len(numbers) > _SHOWN else "")
            text = f"version {number} is configured, but not in base_path {listing.base}; it has: {shown}"
            notes.problem(text, log=True, ready=not named)
    elif version.is_gone:
        text = (
            f"version {number} answers from memory: its files in {version.folder} are gone; put them back before the "
            "server restarts"
        )
        notes.problem(text, log=True, ready=True)
    elif version.is_given_up and version.failure is not None:
        if version.servable is None:
            notes.problem(f"version {number} cannot be loaded: {version.failure.message}", log=False, ready=not named)
        else:
            text = (
                f"the files of version {number} in {version.folder} were changed and cannot be loaded; what was loaded "
                f"before answers: {version.failure.message}"
            )
            notes.problem(text, log=True, ready=not named)
    elif not version.is_current:
        notes.pending.append(f"version {number} is being written or loaded")
