"""The key of every object in the bucket: the one module that builds and parses keys.

docs/architecture.md draws the same tree. What callers pass is checked by `orchard.key_names`: no key leaves its folder.
"""

from __future__ import annotations

import re

from orchard.key_names import is_name, is_run_id, require_day, require_hex, require_name, require_run_id

__all__ = [
    "batch_input", "batch_output", "blob", "blobs", "capture_file", "captures", "card", "change_lease", "channel",
    "channels", "checked_place", "corrected_photo", "corrected_photos", "correction", "corrections",
    "dataset_current", "dataset_version", "dataset_versions", "day_of_capture_key", "history", "history_entry",
    "incoming", "is_task_log", "leases", "manifest", "name_of_channel_key", "never_written",
    "number_of_annotation_key", "parts_of_correction_key", "parts_of_history_key", "parts_of_run_key",
    "place_probe", "probe", "prune_marker", "publish_claim", "publish_lease", "receiver_of_delivery_key", "review",
    "run", "run_checkpoint", "run_failure", "run_file", "run_page", "run_result", "run_step", "runs",
    "sha256_of_blob_key", "sha256_of_corrected_photo_key", "task_logs", "version_annotation", "version_annotations",
    "version_of_annotation_key", "version_of_card_key", "version_of_dataset_key", "version_of_manifest_key",
    "version_report", "versions", "webhook_delivery", "webhook_queue", "webhooks",
]  # fmt: skip

_MANIFEST = re.compile(r"models/[^/]+/versions/(\d{12})/manifest\.json")
_CARD = re.compile(r"models/[^/]+/versions/(\d{12})/card\.html")
_ANNOTATION = re.compile(r"models/[^/]+/versions/(\d{12})/annotations/(\d{6})\.json")
_DATASET = re.compile(r"datasets/[^/]+/versions/(\d{6,})\.json")
_BLOB = re.compile(r"models/[^/]+/blobs/sha256/([0-9a-f]{64})")
_RUN_KEY = re.compile(r"runs/([^/]+)/(.+)")
_CORRECTION = re.compile(r"review/[^/]+/corrections/([0-9a-f]{64})/([0-9a-f]{32})\.json")
_CORRECTED_PHOTO = re.compile(r"review/[^/]+/photos/([0-9a-f]{64})")
_CAPTURE = re.compile(r"capture/[^/]+/(\d{4}-\d{2}-\d{2})/.+")
_TASK_LOG = re.compile(r"logs/dag_id=[^/]+/.+")
_CHANNEL = re.compile(r"models/[^/]+/channels/([a-z0-9-]+)\.json")
_DELIVERY = re.compile(r"webhooks/[^/]+/([a-z0-9-]+)/deliveries/[a-z0-9_]+\.json")
_HISTORY = re.compile(r"models/[^/]+/history/(\d{12})-([a-z0-9-]+)-([a-z]+)\.json")


def dataset_versions(name: str) -> str:
    """The folder of a dataset's versions."""
    return f"datasets/{require_name(name)}/versions"


def dataset_version(name: str, version: int) -> str:
    """The document of one dataset version: created once, never changed."""
    return f"{dataset_versions(name)}/{version:06d}.json"


def version_of_dataset_key(key: str) -> int | None:
    """The version that a key of `dataset_versions` names, or None for any other key."""
    match = _DATASET.fullmatch(key)
    return int(match[1]) if match else None


def dataset_current(name: str) -> str:
    """The pointer to a dataset's current version: swapped."""
    return f"datasets/{require_name(name)}/current.json"


def incoming(dataset: str, day: str) -> str:
    """The folder of a day's new photos for a dataset, by class."""
    return f"incoming/{require_name(dataset)}/{require_day(day)}"


def batch_input(day: str) -> str:
    """The folder of a day's photos to predict."""
    return f"batch/in/{require_day(day)}"


def batch_output(day: str, name: str) -> str:
    """A file about a day's photos: ``plan.json``, ``predictions.parquet``, ``done.json`` and others."""
    return f"batch/out/{require_day(day)}/{name}"


def captures(model: str) -> str:
    """The folder of a model's sampled requests and answers, by day."""
    return f"capture/{require_name(model)}"


def capture_file(model: str, day: str, clock: str, sha256: str) -> str:
    """A file of captured predictions: created once.

    Args:
        model: the model's name.
        day: the day of its photos, UTC.
        clock: the time of its first photo, ``HHMMSS``.
        sha256: the digest of its bytes.
    """
    return f"{captures(model)}/{require_day(day)}/{clock}-{require_hex(sha256)[:16]}.parquet"


def day_of_capture_key(key: str) -> str | None:
    """The day that a key of `captures` names, or None for any other key."""
    match = _CAPTURE.fullmatch(key)
    return match[1] if match else None


