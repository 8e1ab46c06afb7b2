"""One model of the repository: its configuration, its versions and their snapshot for requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.models_config import Latest, ModelConfig, Specific
from serving.server.servable import Servable
from serving.status_codes import StatusCode

__all__ = ["LoadedVersion", "RepositoryModel", "RepositorySnapshot", "identify"]

FolderIdentity = tuple[int, int, int, int]
_MAX_ENDED = 32


@dataclass(slots=True, eq=False)
class LoadedVersion:
    """A version that was loaded or should be."""

    folder: Path
    identity: FolderIdentity
    state: str = "START"
    code: StatusCode = StatusCode.OK
    message: str = ""
    servable: Servable | None = None
    attempts: int = 0
    retry_at: float = 0.0


@dataclass(frozen=True, slots=True)
class RepositorySnapshot:
    """An immutable snapshot of one model, as requests see it; a change replaces it as a whole."""

    available: Mapping[int, Servable]
    latest: int | None
    labels: Mapping[str, int]
    states: tuple[tuple[int, str, StatusCode, str], ...]
    configured: bool
    missing_labels: tuple[str, ...]


@dataclass(slots=True, eq=False)
class RepositoryModel:
    """A configured model and its versions by number."""

    config: ModelConfig
    versions: dict[int, LoadedVersion] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    removed: bool = False

    def desired(self, log: Callable[[str], None]) -> dict[int, Path]:
        """Return the folders of the versions that should be served, of those that exist."""
        policy = self.config.policy
        present = self._folders(log)
        if isinstance(policy, Specific):
            return {number: present[number] for number in policy.versions if number in present}
        if isinstance(policy, Latest):
            return dict(sorted(present.items(), reverse=True)[: policy.count])
        return present

    def _folders(self, log: Callable[[str], None]) -> dict[int, Path]:
        base = Path(self.config.base_path)
        try:
            return {int(child.name): child for child in sorted(base.iterdir()) if _is_version(child.name)}
        except OSError as error:
            log(f"model {self.config.name}: {error}")
            return {}

    def desired_numbers(self, log: Callable[[str], None]) -> set[int]:
        """Return the versions that should be served, whether they exist or not."""
        policy = self.config.policy
        present = self.desired(log)
        if isinstance(policy, Specific):
            return set(policy.versions)
        return set(present) or set(self.versions)  # an empty folder is an accident, not a request to unload

    def take_surplus(self, log: Callable[[str], None]) -> list[tuple[LoadedVersion, Servable]]:
        """Remove versions that should not be served, but never the last version of a configured model."""
        desired = set() if self.removed else self.desired_numbers(log)
        surplus = [number for number, version in self.versions.items() if version.servable and number not in desired]
        if (
            not self.removed
            and surplus
            and not any(version.servable for number, version in self.versions.items() if number in desired)
        ):
            surplus.remove(max(surplus))
        removed = []
        for number in surplus:
            version = self.versions[number]
            if version.servable:
                removed.append((version, version.servable))
            version.servable, version.state = None, "UNLOADING"
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
        return RepositorySnapshot(
            available=available,
            latest=max(available, default=None),
            labels=self.labels,
            states=tuple(
                (number, version.state, version.code, version.message)
                for number, version in sorted(self.versions.items())
            ),
            configured=not self.removed,
            missing_labels=tuple(sorted(label for label, at in self.config.labels.items() if at not in available)),
        )

    def _drop_ended(self) -> None:
        ended = sorted(number for number, version in self.versions.items() if version.state == "END")
        for number in ended[:-_MAX_ENDED]:
            del self.versions[number]


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 19


def identify(folder: Path) -> FolderIdentity:
    """Return what changes when a version's folder is replaced. Raises `OSError` if it does not exist."""
    stat, inner = folder.stat(), folder / "saved_model.pb"
    changed = (
        inner.stat().st_ctime_ns if inner.exists() else 0
    )  # a copy may preserve the modification time, but not this one
    return stat.st_dev, stat.st_ino, stat.st_ctime_ns, changed
