"""What must hold in the store at every moment, whoever was killed where: the registry's promises, checked from outside."""

from __future__ import annotations

import itertools

from orchard import layout
from orchard.dataset import Dataset
from orchard.documents import parse
from orchard.registry.channels import ways_back
from orchard.registry.pointers import CHANNELS, ChannelPointer
from orchard.store.objects import ObjectStore
from tests.orchard.version_fixtures import MODEL, registry_of

__all__ = ["InvariantWitness"]


class InvariantWitness:
    """Looks at the store again and again and remembers what it saw and what was acknowledged.

    Args:
        store: the store.
        keep: what prunes keep; None: nothing is ever pruned.
    """

    def __init__(self, store: ObjectStore, keep: int | None = None) -> None:
        self.store = store
        self.keep = keep
        self.published: dict[str, int] = {}
        self.changes: list[ChannelPointer] = []
        self.commits: dict[int, str] = {}
        self._seen: dict[str, int] = {}
        self._pointers: dict[tuple[str, int], ChannelPointer] = {}

    def look(self) -> None:
        """Check everything once."""
        self.models()
        for channel in CHANNELS:
            self.channel(channel)
        self.datasets()

    def models(self) -> None:
        """Numbers are dense, one content is one version, every blob is there and right, nothing acknowledged is gone."""
        numbers = registry_of(self.store).versions()
        assert numbers == list(range(1, len(numbers) + 1)), f"numbers are not dense: {numbers}"
        found: dict[str, int] = {}
        for number in numbers:
            manifest = registry_of(self.store).manifest(number)
            assert manifest.publish_id not in found, f"versions {found[manifest.publish_id]} and {number} are the same"
            found[manifest.publish_id] = number
            if self.keep is None or number in self.needed(numbers):
                registry_of(self.store).verify(manifest)
        for identity, number in self.published.items():
            assert found.get(identity) == number, f"the acknowledged version {number} is {found.get(identity)}"
        assert len(numbers) >= self._seen.get("versions", 0), "a version vanished"
        self._seen["versions"] = len(numbers)

    def needed(self, numbers: list[int]) -> set[int]:
        """What no prune may touch: the newest versions, and what channels mean and can be rolled back to."""
        keep = self.keep or 0
        back = [ways_back(registry_of(self.store).channel(channel).history())[-keep - 1 :] for channel in CHANNELS]
        return {*numbers[-keep:], *itertools.chain.from_iterable(back)}

    def channel(self, channel: str) -> None:
        """The generation only grows, the history is complete and each entry follows the one before."""
        entries = registry_of(self.store).channel(channel).history()
        assert [entry.generation for entry in entries] == list(range(1, len(entries) + 1))
        before = None
        for entry in entries:
            assert entry.previous == before, f"generation {entry.generation} of {channel} follows {entry.previous}"
            before = entry.version
            assert self._pointers.setdefault((channel, entry.generation), entry) == entry, "the past was changed"
            layout_key = layout.manifest(MODEL, entry.version)
            assert self.store.exists(layout_key), f"{channel} meant version {entry.version}, which is not there"
        assert len(entries) >= self._seen.get(channel, 0), f"the generation of {channel} went back"
        self._seen[channel] = len(entries)
        for change in self.changes:
            if change.channel == channel:
                assert change in entries, f"the acknowledged generation {change.generation} is not in the history"

    def datasets(self) -> None:
        """Numbers are dense, each version follows the one before, the pointer is at most one behind and never goes back."""
        numbers = Dataset(self.store, MODEL).versions()
        assert numbers == list(range(1, len(numbers) + 1)), f"dataset numbers are not dense: {numbers}"
        for number in numbers:
            assert Dataset(self.store, MODEL).version(number).parent == (number - 1 or None)
        current = Dataset(self.store, MODEL).current()
        at = current.version if current else 0
        assert len(numbers) - 1 <= at <= len(numbers)
        assert at >= self._seen.get("dataset", 0), "the dataset's pointer went back"
        self._seen["dataset"] = at
        for number, digest in self.commits.items():
            assert number <= at
            assert Dataset(self.store, MODEL).version(number).digest == digest, (
                "an acknowledged dataset version is gone"
            )

    def claims(self) -> None:
        """At rest every claim names the version that has its content."""
        for stat in self.store.list(f"models/{MODEL}/publishes"):
            claim = parse(self.store.get(stat.key).body, stat.key)
            manifest = registry_of(self.store).manifest(claim["version"])
            assert manifest.publish_id == claim["publish_id"]
