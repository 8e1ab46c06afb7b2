"""Predictions with the version of a plan, downloaded and verified as `orchard sync` verifies it."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from orchard import layout
from orchard.disk import temporary_folder
from orchard.errors import IntegrityError
from orchard.orientation import JPEG, UPRIGHT, read_orientation
from orchard.registry.registry import Registry
from orchard.reporter import Reporter
from orchard.savedmodel.rules import check_files, check_manifest
from orchard.store import ObjectStore
from orchard.store.listing import flaw
from training.batch.batch_plan import BatchPlan
from training.data.ingest.decode import DecodedPhoto, inspect, plain_copy
from training.data.photo_objects import read_in_order
from training.data.rejections import PhotoRejected, escaped
from training.data.schema import SchemaRules
from training.model.savedmodel_session import SavedModelSession, open_model
from training.release.publish_candidate import check_golden_photos

__all__ = ["LOW_CONFIDENCE", "PhotoPrediction", "PredictionSet", "open_verified_model", "predict_plan"]

LOW_CONFIDENCE = 0.6
"""A photo whose best class has a lower probability is shown on the page: a person may want to check it."""

MAX_SHOWN = 36
BATCH = 64
REPORT_EVERY = 1000


@dataclass(frozen=True, slots=True)
class PhotoPrediction:
    """The prediction of one photo.

    Attributes:
        photo: its name in the day's folder; non-printable characters are escaped.
        sha256: of its bytes; empty if they could not be read.
        width: pixels, upright; None: not a photo.
        height: pixels, upright; None: not a photo.
        label: the best class; None: no prediction.
        probability: of the label, 0 to 1, to six digits.
        second: the second best class.
        second_probability: of the second class.
        error: why there is no prediction; None: there is one.
        detail: of the error.
    """

    photo: str
    sha256: str
    width: int | None = None
    height: int | None = None
    label: str | None = None
    probability: float | None = None
    second: str | None = None
    second_probability: float | None = None
    error: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class PredictionSet:
    """All rows of a day, in the order of the names.

    Attributes:
        rows: one per photo.
        least_confident: up to `MAX_SHOWN` predictions below `LOW_CONFIDENCE` with the photos' bytes, lowest first.
    """

    rows: list[PhotoPrediction] = field(default_factory=list)
    least_confident: list[tuple[PhotoPrediction, bytes]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Photos by predicted label, most first."""
        counted = Counter(row.label for row in self.rows if row.label is not None)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    @property
    def refused(self) -> list[PhotoPrediction]:
        """The photos without a prediction."""
        return [row for row in self.rows if row.error is not None]

    @property
    def reasons(self) -> dict[str, int]:
        """Photos without a prediction by reason, most first."""
        counted = Counter(row.error for row in self.rows if row.error is not None)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    @property
    def low_confidence(self) -> int:
        """The number of predictions below `LOW_CONFIDENCE`."""
        return sum(row.probability is not None and row.probability < LOW_CONFIDENCE for row in self.rows)


@contextmanager
def open_verified_model(registry: Registry, plan: BatchPlan) -> Iterator[SavedModelSession]:
    """Load the version of a plan after verifying manifest, files, operations and golden photos.

    Raises:
        IntegrityError: one of them is invalid.
        StoreError: the store did not answer.
    """
    manifest = registry.manifest(plan.version, plan.manifest_sha256)
    check_manifest(manifest, plan.override_reason)
    with temporary_folder("orchard-batch-") as temporary:
        folder = temporary / "saved_model"
        registry.download(manifest, folder)
        check_files(folder, manifest)
        with open_model(folder) as session:
            check_golden_photos(session, folder)
            yield session


def predict_plan(store: ObjectStore, plan: BatchPlan, session: SavedModelSession, reporter: Reporter) -> PredictionSet:
    """Predict every photo of a plan in batches; memory does not grow with the number of photos.

    Raises:
        StoreError: the store did not answer.
    """
    rules, folder = session.rules or SchemaRules(), layout.batch_input(plan.day)
    predictions = PredictionSet()
    bodies = read_in_order(store, (f"{folder}/{name}" for name in plan.photos), rules.bytes)
    names = (escaped(name) if flaw(name) else name for name in plan.photos)
    heap: list[tuple[float, int, PhotoPrediction, bytes]] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(2) as pool:
        warnings.filterwarnings("ignore", module="PIL")
        while part := list(itertools.islice(bodies, BATCH)):
            opened = list(pool.map(lambda item: _open(item[1], rules), part))
            shas = [hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else "" for _, body in part]
            for row, body in _predict_rows(session, list(itertools.islice(names, len(part))), shas, opened):
                predictions.rows.append(row)
                if row.probability is not None and row.probability < LOW_CONFIDENCE:
                    item = (-row.probability, len(predictions.rows), row, body)
                    (heapq.heappush if len(heap) < MAX_SHOWN else heapq.heappushpop)(heap, item)
            count = len(predictions.rows)
            if count // REPORT_EVERY > (count - len(part)) // REPORT_EVERY:
                reporter.note(f"{count:,} of {len(plan.photos):,} photos")
    predictions.least_confident = [
        (row, body) for _, _, row, body in sorted(heap, key=lambda item: (-item[0], item[1]))
    ]
    return predictions


def _open(body: bytes | PhotoRejected, rules: SchemaRules) -> DecodedPhoto | PhotoRejected:
    try:
        return body if isinstance(body, PhotoRejected) else inspect(body, rules)
    except PhotoRejected as rejected:
        return rejected


def _predict_rows(
    session: SavedModelSession,
    names: Sequence[str],
    shas: Sequence[str],
    opened: Sequence[DecodedPhoto | PhotoRejected],
) -> Iterator[tuple[PhotoPrediction, bytes]]:
    photos = [photo for photo in opened if isinstance(photo, DecodedPhoto)]
    bodies = [photo.body if session.rules or _is_plain(photo.body) else plain_copy(photo.body) for photo in photos]
    answers = iter(_predict_best_two(session, bodies))
    for name, sha256, photo in zip(names, shas, opened, strict=True):
        if isinstance(photo, PhotoRejected):
            yield PhotoPrediction(name, sha256, error=str(photo.reason), detail=photo.detail), b""
            continue
        answer = next(answers)
        if isinstance(answer, str):
            yield PhotoPrediction(name, sha256, photo.width, photo.height, error="the model failed", detail=answer), b""
        else:
            yield PhotoPrediction(name, sha256, photo.width, photo.height, *answer), photo.body


def _is_plain(body: bytes) -> bool:
    """Whether also a model that was exported before graphs turned photos gives the right pixels."""
    return body.startswith(JPEG) and read_orientation(body) == UPRIGHT


BestTwo = tuple[str, float, str | None, float | None]


def _predict_best_two(session: SavedModelSession, photos: Sequence[bytes]) -> list[BestTwo | str]:
    """The two best classes of each photo, or the model's error: a photo that fails does not affect the others."""
    if not photos:
        return []
    try:
        table = session.predict(photos).probabilities
    except IntegrityError as error:
        if len(photos) == 1:
            return [error.message]
        return [answer for photo in photos for answer in _predict_best_two(session, [photo])]
    answers: list[BestTwo | str] = []
    for row in table:
        order = np.argsort(-row, kind="stable")[:2]
        best = [(session.classes[place], round(float(row[place]), 6)) for place in order]
        second: tuple[str | None, float | None] = best[1] if len(best) > 1 else (None, None)
        answers.append((*best[0], *second))
    return answers
