"""Distillation: a network learns what candidates of before say of the same varied photos."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from orchard.documents import sha256_hex
from orchard.errors import DataError, IntegrityError, ParamsError
from orchard.reporter import Reporter
from tests.training.candidates import COLOURS
from tests.training.test_train import parse, run, write_workspace
from training.data.photo_rows import read_rows
from training.data.shards import read_index
from training.model.checkpoint import name_run
from training.model.feed import BatchIterator
from training.model.grouped_photos import GroupedPhotos
from training.model.in_memory import read_photos
from training.model.teachers import Teachers
from training.model.trained_folds import train_folds
from training.model.trainer import Trainer

TAUGHT = "train.distillation.teachers=[teacher]"


@pytest.fixture
def taught(tmp_path, monkeypatch):
    """A workspace with a teacher that knows mean colours, and takes every class for the next one."""
    monkeypatch.chdir(tmp_path)
    workspace = write_workspace(tmp_path)
    photos = train_photos(workspace)
    means = photos.pixels.mean(axis=(1, 2)) / 255
    centres = np.stack([means[photos.labels == label].mean(axis=0) for label in range(len(COLOURS))])
    image = keras.Input((16, 16, 3))
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(len(COLOURS))
    network = keras.Model(image, keras.layers.Softmax()(dense(mean)))
    nearest = [200 * centres.T, -100 * (centres**2).sum(axis=1)]
    dense.set_weights([np.roll(values, 1, axis=-1) for values in nearest])
    Path("teacher").mkdir()
    network.save("teacher/model.keras")
    Path("teacher/training.json").write_text(json.dumps({"classes": sorted(COLOURS)}))
    return workspace


def train_photos(workspace):
    folder = workspace.dataset("fruits")
    return read_photos(folder, read_index(folder), "train", 16)


def test_a_network_learns_what_its_teacher_says_even_against_the_labels(taught):
    photos = train_photos(taught)
    loaded = parse(TAUGHT, "train.distillation.share=1.0", "train.optimizer.learning_rate=0.02", "train.epochs=12")
    trainer = Trainer(loaded, len(COLOURS), BatchIterator(photos, 16, 7))

    for epoch in range(12):
        for step, positions in enumerate(trainer.feed.batches(epoch)):
            trainer.learn(positions, epoch, step)

    said = trainer.averaged(photos.pixels.astype(np.float32)).numpy().argmax(axis=1)
    assert (said == (photos.labels + 1) % len(COLOURS)).mean() > 0.9


def test_a_candidate_names_its_teachers(taught):
    run(taught, TAUGHT)

    (teacher,) = json.loads((taught.candidate / "training.json").read_text())["teachers"]
    assert teacher == {"from": "teacher", "sha256": sha256_hex(Path("teacher/model.keras").read_bytes())}


def test_another_teacher_is_another_run(taught):
    before = name_run(parse(TAUGHT), "d" * 64)
    network = keras.models.load_model("teacher/model.keras")
    network.set_weights([2 * values for values in network.get_weights()])
    network.save("teacher/model.keras")

    assert name_run(parse(TAUGHT), "d" * 64) != before


def test_teachers_of_another_size_see_the_same_photos(taught):
    images = np.random.default_rng(0).uniform(0, 255, (3, 24, 24, 3)).astype(np.float32)

    assert Teachers(["teacher", "teacher"])(images).numpy().sum(axis=1) == pytest.approx(1)


def break_teacher(change):
    if change == "classes":
        path = Path("teacher/training.json")
        document = json.loads(path.read_text())
        document["classes"][0] = "Black"
        path.write_text(json.dumps(document))
    elif change == "network":
        Path("teacher/model.keras").write_bytes(b"PK\x03\x04 cut off")
    else:
        shutil.rmtree("teacher")


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ("classes", ParamsError, "teacher has other classes than the dataset: Black, Blue"),
        ("network", IntegrityError, "teacher/model.keras cannot be read"),
        ("missing", DataError, "teacher is no candidate"),
    ],
)
def test_a_teacher_that_cannot_teach_is_an_error_that_leaves_the_candidate(taught, change, error, text):
    break_teacher(change)
    taught.candidate.mkdir(parents=True)
    (taught.candidate / "training.json").write_text("before")

    with pytest.raises(error, match=text):
        run(taught, TAUGHT)

    assert (taught.candidate / "training.json").read_text() == "before"


def test_teachers_are_refused_where_folds_judge_because_they_have_seen_them(taught):
    rows = read_rows(taught.dataset("fruits"), "train")
    labels = np.zeros(len(rows), np.int32)
    photos = GroupedPhotos(rows, labels, labels, labels)

    with pytest.raises(ParamsError, match="learned from the photos of the folds"):
        train_folds(photos, read_index(taught.dataset("fruits")), 5, parse(TAUGHT), taught, Reporter.silent())


def test_without_teachers_nothing_changes(taught):
    run(taught, "train.distillation.share=0.9")

    document = json.loads((taught.candidate / "training.json").read_text())
    assert "teachers" not in document
