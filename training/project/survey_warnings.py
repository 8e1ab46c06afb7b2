"""What a person should know of photos before the first ingest, in a sentence each, with what to do."""

from __future__ import annotations

from collections.abc import Iterator

from orchard.formatting import shorten
from training.data.ingest.placement import UNSPLIT
from training.data.schema import SchemaRules
from training.project.photo_survey import PhotoSurvey

__all__ = ["survey_warnings"]

FEW_TESTS = 20
"""The profile `photos` asks for so many test photos."""


def survey_warnings(photos: PhotoSurvey) -> tuple[str, ...]:
    """Return the warnings; none where all is well."""
    return (*_refused(photos), *_splits(photos), *_numbers(photos))


def _refused(photos: PhotoSurvey) -> Iterator[str]:
    if photos.refused:
        first = photos.refused[0]
        number = len(photos.refused)
        yield f"`orchard ingest` will reject {number} of the files that were looked at; the first: {first.path}: {first.detail}"


def _splits(photos: PhotoSurvey) -> Iterator[str]:
    if not photos.splits:
        return
    bare = sum(number for (split, _), number in photos.counts.items() if split == UNSPLIT)
    if bare:
        yield f"{bare} photos are in no split and others are: `orchard ingest` rejects those; move them into a split"
    for split in {"train", "test"} - set(photos.splits):
        yield (
            f"there are no {split} photos, only {photos.splits[0]}: add a folder {split}/, or name the folder {photos.splits[0]}/ "
            "itself with --photos, and a fifth of each class is for the test"
        )


def _numbers(photos: PhotoSurvey) -> Iterator[str]:
    rules = SchemaRules()
    train, test = photos.expected("train"), photos.expected("test")
    few = sorted(label for label, number in train.items() if number < rules.photos.train)
    if few:
        yield (
            f"{len(few)} of {len(train)} classes will have fewer than {rules.photos.train} photos to learn from "
            f"({shorten([f'{label}: {train[label]}' for label in few], 3)}): the schema allows it here, and the figures will say little"
        )
    counts = [number for number in train.values() if number]
    if counts and max(counts) > rules.balance * min(counts):
        yield f"the largest class has {max(counts)} photos to learn from, the smallest {min(counts)}: the schema allows it here"
    untested = sorted(label for label, number in test.items() if not number)
    if untested and any(test.values()):
        yield f"no test photo of {shorten(untested, 3)}: nothing will be known of them"
    if sum(test.values()) < FEW_TESTS:
        yield f"about {sum(test.values())} test photos: the gate asks for {FEW_TESTS} (gate.photos in params.yaml)"
