"""Golden photos: photos inside the export, with the predictions of the export. Every program that loads it compares.

If a loaded model predicts something else, it was damaged, decoded with another library or loaded wrongly. Then
`orchard sync` gives it no label.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchard import documents
from orchard.errors import DataError
from orchard.golden import GOLDEN, MAX_PHOTO_BYTES
from training.data.schema import SchemaRules
from training.data.shards import iterate
from training.model.golden_variants import make_variants, shrink
from training.model.savedmodel_session import SavedModelSession, SessionOutputs, open_model

__all__ = ["TOLERANCE", "choose_photos", "write_golden"]

TOLERANCE = 1e-4
"""By how much a probability may differ: another processor adds in another order."""

MAX_PLAIN = 8
"""Golden photos that are no variants, at most."""

MIN_PHOTOS = 2
PHOTOS_PER_CLASS = 4
"""Photos of each class that are tried until one has a clear prediction."""

CLEAR_LEAD = 0.05
"""The lead that the most probable class needs over the second, so that rounding elsewhere cannot change the label."""


def choose_photos(folder: Path, classes: Sequence[str], rules: SchemaRules | None = None) -> list[bytes]:
    """Choose photos of a dataset: of evenly spread classes, those with the smallest SHA-256, test photos first.

    Large photos are encoded again with fewer pixels, so that every server can read them at its start.

    Args:
        folder: the dataset.
        classes: its classes.
        rules: the rules for photos; copies keep the smallest side.

    Returns:
        Up to `PHOTOS_PER_CLASS` photos for each of `MAX_PLAIN` classes, class by class in turn, as files' bytes.

    Raises:
        DataError: fewer than `MIN_PHOTOS` can be made small enough.
        IntegrityError: a shard is missing or damaged.
    """
    chosen = _choose_digests(folder, classes)
    wanted = {digest for digests in chosen for digest in digests}
    small: dict[str, bytes | None] = {}
    for batch in iterate(folder, columns=("image.bytes", "sha256"), rows=100):
        for digest, image in zip(batch["sha256"].to_pylist(), batch["image"], strict=True):
            if digest in wanted and digest not in small:
                small[digest] = shrink(image["bytes"].as_py(), rules.side.min if rules else 1)
    turns = range(PHOTOS_PER_CLASS)
    photos = [small[digests[turn]] for turn in turns for digests in chosen if turn < len(digests)]
    usable = [photo for photo in photos if photo is not None]
    _require_enough(len(usable), too_large=len(photos) - len(usable))
    return usable


def _require_enough(count: int, *, too_large: int = 0) -> None:
    if count < MIN_PHOTOS:
        raise DataError(
            f"the dataset has {count} photos to compare served predictions with; at least {MIN_PHOTOS} are needed"
            + (f"; {too_large} have more than {MAX_PHOTO_BYTES} bytes even when encoded again" if too_large else ""),
            hint="lower side.min in data/schema.yaml" if too_large else "`orchard ingest` photos of every class",
        )


def _choose_digests(folder: Path, classes: Sequence[str]) -> list[list[str]]:
    """Return the SHA-256 of the chosen photos, for each chosen class."""
    step = max(1, len(classes) / MAX_PLAIN)
    spread = {classes[int(place * step)] for place in range(min(MAX_PLAIN, len(classes)))}
    chosen: dict[str, list[tuple[bool, str]]] = {label: [] for label in sorted(spread)}
    for batch in iterate(folder, columns=("label", "split", "sha256")):
        for label, split, digest in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if label in chosen:
                chosen[label] = sorted([*chosen[label], (split != "test", digest)])[:PHOTOS_PER_CLASS]
    return [[digest for _, digest in best] for best in chosen.values()]


def write_golden(saved_model: Path, photos: Sequence[bytes]) -> None:
    """Predict photos with a SavedModel and write its clear predictions into its `assets.extra/golden.json`.

    Args:
        saved_model: the SavedModel's folder; it is opened as a server opens it.
        photos: at least `MIN_PHOTOS`, best first; at most `MAX_PLAIN` are written, and of a model with rules for
            photos one of each kind of variant (`training.model.golden_variants`).

    Raises:
        DataError: there are too few photos.
        IntegrityError: the SavedModel cannot be loaded or gives invalid outputs.
    """
    _require_enough(len(photos))
    with open_model(saved_model) as session:
        answers = session.predict(photos)
        pairs = [(photos[place], *_answer(answers, place)) for place in _choose_clear(answers)]
        pairs += _choose_variants(session, [photo for photo, _, _ in pairs])
    document = {
        "format": documents.FORMAT,
        "tolerance": TOLERANCE,
        "photos": [
            {"b64": base64.b64encode(photo).decode(), "label": label, "probability": probability}
            for photo, label, probability in pairs
        ],
    }
    path = saved_model / GOLDEN
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(documents.canonical_json(document))


def _answer(answers: SessionOutputs, place: int) -> tuple[str, float]:
    return answers.labels[place], float(answers.probability[place])


def _choose_variants(session: SavedModelSession, photos: Sequence[bytes]) -> list[tuple[bytes, str, float]]:
    """For each kind of variant, the photo with the clearest prediction. A model without rules turns no photo."""
    if session.rules is None:
        return []
    chosen = []
    for variants in filter(None, make_variants(photos, session.rules.side.min)):
        answers = session.predict(variants)
        place = int(np.argmax(_lead(answers)))
        chosen.append((variants[place], *_answer(answers, place)))
    return chosen


def _lead(answers: SessionOutputs) -> Any:
    """The lead of each most probable class over the second."""
    ranked = np.sort(answers.probabilities, axis=1)
    return ranked[:, -1] - ranked[:, -2] if ranked.shape[1] > 1 else ranked[:, -1]


def _choose_clear(answers: SessionOutputs) -> list[int]:
    """The first photos with a clear prediction; if there are too few, those with the highest confidence."""
    lead = _lead(answers)
    clear = [int(position) for position in np.flatnonzero(lead >= CLEAR_LEAD)[:MAX_PLAIN]]
    return clear if len(clear) >= MIN_PHOTOS else [int(position) for position in np.argsort(-lead)[:MIN_PHOTOS]]
