"""Invariants of the store, checked from outside: they hold at every moment, whatever was killed."""

from __future__ import annotations

import itertools

from orchard import layout
from orchard.channel_names import DEFAULT_CHANNELS
from orchard.dataset import Dataset
from orchard.documents import parse
from orchard.registry.channels import ways_back
from orchard.registry.pointers import ChannelPointer
from orchard.store.objects import ObjectStore
from tests.orchard.version_fixtures import MODEL, registry_of

__all__ = ["InvariantWitness"]


class InvariantWitness:
    """Checks the store repeatedly and remembers what it read and what was acknowledged.

    Args:
        store: the store.
        keep: how many versions prunes keep; None: nothing is ever pruned.
    """

    def __init__(self, store: ObjectStore, keep: int | None = None) -> None:
        self.store = store
        self.keep = keep
        self.published: dict[str, int] = {}
        self.changes: list[ChannelPointer] = []
        self.commits: dict[int, str] = {}
        self._highest: dict[str, int] = {}
        self._pointers: dict[tuple[str, int], ChannelPointer] = {}

    def check(self) -> None:
        """Check everything once."""
        self.models()
        for channel in DEFAULT_CHANNELS:
            self.channel(channel)
        self.datasets()

    def models(self) -> None:
        """Numbers are dense, one content is one version, every needed blob is intact, every acknowledged version exists."""
        numbers = registry_of(self.store).versions()
        assert numbers == list(range(1, len(numbers) + 1)), f"numbers are not dense: {numbers}"
        published: dict[str, int] = {}
        for number in numbers:
            manifest = registry_of(self.store).manifest(number)
            assert manifest.publish_id not in published, (
                f"versions {published[manifest.publish_id]} and {number} are the same"
            )
            published[manifest.publish_id] = number
            if self.keep is None or number in self.needed(numbers):
                registry_of(self.store).verify(manifest)
        for identity, number in self.published.items():
            assert published.get(identity) == number, f"the acknowledged version {number} is {published.get(identity)}"
        assert len(numbers) >= self._highest.get("versions", 0), "a version vanished"
        self._highest["versions"] = len(numbers)

    def needed(self, numbers: list[int]) -> set[int]:
        """The versions that no prune may delete: the newest, and those that channels point to or can be rolled back to."""
        keep = self.keep or 0
        back = [
            ways_back(registry_of(self.store).channel(channel).history())[-keep - 1 :] for channel in DEFAULT_CHANNELS
        ]
        return {*numbers[-keep:], *itertools.chain.from_iterable(back)}

    def channel(self, channel: str) -> None:
        """The generation only grows, the history is complete, and each entry names the previous version."""
        entries = registry_of(self.store).channel(channel).history()
        assert [entry.generation for entry in entries] == list(range(1, len(entries) + 1))
        previous = None
        for entry in entries:
            assert entry.previous == previous, f"generation {entry.generation} of {channel} follows {entry.previous}"
            previous = entry.version
            assert self._pointers.setdefault((channel, entry.generation), entry) == entry, "the past was changed"
            layout_key = layout.manifest(MODEL, entry.version)
            assert self.store.exists(layout_key), f"{channel} pointed to version {entry.version}, which is missing"
        assert len(entries) >= self._highest.get(channel, 0), f"the generation of {channel} went back"
        self._highest[channel] = len(entries)
        for change in self.changes:
            if change.channel == channel:
                assert change in entries, f"the acknowledged generation {change.generation} is not in the history"

    def datasets(self) -> None:
        """Numbers are dense, each version has the previous one as parent, the pointer lags by at most one and only grows."""
        numbers = Dataset(self.store, MODEL).versions()
        assert numbers == list(range(1, len(numbers) + 1)), f"dataset numbers are not dense: {numbers}"
        for number in numbers:
            assert Dataset(self.store, MODEL).version(number).parent == (number - 1 or None)
        current = Dataset(self.store, MODEL).current()
        pointed = current.version if current else 0
        assert len(numbers) - 1 <= pointed <= len(numbers)
        assert pointed >= self._highest.get("dataset", 0), "the dataset's pointer went back"
        self._highest["dataset"] = pointed
        for number, digest in self.commits.items():
            assert number <= pointed
            assert Dataset(self.store, MODEL).version(number).digest == digest, (
                "an acknowledged dataset version is lost"
            )

    def claims(self) -> None:
        """When no program is running, every claim names the version that has its content."""
        for stat in self.store.list(f"models/{MODEL}/publishes"):
            claim = parse(self.store.get(stat.key).body, stat.key)
            manifest = registry_of(self.store).manifest(claim["version"])
            assert manifest.publish_id == claim["publish_id"]
