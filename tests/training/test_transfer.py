"""Networks with pretrained weights: a linear probe first, then every layer, each at its own rate, at several sizes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from orchard.reporter import Reporter
from tests.training.candidates import COLOURS
from tests.training.test_train import PHOTOS, parse, train_elsewhere, write_workspace
from training.model.candidate import read_candidate
from training.model.feed import BatchIterator
from training.model.heads import find_head
from training.model.in_memory import InMemoryPhotos
from training.model.optimizers import make_optimizer
from training.model.probe import fit_logistic
from training.model.train import read_curves, train
from training.model.trainer import Trainer

NETWORK = """
import keras

def network(image_size, classes):
    layers = keras.layers
    image = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(x)
    x = layers.Conv2D(12, 3, activation="relu", name="second")(x)
    return keras.Model(image, layers.Dense(classes, name="last")(layers.GlobalAveragePooling2D()(x)))
"""
TRANSFER = (
    "model.architecture=tiny_network:network",
    "model.weights=tiny.weights.h5",
    "model.resize=crop",
    "train.sizes=[12, 16]",
    "train.label_smoothing=0.1",
    "train.optimizer.stem_rate=0.1",
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A workspace with a network of its own, whose weights were trained before."""
    workspace = write_workspace(tmp_path)
    (tmp_path / "tiny_network.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import tiny_network

    keras.utils.set_random_seed(1)
    tiny_network.network(16, len(COLOURS)).save_weights("tiny.weights.h5")
    return workspace


def run(workspace, *overrides):
    return train(parse(*TRANSFER, *overrides), workspace, Reporter.silent())


def test_the_probe_is_epoch_0_and_fine_tuning_follows(project):
    document = run(project)

    curves = read_curves(project.candidate)
    assert [epoch.epoch for epoch in curves] == [0, 1, 2, 3]
    assert curves[0].learning_rate == 0
    assert curves[0].val_accuracy > 0.5  # of 4 colours, by random features
    assert document["best_epoch"] == min(curves, key=lambda epoch: epoch.val_loss).epoch


def test_the_probe_alone_changes_only_the_last_layer(project):
    document = run(project, "train.epochs=0", "train.schedule.warmup_epochs=0")

    assert (document["epochs_run"], document["best_epoch"]) == (1, 0)
    model = keras.models.load_model(project.candidate / "model.keras")
    import tiny_network

    before = tiny_network.network(16, len(COLOURS))
    before.load_weights("tiny.weights.h5")
    for name in ("first", "second"):
        assert all(np.array_equal(*pair) for pair in zip(model.get_layer(name).get_weights(), before.get_layer(name).get_weights(), strict=True))
    assert not np.array_equal(model.get_layer("last").get_weights()[0], before.get_layer("last").get_weights()[0])
    assert read_candidate(project.candidate).training["unsure"]["coverage"] == 0.95
