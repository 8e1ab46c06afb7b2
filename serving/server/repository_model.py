"""One model of the repository: its configuration, its versions and their snapshot for requests."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.models_config import Latest, ModelConfig, Specific
from serving.server.base_path import BasePathListing, list_versions
from serving.server.model_condition import ModelCondition, describe_condition
from serving.server.servable import Servable
from serving.server.serving_error import ServingError
from serving.server.version_files import VersionFiles, scan_files
from serving.server.version_record import VersionRecord
from serving.status_codes import StatusCode

__all__ = ["ModelScan", "RepositoryModel", "RepositorySnapshot"]

_MAX_ENDED = 32


@dataclass(frozen=True, slots=True)
class RepositorySnapshot:
    """An immutable snapshot of one model, as requests see it; a change replaces it as a whole."""

    available: Mapping[int, Servable]
    latest: int | None
    labels: Mapping[str, int]
    states: tuple[tuple[int, str, StatusCode, str], ...]
    configured: bool
    condition: ModelCondition


@dataclass(frozen=True, slots=True)
class ModelScan:
    """What a model's folders held at one moment.

    Attributes:
        config: the configuration that was followed.
        listing: the version folders in its base path.
        desired: the versions that should be served; those of a `specific` policy may not exist.
        files: the files of the versions that should be served or are, by number; None: the folder is gone.
    """

    config: ModelConfig
    listing: BasePathListing
    desired: frozenset[int]
    files: Mapping[int, VersionFiles | None]


@dataclass(slots=True, eq=False)
class RepositoryModel:
    """A configured model, its versions by number, and the last scan of its folders."""

    config: ModelConfig
    versions: dict[int, VersionRecord] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    removed: bool = False
    scanned: ModelScan | None = None

    def scan(self) -> ModelScan:
        """Examine the folders. Reads nothing that another thread changes but single attributes of versions."""
        config = self.config
        listing = list_versions(config.base_path)
        files: dict[int, VersionFiles | None] = {}
        desired = self._select(config, listing, files)
        for number, version in list(self.versions.items()):
            if version.servable and number not in files:
                files[number] = _scan(listing.versions.get(number))
        return ModelScan(config, listing, desired, files)

    def _select(
        self, config: ModelConfig, listing: BasePathListing, files: dict[int, VersionFiles | None]
    ) -> frozenset[int]:
        """Return the versions that should be served, and add their files to `files`."""
        policy, folders = config.policy, listing.versions
        if isinstance(policy, Specific):
            files |= {number: _scan(folders.get(number)) for number in policy.versions}
            return frozenset(policy.versions)
        if not folders:
            # An empty folder is an accident, not a request to unload.
            return frozenset(number for number, version in list(self.versions.items()) if version.servable)
        found = 0
        for number in sorted(folders, reverse=True):
            files[number] = _scan(folders[number])
            found += self._is_promising(number, files[number])
            if isinstance(policy, Latest) and found == policy.count:
                break  # an older version answers while newer ones are being written or cannot be loaded
        return frozenset(files)

    def _is_promising(self, number: int, files: VersionFiles | None) -> bool:
        """Whether a version answers or can be expected to answer soon."""
        version = self.versions.get(number)
        if version is None or files is None:
            return files is not None and files.is_settled(0, time.time_ns())
        unchanged_s = time.monotonic() - version.present_since if files == version.present else 0
        return version.servable is not None or (
            not version.is_given_up and files.is_settled(unchanged_s, time.time_ns())
        )

    def take_over(self, scan: ModelScan, now: float) -> list[int]:
        """Take over a scan; returns the versions to load."""
        self.scanned = scan
        for number, files in scan.files.items():
            version = self.versions.get(number)
            if version is None and files is not None:
                version = self.versions[number] = VersionRecord(scan.listing.versions[number])
            if version is not None:
                version.observe(scan.listing.versions.get(number, version.folder), files, now)
        due = []
        for number, version in sorted(self.versions.items(), reverse=True):
            if number not in scan.desired:
                if version.servable is None and not version.loading and version.state not in ("UNLOADING", "END"):
                    version.end()
            elif version.is_due(now, time.time_ns()):
                due.append(number)
        return due

    def is_desired(self, number: int) -> bool:
        """Whether a version should be served."""
        return not self.removed and self.scanned is not None and number in self.scanned.desired

    def take_surplus(self) -> list[tuple[VersionRecord, Servable]]:
        """Remove versions that should not be served, but never the last version of a configured model."""
        if not self.removed and self.scanned is None:
            return []
        answering = {number for number, version in self.versions.items() if version.servable}
        surplus = {number for number in answering if not self.is_desired(number)}
        if not self.removed and surplus and surplus == answering:
            surplus.remove(max(surplus))
        removed = []
        for number in surplus:
            version = self.versions[number]
            if version.servable:
                removed.append((version, version.servable))
            version.servable, version.loaded, version.state = None, None, "UNLOADING"
        return removed

    def snapshot(self) -> RepositorySnapshot:
        """Return what requests see from now on."""
        self._drop_ended()
        available = {number: version.servable for number, version in self.versions.items() if version.servable}
        self.labels = {
            label: number if number in available else self.labels[label]
            for label, number in self.config.labels.items()
            if number in available or self.labels.get(label) in available
        }
        scan = self.scanned if self.scanned and self.scanned.config is self.config else None
        condition = (
            describe_condition(self.config, self.versions, scan.listing if scan else None, scan.desired if scan else ())
            if not self.removed
            else ModelCondition()
        )
        return RepositorySnapshot(
            available=available,
            latest=max(available, default=None),
            labels=self.labels,
            states=tuple(
                (number, version.state, version.code, version.message)
                for number, version in sorted(self.versions.items(), reverse=True)
            ),
            configured=not self.removed,
            condition=condition,
        )

    def _drop_ended(self) -> None:
        ended = sorted(number for number, version in self.versions.items() if version.state == "END")
        for number in ended[:-_MAX_ENDED]:
            del self.versions[number]


def _scan(folder: Path | None) -> VersionFiles | None:
    if folder is None:
        return None
    try:
        return scan_files(folder)
    except ServingError:  # the load fails with the same error, which is reported then
        return VersionFiles(str(folder), (), 0, finished=True)
