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
from orchard.golden import GOLDEN
from training.data.shards import iterate
from training.model.golden_variants import make_variants
from training.model.savedmodel_session import SavedModelSession, SessionOutputs, open_model

__all__ = ["TOLERANCE", "choose_photos", "write_golden"]

TOLERANCE = 1e-4
"""By how much a probability may differ: another processor adds in another order."""

MAX_PHOTOS = 8
MIN_PHOTOS = 2
PHOTOS_PER_CLASS = 4
"""Photos of each class that are tried until one has a clear prediction."""

CLEAR_LEAD = 0.05
"""The lead that the most probable class needs over the second, so that rounding elsewhere cannot change the label."""


def choose_photos(folder: Path, classes: Sequence[str]) -> list[bytes]:
    """Choose photos of a dataset: of evenly spread classes, those with the smallest SHA-256, test photos first.

    Returns:
        Up to `PHOTOS_PER_CLASS` photos for each of `MAX_PHOTOS` classes, class by class in turn, the files' bytes.
    """
    step = max(1, len(classes) / MAX_PHOTOS)
    spread = {classes[int(place * step)] for place in range(min(MAX_PHOTOS, len(classes)))}
    chosen: dict[str, list[tuple[bool, str, bytes]]] = {label: [] for label in sorted(spread)}
    for batch in iterate(folder, columns=("image.bytes", "label", "split", "sha256")):
        for label, split, digest, image in zip(
            *(batch[name].to_pylist() for name in ("label", "split", "sha256")), batch["image"], strict=True
        ):
            if label in chosen:
                best = chosen[label]
                best.append((split != "test", digest, image["bytes"].as_py()))
                best.sort(key=lambda photo: photo[:2])
                del best[PHOTOS_PER_CLASS:]
    return [photos[turn][2] for turn in range(PHOTOS_PER_CLASS) for photos in chosen.values() if turn < len(photos)]


def write_golden(saved_model: Path, photos: Sequence[bytes]) -> None:
    """Predict photos with a SavedModel and write its clear predictions into its `assets.extra/golden.json`.

    Args:
        saved_model: the SavedModel's folder; it is opened as a server opens it.
        photos: at least `MIN_PHOTOS`, best first; at most `MAX_PHOTOS` are written, and of a model with rules for
            photos one of each kind of variant (`training.model.golden_variants`).

    Raises:
        DataError: there are too few photos.
        IntegrityError: the SavedModel cannot be loaded or gives invalid outputs.
    """
    if len(photos) < MIN_PHOTOS:
        raise DataError(
            f"the dataset has {len(photos)} photos to compare served predictions with; at least {MIN_PHOTOS} are needed",
            hint="`orchard ingest` photos of every class",
        )
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
    clear = [int(position) for position in np.flatnonzero(lead >= CLEAR_LEAD)[:MAX_PHOTOS]]
    return clear if len(clear) >= MIN_PHOTOS else [int(position) for position in np.argsort(-lead)[:MIN_PHOTOS]]
