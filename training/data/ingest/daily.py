"""`orchard ingest --day`: a day's photos in the store become a dataset version, once, from any folder."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchard.dataset import CommitResult, Dataset
from orchard.reporter import Reporter
from orchard.settings import Settings
from orchard.store import open_store
from training.data import staging
from training.data.dvc_project import DATA, require_no_link
from training.data.ingest.commit import check_lineage, commit
from training.data.ingest.incoming import IncomingPhotos
from training.data.ingest.ingest import IngestRequest, IngestResult, ingest
from training.data.pull import pull
from training.data.shards import INDEX

__all__ = ["MAX_REFUSED", "DailyIngest", "ingest_day"]

MAX_REFUSED = 0.5
"""The share of a day's files that may be rejected: a day is small, and the report lists every rejection."""


@dataclass(frozen=True, slots=True)
class DailyIngest:
    """The result of a day's ingest.

    Attributes:
        outcome: of the ingest; None: there were no photos.
        committed: the version in the store; None: there were no photos.
        nothing_new: why there is no new version; empty: there is one.
    """

    outcome: IngestResult | None
    committed: CommitResult | None
    nothing_new: str


def ingest_day(settings: Settings, request: IngestRequest, day: str, split: str, reporter: Reporter) -> DailyIngest:
    """Ingest a day's photos in the store into the dataset's current version, which is downloaded first.

    The same day again adds the photos that have arrived since. A retry of a run finds the version that the run made,
    even if the run was killed after that.

    Args:
        settings: the store's settings and the run id.
        request: how to ingest; its sources are ignored.
        day: ``YYYY-MM-DD``.
        split: the split of photos whose folders name none.
        reporter: reports progress.

    Raises:
        DataError: too many files were rejected, or none is a photo of this dataset; nothing was written.
        ConflictError: another commit was first. The same call in an empty folder starts from that version.
        StoreError: the store failed.
    """
    store = open_store(settings)
    incoming = IncomingPhotos(store, request.dataset, day, split)
    if not incoming.names():
        return DailyIngest(None, None, f"no photos for {day}: {incoming} is empty")
    folder = DATA / request.dataset
    require_no_link(DATA, folder)
    if not (folder / INDEX).exists() and Dataset(store, request.dataset).current() is not None:
        with reporter.status(f"downloading {folder}/"):
            pull(settings, folder, None, reporter)
    with staging.locked(DATA, reporter):
        check_lineage(store, folder)
        outcome = ingest(replace(request, sources=(incoming,)), reporter)
        with reporter.status(f"uploading {folder}/"):
            committed = commit(settings, folder, outcome.index, reporter)
    if committed.created:
        return DailyIngest(outcome, committed, "")
    # an earlier attempt of this run may have made the version
    earlier = Dataset(store, request.dataset).made_by(settings.run_id) if settings.run_id else None
    if earlier is not None:
        return DailyIngest(outcome, CommitResult(earlier, created=True), "")
    photos = outcome.findings.present + outcome.findings.added
    reason = f"nothing new on {day}: its {photos} photos are in version {committed.version.version} already"
    return DailyIngest(outcome, committed, reason)
