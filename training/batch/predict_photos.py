"""The version that a plan names, brought here and proved as `orchard sync` proves it, and asked about photos."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from orchard import layout
from orchard.errors import IntegrityError
from orchard.registry import registry
from orchard.savedmodel.rules import check_files, check_manifest
from orchard.store.listing import flaw
from training.batch.batch_plan import BatchPlan
from training.data.ingest.decode import DecodedPhoto, inspect
from training.data.photo_objects import read_in_order
from training.data.rejections import PhotoRejected, escaped
from training.data.schema import SchemaRules
from training.model.savedmodel_session import SavedModelSession, open_model
from training.release.publish_candidate import ask_golden
from training.release.served_model import ServedChannel, download

__all__ = ["SURE", "PhotoPrediction", "PredictionSet", "answer", "proved_model"]

SURE = 0.6
"""A photo whose likeliest class has less is shown on the page: a person may want to look."""

UNSURE_SHOWN = 36
TOGETHER = 64
TELL_EVERY = 1000


@dataclass(frozen=True, slots=True)
class PhotoPrediction:
    """What is known of one photo.

    Attributes:
        photo: its name in the day's folder; escaped where it has a newline or the like.
        sha256: of its bytes; empty if they could not be read.
        width: pixels, upright; None: it is no photo.
        height: likewise.
        label: what the model says; None: it was not asked.
        probability: of that, 0 to 1, to six digits.
        second: the second likeliest class.
        second_probability: of that.
        error: why the model was not asked, or failed; None: it answered.
        detail: what exactly.
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
        rows: one a photo.
        unsure: the least sure answers, with the photos' bytes, least sure first.
    """

    rows: list[PhotoPrediction] = field(default_factory=list)
    unsure: list[tuple[PhotoPrediction, bytes]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Photos by the label that the model gave, most first."""
        counted = Counter(row.label for row in self.rows if row.label is not None)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    @property
    def refused(self) -> list[PhotoPrediction]:
        """The photos without an answer."""
        return [row for row in self.rows if row.error is not None]

    @property
    def doubtful(self) -> int:
        """How many answers are less sure than `SURE`."""
        return sum(row.probability is not None and row.probability < SURE for row in self.rows)


@contextmanager
def proved_model(channel: ServedChannel, plan: BatchPlan) -> Iterator[SavedModelSession]:
    """Load the version that a plan names, once manifest, files, operations and golden photos are what they must be.

    Raises:
        IntegrityError: something is not.
        StoreError: the store did not answer.
    """
    manifest = registry.read_manifest(
        channel.store, plan.model, plan.version, channel.trusted, sha256=plan.manifest_sha256
    )
    check_manifest(manifest, plan.override_reason)
    with tempfile.TemporaryDirectory(prefix="orchard-batch-") as temporary:
        folder = Path(temporary) / "saved_model"
        download(channel, manifest, folder)
        check_files(folder, manifest)
        with open_model(folder) as session:
            ask_golden(session, folder)
            yield session


def answer(
    channel: ServedChannel, plan: BatchPlan, session: SavedModelSession, note: Callable[[str], None]
) -> PredictionSet:
    """Ask about every photo of a plan, some at a time; memory does not grow with the day.

    Args:
        channel: where the photos lie.
        plan: which.
        session: the model.
        note: is told how far it got.

    Raises:
        StoreError: the store did not answer.
    """
    rules, folder = SchemaRules(), layout.batch_input(plan.day)
    found = PredictionSet()
    bodies = read_in_order(channel.store, (f"{folder}/{name}" for name in plan.photos), rules.bytes)
    names = (escaped(name) if flaw(name) else name for name in plan.photos)
    least: list[tuple[float, int, PhotoPrediction, bytes]] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(2) as pool:
        warnings.filterwarnings("ignore", module="PIL")
        while part := list(itertools.islice(bodies, TOGETHER)):
            opened = list(pool.map(lambda item: _open(item[1], rules), part))
            shas = [hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else "" for _, body in part]
            for row, body in _ask(session, list(itertools.islice(names, len(part))), shas, opened):
                found.rows.append(row)
                if row.probability is not None and row.probability < SURE:
                    item = (-row.probability, len(found.rows), row, body)
                    (heapq.heappush if len(least) < UNSURE_SHOWN else heapq.heappushpop)(least, item)
            if len(found.rows) // TELL_EVERY > (len(found.rows) - len(part)) // TELL_EVERY:
                note(f"{len(found.rows):,} of {len(plan.photos):,} photos")
    found.unsure = [(row, body) for _, _, row, body in sorted(least, key=lambda item: (-item[0], item[1]))]
    return found


def _open(body: bytes | PhotoRejected, rules: SchemaRules) -> DecodedPhoto | PhotoRejected:
    try:
        return body if isinstance(body, PhotoRejected) else inspect(body, rules)
    except PhotoRejected as unfit:
        return unfit


def _ask(
    session: SavedModelSession,
    names: Sequence[str],
    shas: Sequence[str],
    opened: Sequence[DecodedPhoto | PhotoRejected],
) -> Iterator[tuple[PhotoPrediction, bytes]]:
    photos = [photo for photo in opened if isinstance(photo, DecodedPhoto)]
    answers = iter(_answers(session, [photo.body for photo in photos]))
    for name, sha256, photo in zip(names, shas, opened, strict=True):
        if isinstance(photo, PhotoRejected):
            yield PhotoPrediction(name, sha256, error=str(photo.reason), detail=photo.detail), b""
            continue
        said = next(answers)
        if isinstance(said, str):
            yield PhotoPrediction(name, sha256, photo.width, photo.height, error="the model failed", detail=said), b""
        else:
            yield PhotoPrediction(name, sha256, photo.width, photo.height, *said), photo.body


Two = tuple[str, float, str | None, float | None]


def _answers(session: SavedModelSession, photos: Sequence[bytes]) -> list[Two | str]:
    """The two likeliest classes of each photo, or what the model failed with: one photo never takes others with it."""
    if not photos:
        return []
    try:
        table = session.ask(photos).probabilities
    except IntegrityError as error:
        if len(photos) == 1:
            return [error.message]
        return [said for photo in photos for said in _answers(session, [photo])]
    found: list[Two | str] = []
    for row in table:
        order = np.argsort(-row, kind="stable")[:2]
        best = [(session.classes[place], round(float(row[place]), 6)) for place in order]
        second: tuple[str | None, float | None] = best[1] if len(best) > 1 else (None, None)
        found.append((*best[0], *second))
    return found
