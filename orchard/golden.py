"""Golden photos: photos inside a SavedModel, with the predictions at its export.

If a loaded version predicts otherwise, it is damaged, decodes with another library, or was loaded wrongly.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchard.documents import FORMAT, parse
from orchard.errors import IntegrityError

__all__ = ["GOLDEN", "MAX_PHOTOS", "MAX_PHOTO_BYTES", "GoldenPhoto", "check_golden", "read_golden"]

GOLDEN = "assets.extra/golden.json"
"""The file's path in a SavedModel."""

MAX_PHOTOS = 10
"""The most golden photos that an export has."""

MAX_BYTES = 32 << 20
"""The largest golden.json that is read."""

MAX_PHOTO_BYTES = MAX_BYTES // (2 * MAX_PHOTOS)
"""The largest golden photo that an export has: in base64 and with their predictions, `MAX_PHOTOS` of them fit."""


@dataclass(frozen=True, slots=True)
class GoldenPhoto:
    """Photos with the expected predictions.

    Attributes:
        photos: the files' bytes.
        answers: the expected label and probability of each.
        tolerance: the largest allowed difference of a probability.
    """

    photos: tuple[bytes, ...]
    answers: tuple[tuple[str, float], ...]
    tolerance: float


def read_golden(folder: Path) -> GoldenPhoto:
    """Read a SavedModel's golden photos.

    Raises:
        IntegrityError: there are none, or the file is malformed.
    """
    path = folder / GOLDEN
    try:
        document = parse(path.read_bytes(), str(path), limit=MAX_BYTES)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}")
        photos = tuple(base64.b64decode(item["b64"], validate=True) for item in document["photos"])
        answers = tuple((item["label"], float(item["probability"])) for item in document["photos"])
        tolerance = float(document["tolerance"])
        if not photos or not 0 < tolerance < 1:
            raise ValueError("no photos, or no tolerance between 0 and 1")
        if not all(isinstance(label, str) and 0 <= probability <= 1 for label, probability in answers):
            raise ValueError("an answer without a label or a probability between 0 and 1")
    except (OSError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise IntegrityError(
            f"{path} has no valid golden photos: {error}", hint="`orchard train` exports a model with them"
        ) from error
    return GoldenPhoto(photos, answers, tolerance)


def check_golden(folder: Path, predict: Callable[[Sequence[bytes]], Iterable[tuple[str, float]]], what: str) -> int:
    """Compare a loaded model's predictions for its golden photos with those at its export.

    Args:
        folder: the SavedModel.
        predict: returns label and probability of each photo.
        what: the model's name in messages.

    Returns:
        The number of golden photos.

    Raises:
        IntegrityError: there are no golden photos, or a prediction differs.
    """
    golden = read_golden(folder)
    pairs = zip(golden.answers, predict(golden.photos), strict=True)
    for number, ((label, probability), (found, certainty)) in enumerate(pairs, start=1):
        if found != label or not abs(certainty - probability) <= golden.tolerance:  # NaN is not within any tolerance
            raise IntegrityError(
                f"{what} predicts {found!r} at {certainty:.6f} for golden photo {number}; "
                f"at its export it predicted {label!r} at {probability:.6f}",
                hint="the files differ from the export: `orchard train` exports the model again",
            )
    return len(golden.photos)