def review(model: str) -> str:
    """The folder of what people say of a model's answers, until somebody has reviewed it."""
    return f"review/{require_name(model)}"


def corrections(model: str) -> str:
    """The folder of the records of corrections, by photo."""
    return f"{review(model)}/corrections"


def correction(model: str, photo: str, correction_id: str) -> str:
    """One person's correction of the answer to a photo: created once."""
    return f"{corrections(model)}/{require_hex(photo)}/{require_hex(correction_id, 32)}.json"


def parts_of_correction_key(key: str) -> tuple[str, str] | None:
    """The photo's SHA-256 and the id that a key of `corrections` names, or None for any other key."""
    match = _CORRECTION.fullmatch(key)
    return (match[1], match[2]) if match else None


def corrected_photos(model: str) -> str:
    """The folder of the photos of corrections."""
    return f"{review(model)}/photos"


def corrected_photo(model: str, sha256: str) -> str:
    """The photo of corrections, without metadata, by its SHA-256: created once."""
    return f"{corrected_photos(model)}/{require_hex(sha256)}"


def sha256_of_corrected_photo_key(key: str) -> str | None:
    """The SHA-256 that a key of `corrected_photos` names, or None for any other key."""
    match = _CORRECTED_PHOTO.fullmatch(key)
    return match[1] if match else None


def runs() -> str:
    """The folder of all runs."""
    return "runs"


def _of_run(run_id: str, rest: str) -> str:
    return f"{runs()}/{require_run_id(run_id)}/{rest}"


def run(run_id: str) -> str:
    """The kind, dataset, channel and day of a run: created once, by its first step."""
    return _of_run(run_id, "run.json")


def run_result(run_id: str, verb: str) -> str:
    """The result of `verb` in a run, written by the verb itself: created once."""
    return _of_run(run_id, f"{require_name(verb)}.json")


def run_step(run_id: str, verb: str) -> str:
    """How the step `verb` of a run ended: created once."""
    return _of_run(run_id, f"steps/{require_name(verb)}.json")


def run_failure(run_id: str, verb: str) -> str:
    """Why the step `verb` of a run failed the last time."""
    return _of_run(run_id, f"failures/{require_name(verb)}.json")


def run_file(run_id: str, verb: str, sha256: str) -> str:
    """The artifact of a step for the steps after it: an archive, by its SHA-256."""
    return _of_run(run_id, f"files/{require_name(verb)}-{require_hex(sha256)}.tar")


def run_checkpoint(run_id: str) -> str:
    """The checkpoint of a run's training, replaced after every epoch."""
    return _of_run(run_id, "files/checkpoint.tar")


def run_page(run_id: str, verb: str, suffix: str = ".html") -> str:
    """A step's page for people, or its report."""
    return _of_run(run_id, f"pages/{require_name(verb)}{suffix}")


def parts_of_run_key(key: str) -> tuple[str, str] | None:
    """The run and the rest that a key of `runs` names, such as ``steps/train.json``; None for any other key."""
    match = _RUN_KEY.fullmatch(key)
    return (match[1], match[2]) if match and is_run_id(match[1]) else None


def _model(model: str) -> str:
    return f"models/{require_name(model)}"


def blobs(model: str) -> str:
    """The folder of all bodies of a model's files."""
    return f"{_model(model)}/blobs/sha256"


def blob(model: str, sha256: str) -> str:
    """The body of a SavedModel's file, by its SHA-256; shared by all versions of the model."""
    return f"{blobs(model)}/{require_hex(sha256)}"


def sha256_of_blob_key(key: str) -> str | None:
    """The SHA-256 that a key of `blobs` names, or None for any other key."""
    match = _BLOB.fullmatch(key)
    return match[1] if match else None


def publish_claim(model: str, publish_id: str) -> str:
    """The claim of one publish, written before its commit; it names the version afterwards."""
    return f"{_model(model)}/publishes/{require_hex(publish_id)}.json"


def versions(model: str) -> str:
    """The folder of a model's versions."""
    return f"{_model(model)}/versions"


def manifest(model: str, version: int) -> str:
    """The signed manifest of a version: created once; the commit point of publishing."""
    return f"{versions(model)}/{version:012d}/manifest.json"


def version_of_manifest_key(key: str) -> int | None:
    """The version that a manifest's key names, or None for any other key."""
    match = _MANIFEST.fullmatch(key)
    return int(match[1]) if match else None


def card(model: str, version: int, suffix: str = ".html") -> str:
    """The model card of a version, ``.html`` or ``.md``: created once, after the manifest."""
    return f"{versions(model)}/{version:012d}/card{suffix}"


def version_of_card_key(key: str) -> int | None:
    """The version whose card, as HTML, a key names, or None for any other key."""
    match = _CARD.fullmatch(key)
    return int(match[1]) if match else None


