"""Photos and the answers that an export gave to them, inside the export: whoever loads it asks again and compares.

A served model that answers its golden photos otherwise was damaged, decoded with another library or loaded wrongly;
`orchard sync` gives it no label.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchard import documents
from orchard.errors import DataError
from orchard.golden import GOLDEN
from training.data.shards import iterate
from training.model.savedmodel_session import SessionOutputs, open_model

__all__ = ["TOLERANCE", "choose_photos", "write_golden"]

TOLERANCE = 1e-4
"""By how much a probability may differ: another processor adds in another order."""

MOST = 8
LEAST = 2
CANDIDATES = 4
"""Photos of each class that are looked at until one is found whose answer is clear."""

CLEAR = 0.05
"""The lead that an answer needs over the next class, so that rounding elsewhere cannot turn it."""


def choose_photos(folder: Path, classes: Sequence[str]) -> list[bytes]:
    """Choose photos of a dataset to ask: of evenly spread classes, those with the smallest SHA-256, test photos first.

    Args:
        folder: the dataset folder.
        classes: all of them.

    Returns:
        Up to `CANDIDATES` photos for each of `MOST` classes, class by class in turn, the files' bytes.
    """
    step = max(1, len(classes) / MOST)
    wanted = {classes[int(place * step)] for place in range(min(MOST, len(classes)))}
    found: dict[str, list[tuple[bool, str, bytes]]] = {label: [] for label in sorted(wanted)}
    for batch in iterate(folder, columns=("image.bytes", "label", "split", "sha256")):
        for label, split, digest, image in zip(
            *(batch[name].to_pylist() for name in ("label", "split", "sha256")), batch["image"], strict=True
        ):
            if label in found:
                best = found[label]
                best.append((split != "test", digest, image["bytes"].as_py()))
                best.sort(key=lambda photo: photo[:2])
                del best[CANDIDATES:]
    return [photos[turn][2] for turn in range(CANDIDATES) for photos in found.values() if turn < len(photos)]


def write_golden(saved_model: Path, photos: Sequence[bytes]) -> None:
    """Ask a SavedModel about photos and write its clear answers into its `assets.extra/golden.json`.

    Args:
        saved_model: the SavedModel, opened here as a server opens it.
        photos: at least `LEAST`, best first; at most `MOST` are written.

    Raises:
        DataError: there are too few photos.
        IntegrityError: the SavedModel cannot be loaded or answers nonsense.
    """
    if len(photos) < LEAST:
        raise DataError(
            f"the dataset has {len(photos)} photos to compare served answers by; at least {LEAST} are needed",
            hint="`orchard ingest` photos of every class",
        )
    with open_model(saved_model) as session:
        answers = session.predict(photos)
    chosen = _choose_clear(answers)
    document = {
        "format": documents.FORMAT,
        "tolerance": TOLERANCE,
        "photos": [
            {
                "b64": base64.b64encode(photos[position]).decode(),
                "label": answers.labels[position],
                "probability": float(answers.probability[position]),
            }
            for position in chosen
        ],
    }
    path = saved_model / GOLDEN
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(documents.canonical_json(document))


def _choose_clear(answers: SessionOutputs) -> list[int]:
    """The first photos whose answers lead clearly; a model that is sure of nothing gives its surest ones."""
    ranked = np.sort(answers.probabilities, axis=1)
    lead = ranked[:, -1] - ranked[:, -2] if ranked.shape[1] > 1 else ranked[:, -1]
    clear = [int(position) for position in np.flatnonzero(lead >= CLEAR)[:MOST]]
    return clear if len(clear) >= LEAST else [int(position) for position in np.argsort(-lead)[:LEAST]]
