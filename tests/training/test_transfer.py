"""Networks with pretrained weights: a linear probe first, then every layer, each at its own rate, at several sizes."""

from __future__ import annotations

import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from orchard.reporter import Reporter
from tests.training.candidates import COLOURS
from tests.training.test_train import parse, same, train_elsewhere, write_workspace
from training.data.photo_rows import read_rows
from training.data.shards import read_index
from training.model import trained_folds
from training.model.candidate import read_candidate
from training.model.feed import BatchIterator
from training.model.heads import find_head
from training.model.in_memory import InMemoryPhotos, read_photos
from training.model.linear_probe import fit_logistic
from training.model.optimizers import make_optimizer
from training.model.temperature import calibrated_loss
from training.model.train import read_curves, train
from training.model.trained_folds import TrainedNetwork
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
        assert same(model.get_layer(name).get_weights(), before.get_layer(name).get_weights())
    assert not np.array_equal(model.get_layer("last").get_weights()[0], before.get_layer("last").get_weights()[0])
    assert read_candidate(project.candidate).training["unsure"]["coverage"] == 0.95


def test_the_head_is_fitted_again_after_the_last_epoch(project):
    document = run(project, "train.epochs=2", "train.refit=true", "train.label_smoothing=0.9")

    curves = read_curves(project.candidate)
    assert [epoch.epoch for epoch in curves] == [0, 1, 2, 3]
    assert curves[3].learning_rate == 0
    assert curves[3].val_loss < curves[2].val_loss  # so much smoothing leaves the trained head unsure of everything
    trained = min(curves[:3], key=lambda epoch: epoch.val_loss).epoch
    assert document["best_epoch"] in {trained, 3}  # which of the two is better does not follow from that


def test_heads_are_compared_however_sure_they_are():
    dice = np.random.default_rng(5)
    labels = dice.integers(0, 4, 200, np.int32)
    logits = (np.eye(4)[labels] * 2 + dice.normal(size=(200, 4))).astype(np.float32)
    worse = (np.eye(4)[labels] + dice.normal(size=(200, 4))).astype(np.float32)

    best = calibrated_loss(logits, labels)

    assert calibrated_loss(logits / 20, labels) == pytest.approx(best, rel=1e-4)
    assert calibrated_loss(logits * 20, labels) == pytest.approx(best, rel=1e-4)
    assert best < calibrated_loss(worse, labels) <= np.log(4)


def test_the_head_is_fitted_again_where_training_stopped_early(project):
    still = ("train.optimizer.learning_rate=1.0e-12", "train.early_stopping.patience=1", "train.epochs=3")
    run(project, *still, "train.refit=true")

    assert [epoch.epoch for epoch in read_curves(project.candidate)] == [0, 1, 4]


@pytest.mark.long
def test_a_killed_run_resumes_after_its_probe(project):
    small = parse(*TRANSFER, "train.epochs=1", "train.refit=true")
    whole = train_elsewhere(project.root, loaded=small)
    assert whole.returncode == 0, whole.stderr
    model = project.candidate / "saved_model" / "saved_model.pb"
    at_once = model.read_bytes()
    model.unlink()
    died = train_elsewhere(project.root, "epoch   1 of 1", small)  # trained, but its checkpoint is not yet written
    assert died.returncode == -signal.SIGKILL, died.stderr

    resumed = train_elsewhere(project.root, loaded=small)

    assert "resumes after epoch 0 of an interrupted run" in resumed.stdout, resumed.stderr
    assert "linear probe" not in resumed.stdout
    assert model.read_bytes() == at_once


def test_layers_near_the_stem_learn_more_slowly(project):
    small = parse(
        *TRANSFER, "train.optimizer.name=sgd", "train.optimizer.momentum=0.0", "train.schedule.warmup_epochs=0"
    )
    import tiny_network

    model = tiny_network.network(16, 4)
    optimizer = make_optimizer(small.train, 10, model)
    optimizer.build(model.trainable_variables)
    before = [variable.numpy() for variable in model.trainable_variables]

    optimizer.apply([tf.ones(variable.shape) for variable in model.trainable_variables], model.trainable_variables)

    steps = [float((old - new.numpy()).mean()) for old, new in zip(before, model.trainable_variables, strict=True)]
    peak = small.train.optimizer.learning_rate
    assert steps == pytest.approx([0.1 * peak] * 2 + [peak] * 4, rel=1e-3)


def test_each_size_has_its_part_of_the_epochs_and_the_same_weights(project):
    small = parse(*TRANSFER, "train.epochs=4")
    files = project.dataset("fruits")
    photos = read_photos(files, read_index(files), "train", 16, crop=True, encoded=True)
    trainer = Trainer(small, len(COLOURS), BatchIterator(photos, 16, 7))
    seen = []
    take = trainer.feed.take
    trainer.feed.take = lambda positions, size: seen.append(size) or take(positions, size)
    before = find_head(trainer.averaged).weights[0].copy()

    for epoch in range(4):
        trainer.learn(trainer.feed.batches(epoch)[0], epoch, 0)

    assert seen == [12, 12, 16, 16]
    assert not np.array_equal(before, find_head(trainer.averaged).weights[0])


@pytest.mark.parametrize("present", [[0], [1, 3], [0, 1, 2, 3]])
def test_logistic_regression_is_the_dense_layer_and_missing_classes_are_never_said(present):
    dice = np.random.default_rng(3)
    labels = np.array(present * 40, np.int32)
    centres = dice.normal(0, 50, (4, 6))
    features = (100 + centres[labels] + dice.normal(0, 1, (len(labels), 6))).astype(np.float32)

    kernel, bias = fit_logistic(features, labels, 4, 0.01)

    assert (features @ kernel + bias).argmax(axis=1).tolist() == labels.tolist()


def test_a_class_without_photos_of_a_source_and_one_photo_in_a_class_are_no_obstacle():
    pixels, labels = np.zeros((30, 8, 8, 3), np.uint8), np.array([0] * 29 + [1], np.int32)
    photos = InMemoryPhotos(pixels, labels, ("",) * 30, ("shop",) * 29 + ("turntable",), ("",) * 30)

    feed = BatchIterator(photos, 4, 7, {"turntable": 0.05, "shop": 0.2})

    assert 29 in np.concatenate(feed.batches(0))


def test_a_trained_network_is_cross_validated_without_seeing_its_fold_and_keeps_what_is_done(project, monkeypatch):
    small = parse(*TRANSFER, "train.sizes=[]")
    rows = read_rows(project.dataset("fruits"), "train")
    learned = []
    fit = trained_folds.fit
    monkeypatch.setattr(trained_folds, "fit", lambda *given: learned.append(given[2:4]) or fit(*given))
    network = TrainedNetwork(small, project, [row.digest for row in rows], Reporter.silent())
    test = np.arange(0, len(rows), 4)
    train = np.setdiff1d(np.arange(len(rows)), test)

    first = network(train, test)
    again = TrainedNetwork(small, project, [row.digest for row in rows], Reporter.silent())(train, test)

    assert len(learned) == 1, "the second run reads what the first one has predicted"
    assert np.array_equal(first, again)
    seen = {digest for part in learned[0] for digest in part.digests}
    assert seen == {rows[place].digest for place in train}
    labels = [sorted(COLOURS).index(rows[place].label) for place in test]
    assert (first.argmax(axis=1) == labels).mean() > 0.5
    network.forget()
    assert not list(project.root.glob(".orchard/checkpoints/*"))
