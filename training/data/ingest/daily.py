"""What `orchard ingest --day` does: a day's photos in the store become a dataset version, in any folder, once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchard import dataset
from orchard.cli.output import Output
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.data import staging
from training.data.ingest.commit import DatasetCommitResult, check_lineage, release
from training.data.ingest.incoming import IncomingPhotos
from training.data.ingest.ingest import DATA, IngestRequest, IngestResult, ingest
from training.data.pull import pull
from training.data.shards import INDEX

__all__ = ["MAX_REFUSED", "DailyIngest", "ingest_day"]

MAX_REFUSED = 0.5
"""The share of a day's files that may be refused: a day is small, and what is broken in it stands in the report."""


@dataclass(frozen=True, slots=True)
class DailyIngest:
    """What came of a day.

    Attributes:
        outcome: of the ingest; None: there was nothing to look at.
        released: what is in the store; None: as above.
        nothing_new: why there is no new version; empty: there is one.
    """

    outcome: IngestResult | None
    released: DatasetCommitResult | None
    nothing_new: str


def ingest_day(settings: Settings, request: IngestRequest, day: str, split: str, out: Output) -> DailyIngest:
    """Ingest what lies in the store for a day, on top of the dataset's current version, which is brought here first.

    The same day again adds what has come since. A retry of a run finds the version that the run made, also when it was
    killed after making it.

    Args:
        settings: where the store is, whose run it is.
        request: how to ingest; its sources are ignored.
        day: ``YYYY-MM-DD``.
        split: of photos whose folders name none.
        out: says what goes on.

    Raises:
        DataError: too much was refused, or nothing of it is a photo of this dataset; nothing was written.
        ConflictError: somebody else made a version meanwhile. In an empty folder the same call again goes on from that.
        StoreError: the store failed.
    """
    store = open_store(settings)
    incoming = IncomingPhotos(store, request.dataset, day, split)
    if not incoming.names():
        return DailyIngest(None, None, f"no photos for {day}: nothing lies under {incoming}")
    folder = DATA / request.dataset
    if not (folder / INDEX).exists() and dataset.current(store, request.dataset) is not None:
        with out.status(f"fetching {folder}/"):
            pull(settings, folder, None, out.note)
    with staging.locked(DATA, out.note):
        check_lineage(store, folder)
        outcome = ingest(replace(request, sources=(incoming,)), out)
        with out.status(f"bringing {folder}/ to the store"):
            released = release(settings, folder, outcome.index)
    if released.created:
        return DailyIngest(outcome, released, "")
    before = _made_before(store, settings, request.dataset)
    if before is not None:
        return DailyIngest(outcome, DatasetCommitResult(before, created=True), "")
    photos = outcome.findings.present + outcome.findings.added
    return DailyIngest(
        outcome, released, f"nothing new on {day}: its {photos} photos are in version {released.version} already"
    )


def _made_before(store: ObjectStore, settings: Settings, name: str) -> int | None:
    """The version that an earlier attempt of this run made."""
    found = dataset.made_by(store, name, settings.run_id) if settings.run_id else None
    return found.version if found else None
