"""Training from the dataset folder to the candidate: read, split, fit, export, replace the candidate atomically."""

from __future__ import annotations

import csv
import platform
import resource
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from orchard import __version__, documents
from orchard.disk import writing_to
from orchard.errors import DataError, IntegrityError
from orchard.reporter import Reporter
from training.data.schema import SCHEMA, SchemaRules, load
from training.data.shards import Index, read_index
from training.model.architectures import describe_origin
from training.model.candidate import CURVES, KERAS_MODEL, SAVED_MODEL, TRAINING
from training.model.checkpoint import Checkpoint, name_run
from training.model.conformal import Calibration, calibrate
from training.model.fit import EpochFigures, FitResult, fit
from training.model.golden_photos import choose_photos, write_golden
from training.model.in_memory import InMemoryPhotos, read_training_photos
from training.model.preprocessing import decode_photos
from training.model.savedmodel_export import export, predict
from training.model.savedmodel_session import open_model
from training.model.teachers import check_teachers, describe_teachers
from training.model.trainer import predict_photos_in_memory, small_batches
from training.model.validation_photos import choose_validation_photos
from training.params import Params
from training.workspace import CHECKPOINTS, Workspace

__all__ = ["read_curves", "train"]

AGREEMENT = 1e-5
"""The largest difference allowed between the export's probabilities and the network's."""


def train(params: Params, workspace: Workspace, reporter: Reporter, schema: Path | None = None) -> dict[str, Any]:
    """Train the network of the params on their dataset and replace the workspace's candidate.

    Args:
        params: all of params.yaml.
        workspace: has the dataset; gets the candidate, replaced as a whole at the end. An interrupted run resumes from its
            checkpoint there.
        reporter: reports progress.
        schema: the file with the rules for photos, which the exported graph applies; None: the workspace's.

    Returns:
        The document ``training.json``.

    Raises:
        DataError: there is no dataset, or it has too few photos for training and validation.
        DiskError: the candidate or the checkpoint cannot be written.
        IntegrityError: a shard is damaged, or export and network predict differently.
        OrchardError: the training diverged.
        ParamsError: the schema is invalid, or a teacher knows other classes.
    """
    begin = time.monotonic()
    rules = load(schema or workspace.root / SCHEMA).rules(params.data.name)
    folder = workspace.dataset(params.data.name)
    index = read_index(folder)
    check_teachers(params.train.distillation.teachers, index.classes)
    train_photos, validation = _read_and_split(index, params, folder, reporter)
    golden = choose_photos(folder, index.classes, rules)  # before the training: without them nothing is published
    checkpoint = Checkpoint(workspace.root / CHECKPOINTS, name_run(params, index.digest))
    fitted = fit(params, len(index.classes), train_photos, validation, checkpoint, reporter)
    with reporter.status("exporting the model"), _atomic_replace(workspace.candidate) as new:
        calibration = _calibrate(fitted, validation, params)
        _export(fitted, params, calibration, rules, index, golden, new)
        document = _describe(params, index, fitted, calibration, time.monotonic() - begin)
        (new / TRAINING).write_bytes(documents.canonical_json(document) + b"\n")
    checkpoint.remove()
    return document


def _read_and_split(
    index: Index, params: Params, folder: Path, reporter: Reporter
) -> tuple[InMemoryPhotos, InMemoryPhotos]:
    """Return the photos to learn from and those to validate by; the undivided ones are gone from memory afterwards."""
    with reporter.status(f"decoding {sum(index.counts['train'].values())} photos"):
        photos = read_training_photos(folder, index, params)
    counts = np.bincount(photos.labels, minlength=len(index.classes))
    empty = [label for label, count in zip(index.classes, counts, strict=True) if not count]
    if empty:
        raise DataError(
            f"no training photo of {', '.join(empty)}: every class needs training photos",
            hint="ingest photos of it, or make the dataset without this class",
        )
    chosen = choose_validation_photos(photos, index, params, folder, reporter)
    if not chosen.any():
        strata = set(zip(photos.labels.tolist(), photos.sources, strict=True))
        share = params.train.validation.share
        raise DataError(
            f"{share:.0%} of {len(photos)} photos in {len(strata)} groups leave no validation photo",
            hint="ingest more photos, or raise train.validation.share in params.yaml",
        )
    return photos.select(~chosen), photos.select(chosen)


