"""A look at photos before they are ingested: classes, splits, how many of each, and the sides of a decoded sample."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from orchard.errors import DataError
from orchard.formatting import shorten
from orchard.reporter import Reporter
from training.data.ingest.label_rows import LabelMatches
from training.data.ingest.placement import UNSPLIT, PhotoPlacement, SourceFile
from training.data.ingest.source_labels import open_labels
from training.data.ingest.sources import walk
from training.data.ingest.test_share import TEST_SHARE, count_for_test
from training.data.rejections import PhotoRejected, RejectedPhoto
from training.data.schema import SchemaRules, SideLimits

__all__ = ["PhotoSurvey", "survey"]

LAYOUT = "A photo's folder is its class: <class>/<photo>, or <split>/<class>/<photo> with splits such as train and test"

OF_A_CLASS, OF_ALL, AT_MOST = 5, 100, 200
"""How many photos of a class are decoded, until so many of all are; then one of each class, and never more than the last."""

LENIENT = SchemaRules(side=SideLimits(min=1, max=1_000_000))


@dataclass(frozen=True, slots=True)
class PhotoSurvey:
    """What was found.

    Attributes:
        source: the folder or archive.
        counts: (split, class) → how many photos; the split is `UNSPLIT` where no folder names one.
        decoded: the sample that was decoded, as (width, height) in pixels.
        refused: what `orchard ingest` will reject: of the sample, and photos without a class.
        example: the path of a photo in a folder; None: it is in an archive.
        labels: the label file that was given; None: there is none.
    """

    source: Path
    counts: Mapping[tuple[str, str], int]
    decoded: tuple[tuple[int, int], ...]
    refused: tuple[RejectedPhoto, ...]
    example: Path | None
    labels: Path | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(sorted({label for _, label in self.counts}))

    @property
    def photos(self) -> int:
        """How many photos there are."""
        return sum(self.counts.values())

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that folders or a label file name, sorted."""
        return tuple(sorted({split for split, _ in self.counts} - {UNSPLIT}))

    def expected(self, split: str) -> dict[str, int]:
        """Return how many photos of each class the dataset will have in a split, if none is rejected."""
        if self.splits:
            return {label: self.counts.get((split, label), 0) for label in self.classes}
        test = {label: count_for_test(self.counts[UNSPLIT, label], TEST_SHARE) for label in self.classes}
        return test if split == "test" else {label: self.counts[UNSPLIT, label] - test[label] for label in self.classes}


class _Sample:
    """Chooses the photos that are read, as they come."""

    def __init__(self) -> None:
        self._chosen: Counter[str] = Counter()

    def take(self, label: str) -> bool:
        total = self._chosen.total()
        wanted = self._chosen[label] < (OF_A_CLASS if total < OF_ALL else 1) and total < AT_MOST
        self._chosen[label] += wanted
        return wanted


def survey(source: Path, reporter: Reporter, labels: Path | None = None) -> PhotoSurvey:
    """Look at photos. Nothing is written.

    Args:
        source: a folder or an archive with ``<class>/<photo>`` or ``<split>/<class>/<photo>`` in it.
        reporter: shows the progress.
        labels: a label file, here or in the source, that says what the photos are.

    Raises:
        DataError: it does not exist, cannot be read, or its photos make no dataset: there is none, one class, or not
            one class with two photos.
    """
    if not source.exists():
        raise DataError(f"there is no {source}", hint=f"--photos names a folder or an archive. {LAYOUT}")
    given = open_labels(labels, [source]) if labels else None
    placing = PhotoPlacement(None, None, LENIENT.bytes, unsplit=True, reads=_Sample().take, labels=given)
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    decoded: list[tuple[int, int]] = []
    refused: list[RejectedPhoto] = []
    example: Path | None = None
    entries = chain(walk(source, placing), _missing(given))
    for entry in reporter.track(entries, "looking at the photos"):
        if isinstance(entry, RejectedPhoto):
            refused.append(entry)
        elif isinstance(entry, SourceFile):
            counts[entry.split, entry.label] += 1
            example = example or Path(entry.path)
            if entry.body:
                _decode(entry, decoded, refused)
    example = example if source.is_dir() else None
    found = PhotoSurvey(source, dict(counts), tuple(decoded), tuple(refused), example, labels)
    _require_dataset(found)
    return found


def _missing(labels: LabelMatches | None) -> Iterator[RejectedPhoto]:
    """Yield the rows without a photo, once all photos were looked up."""
    if labels is not None:
        yield from labels.missing()


def _decode(photo: SourceFile, decoded: list[tuple[int, int]], refused: list[RejectedPhoto]) -> None:
    from training.data.ingest.decode import inspect

    try:
        picture = inspect(photo.body, LENIENT)
    except PhotoRejected as error:
        refused.append(RejectedPhoto(photo.path, error.reason, error.detail))
    else:
        decoded.append((picture.width, picture.height))


def _require_dataset(found: PhotoSurvey) -> None:
    first = next((f": {item.path}: {item.detail}" for item in found.refused), "")
    if not found.counts:
        loose = f"none of the {len(found.refused)} photos in {found.source} is in the folder of a class"
        raise DataError(f"{loose}{first}" if found.refused else f"there is no photo in {found.source}", hint=LAYOUT)
    if not found.decoded:
        raise DataError(
            f"{found.source} has {found.photos} files where photos should be, and none of {len(found.refused)} that were "
            f"tried can be read{first}",
            hint="convert them to JPEG or PNG",
        )
    if len(found.classes) < 2:
        raise DataError(
            f"all {found.photos} photos in {found.source} are of one class, {found.classes[0]!r}; a model tells two or more apart",
            hint="add a folder with photos of what is not of this class, or name the folder above it with --photos",
        )
    if max(found.counts.values()) < 2 and not found.splits:
        raise DataError(
            f"each of the {len(found.classes)} classes in {found.source} has a single photo ({shorten(found.classes, 3)}); "
            "a class needs one to learn from and one for the test at least, and ten or more to be learned well",
            hint="put more photos of each class into its folder",
        )
