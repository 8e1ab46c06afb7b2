"""The versions of a model in a store: list, verify, download."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchard import layout
from orchard.channel_names import DEFAULT_CHANNELS
from orchard.documents import sha256_hex
from orchard.errors import DataError, IntegrityError, SettingsError, StoreError
from orchard.formatting import list_ranges
from orchard.registry.blobs import find_problem, receive
from orchard.registry.manifest import Manifest, read_manifest_bytes
from orchard.signing import SigningKey, TrustedKeys
from orchard.store.conditional import get_or_none
from orchard.store.objects import ObjectStore

__all__ = ["ModelVersions"]


@dataclass(frozen=True, slots=True)
class ModelVersions:
    """A model in a store and the keys of its documents; the reading half of `orchard.registry.registry.Registry`.

    Attributes:
        store: the store.
        model: the model's name.
        trusted: the keys whose signatures are trusted.
        key: the signing key; None: nothing can be published or promoted.
        channels: the channels that the settings name; `orchard.registry.known_channels` finds others.
    """

    store: ObjectStore
    model: str
    trusted: TrustedKeys
    key: SigningKey | None = None
    channels: tuple[str, ...] = DEFAULT_CHANNELS

    def signing_key(self) -> SigningKey:
        """Return the signing key. Raises `SettingsError` if there is none."""
        if self.key is None:
            raise SettingsError(
                "this registry has no signing key", hint="`Registry.open(settings, sign=True)` reads the key"
            )
        return self.key

    def versions(self, after: int = 0) -> list[int]:
        """Return the numbers of the versions that are greater than `after`, ascending."""
        start = layout.manifest(self.model, after) if after else None
        numbers = (
            layout.version_of_manifest_key(stat.key)
            for stat in self.store.list(layout.versions(self.model), after=start)
        )
        return sorted(number for number in numbers if number is not None and number > after)

    def manifest(self, version: int, sha256: str | None = None) -> Manifest:
        """Return a version's manifest, verified.

        Args:
            version: its number.
            sha256: the expected SHA-256 of the document's bytes, as a channel's pointer names it; None: not checked.

        Raises:
            DataError: there is no such version.
            IntegrityError: the manifest is invalid (see `read_manifest_bytes`), or has another SHA-256.
        """
        key = layout.manifest(self.model, version)
        stored = get_or_none(self.store, key)
        if stored is None:
            raise DataError(
                f"{self.model!r} has no version {version} in {self.store.name}", hint=self._describe_versions()
            )
        if sha256 is not None and sha256_hex(stored.body) != sha256:
            raise IntegrityError(f"{key} is not the manifest that the channel points to: its SHA-256 differs")
        return read_manifest_bytes(stored.body, self.trusted, self.model, version, key)

    def _describe_versions(self) -> str:
        """Return which versions there are, as a hint."""
        with suppress(StoreError):
            numbers = self.versions()
            if not numbers:
                return "it has none yet: `orchard publish` makes one"
            return f"it has {list_ranges(numbers)}; `orchard versions` lists them"
        return "`orchard versions` lists all versions"

    def verify(self, manifest: Manifest) -> None:
        """Read every file of a version and compare its size and SHA-256.

        Raises:
            IntegrityError: naming every blob that is missing or wrong.
        """
        problems = [text for file in manifest.files if (text := find_problem(self.store, self.model, file))]
        if problems:
            raise IntegrityError(
                f"version {manifest.version} of {self.model!r} is damaged:\n  " + "\n  ".join(problems),
                hint="publish the same files again to repair it (`orchard prune` deletes the blobs of old versions)",
            )

    def download(self, manifest: Manifest, folder: Path) -> None:
        """Download a version's files into a folder; check the size and SHA-256 of each.

        Args:
            manifest: the verified manifest: its paths stay inside the folder.
            folder: the target; after an error its content is incomplete.

        Raises:
            IntegrityError: a file is missing in the store, or is not what was published.
        """
        for file in manifest.files:
            receive(self.store, self.model, file, folder / file.path)