def _calibrate(fitted: FitResult, validation: InMemoryPhotos, params: Params) -> Calibration:
    """Find from which probability on a class is possible, by the validation photos and the network as it is served."""
    found = predict_photos_in_memory(fitted.model, validation, np.arange(len(validation)), params.model)
    return calibrate(found, validation.labels, validation.sources, params.model.coverage)


def _export(
    fitted: FitResult,
    params: Params,
    calibration: Calibration,
    rules: SchemaRules,
    index: Index,
    golden: Sequence[bytes],
    folder: Path,
) -> None:
    saved_model = folder / SAVED_MODEL
    export(
        fitted.model,
        index.classes,
        saved_model,
        mirrored=params.model.mirrored,
        crop=params.model.crop,
        threshold=calibration.threshold,
        rules=rules,
    )
    _check_export(fitted, params, saved_model, golden)
    write_golden(saved_model, golden)
    fitted.model.save(folder / KERAS_MODEL)
    _write_curves(fitted.epochs, folder / CURVES)


def _write_curves(epochs: Sequence[EpochFigures], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(EpochFigures)])
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in asdict(epoch).items()} for epoch in epochs)


def read_curves(candidate: Path) -> list[EpochFigures]:
    """Read the epochs' figures from a candidate's curves.csv."""
    with (candidate / CURVES).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        EpochFigures(epoch=int(row.pop("epoch")), **{name: float(value) for name, value in row.items()}) for row in rows
    ]


def _check_export(fitted: FitResult, params: Params, saved_model: Path, photos: Sequence[bytes]) -> None:
    """Load the export as a server does; compare its predictions with the network's on the same photos."""
    model = params.model
    pixels = decode_photos(photos, model.image_size, crop=model.crop)
    parts = small_batches(len(photos), model.image_size)
    expected = np.concatenate(
        [
            np.asarray(predict(fitted.model, tf.constant(pixels[part], tf.float32), mirrored=model.mirrored))
            for part in parts
        ]
    )
    with open_model(saved_model) as session:
        exported = session.predict(photos).probabilities
    difference = float(np.abs(expected - exported).max())
    if difference > AGREEMENT or not np.array_equal(expected.argmax(axis=1), exported.argmax(axis=1)):
        raise IntegrityError(
            f"export and network predict differently: the probabilities differ by up to {difference:.1e}, "
            f"expected at most {AGREEMENT:.0e}; nothing was written",
            hint="the architecture may have a layer that export changes; tests/training/test_export.py shows how to find it",
        )


def _describe(
    params: Params, index: Index, fitted: FitResult, calibration: Calibration, seconds: float
) -> dict[str, Any]:
    return {
        "format": documents.FORMAT,
        "dataset": {"name": index.name, "digest": index.digest},
        "params": params.document,
        "params_digest": params.digest,
        "classes": list(index.classes),
        "parameters": fitted.parameters,
        **describe_origin(params.model),
        **describe_teachers(params.train.distillation.teachers),
        "epochs_run": len(fitted.epochs),
        "best_epoch": fitted.best_epoch,
        "unsure": asdict(calibration),
        "seconds": round(seconds, 1),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.version.VERSION,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "orchard": __version__,
        },
    }


@contextmanager
def _atomic_replace(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` at the end; on an error the old one stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}.new")
    old = folder.with_name(f".{folder.name}.old")
    for stale in (new, old):
        shutil.rmtree(stale, ignore_errors=True)
    with writing_to(folder.parent, "the candidate before and the checkpoint are unchanged"):
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
