"""What an ingest was asked for and did not find: a class of --classes, a source without photos, a split."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterator

from training.data.ingest.placement import Entry, PhotoPlacement, SourceFile
from training.data.ingest.sources import Source, walk

__all__ = ["CountedSources"]


class CountedSources:
    """Walks sources and counts the photos of each, and of each class.

    Args:
        sources: the sources.
        selected: the classes that are wanted; None: all.
    """

    def __init__(self, sources: Collection[Source], selected: Collection[str] | None) -> None:
        self._sources, self._selected = sources, selected
        self._by_source: Counter[str] = Counter()
        self._by_label: Counter[str] = Counter()

    def walk(self, placing: PhotoPlacement) -> Iterator[Entry]:
        """Yield an entry for everything in the sources. Raises `DataError` where one cannot be read."""
        for source in self._sources:
            for entry in walk(source, placing):
                if isinstance(entry, SourceFile):
                    self._by_label[entry.label] += 1
                    self._by_source[str(source)] += self._selected is None or entry.label in self._selected
                yield entry
        if placing.labels is not None:
            yield from placing.labels.missing()

    def not_found(self, splits: Collection[str]) -> tuple[str, ...]:
        """Name what was requested and is not there, in a sentence each, after the walk.

        Args:
            splits: the splits without a photo in the whole dataset.
        """
        return (
            *(self._describe_class(label) for label in sorted(self._selected or ()) if not self._by_label[label]),
            *(f"no photo in {source}" for source in map(str, self._sources) if not self._by_source[source]),
            *(f"no {split} photo in the dataset" for split in splits),
        )

    def _describe_class(self, label: str) -> str:
        names = {name.casefold(): name for name in self._by_label}
        near = difflib.get_close_matches(label.casefold(), names, n=1)
        return f"no photo of the class {label!r} of --classes" + (f"; did you mean {names[near[0]]!r}?" if near else "")