def version_report(model: str, version: int) -> str:
    """The signed report of a version, for programs: created once, after the manifest."""
    return f"{versions(model)}/{version:012d}/report.json"


def version_annotations(model: str, version: int) -> str:
    """The folder of a version's notes and tags."""
    return f"{versions(model)}/{version:012d}/annotations"


def version_annotation(model: str, version: int, number: int) -> str:
    """One signed note, tag or removal of a tag: created once, under the next free number."""
    return f"{version_annotations(model, version)}/{number:06d}.json"


def number_of_annotation_key(key: str) -> int | None:
    """The number that a key of `version_annotations` names, or None for any other key."""
    match = _ANNOTATION.fullmatch(key)
    return int(match[2]) if match else None


def version_of_annotation_key(key: str) -> int | None:
    """The version that a note or a tag is about, by its key, or None for any other key."""
    match = _ANNOTATION.fullmatch(key)
    return int(match[1]) if match else None


def channels(model: str) -> str:
    """The folder of the pointers of a model's channels."""
    return f"{_model(model)}/channels"


def channel(model: str, name: str) -> str:
    """The signed pointer of a channel: swapped."""
    return f"{channels(model)}/{require_name(name)}.json"


def name_of_channel_key(key: str) -> str | None:
    """The channel that a key of `channels` names, or None for any other key."""
    match = _CHANNEL.fullmatch(key)
    return match[1] if match and is_name(match[1]) else None


def history(model: str) -> str:
    """The folder of all history entries of a model's channels."""
    return f"{_model(model)}/history"


def history_entry(model: str, generation: int, name: str, action: str) -> str:
    """The pointer of a channel at one generation: created once."""
    return f"{history(model)}/{generation:012d}-{require_name(name)}-{action}.json"


def parts_of_history_key(key: str) -> tuple[int, str, str] | None:
    """Generation, channel and action that a key of `history` names, or None for any other key."""
    match = _HISTORY.fullmatch(key)
    return (int(match[1]), match[2], match[3]) if match else None


def probe(model: str, number: int = 0) -> str:
    """One of the objects on which publishers check the store's conditional writes."""
    return f"{_model(model)}/probes/{number:02d}.json"


def webhooks(model: str) -> str:
    """The folder of what webhook receivers got, and are to get, of a model's events."""
    return f"webhooks/{require_name(model)}"


def webhook_queue(model: str, receiver: str) -> str:
    """Up to which event a receiver was served, and what waits for it: swapped."""
    return f"{webhooks(model)}/{require_name(receiver)}/queue.json"


def webhook_delivery(model: str, receiver: str, event_id: str) -> str:
    """The record of one event for one receiver: created once, before the first attempt; swapped by each attempt."""
    return f"{webhooks(model)}/{require_name(receiver)}/deliveries/{event_id}.json"


def receiver_of_delivery_key(key: str) -> str | None:
    """The receiver that a key of `webhook_delivery` names, or None for any other key."""
    match = _DELIVERY.fullmatch(key)
    return match[1] if match else None


def checked_place(folder: str, model: str, dataset: str) -> str:
    """The part of a folder of the bucket that the work on one model and dataset uses, for `orchard store check`."""
    names = {
        "models": model,
        "capture": model,
        "review": model,
        "webhooks": model,
        "datasets": dataset,
        "incoming": dataset,
    }
    return f"{folder}/{require_name(names[folder])}" if folder in names else folder


def place_probe(place: str) -> str:
    """The object of a `checked_place` on which `orchard store check` checks the store's conditional writes."""
    return f"{place}/_probes/00.json"


def never_written(place: str) -> str:
    """A key of a `checked_place` that no program writes: reading, replacing and deleting it shows the rights."""
    return f"{place}/_probes/none.json"


def leases(model: str) -> str:
    """The folder of the leases of publishes and channel changes."""
    return f"{_model(model)}/holds"


def publish_lease(model: str, publish_id: str) -> str:
    """The lease of a publish; empty after the commit."""
    return f"{leases(model)}/publish-{require_hex(publish_id)}.json"


def change_lease(model: str, channel: str, generation: int, version: int) -> str:
    """The lease of a channel change; expired when the channel is at that generation."""
    return f"{leases(model)}/{require_name(channel)}-{generation:012d}-{version:012d}.json"


def task_logs() -> str:
    """The folder of the logs of Airflow's tasks."""
    return "logs"


def is_task_log(key: str) -> bool:
    """Whether a key is one of Airflow's task logs."""
    return _TASK_LOG.fullmatch(key) is not None


def prune_marker(model: str) -> str:
    """The marker of a prune, which names the blobs that it is deleting: swapped."""
    return f"{_model(model)}/pruning.json"
