"""Networks: inputs and outputs, folding, and the augmentation of training photos."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.test_params import TEXT
from training import params
from training.model.architectures import ARCHITECTURES, build, count_parameters, logits_of
from training.model.augmentation import augment
from training.model.fold import fold

STILL = params.AugmentationParams(
    flip=False,
    rotation=0,
    zoom_in=1,
    zoom_out=1,
    shift=0,
    background=0,
    paste=0,
    brightness=0,
    colour=0,
    gamma=0,
    patch=0,
)


def parse(*overrides):
    return params.parse(TEXT, overrides=["model.image_size=20", "model.cnn.filters=[4, 6]", *overrides])


def pictures(n=8, size=20, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (n, size, size, 3)).astype(np.float32)


def randomize_norms(model, seed=0):
    """Give every batch norm random statistics; fresh ones change nothing, and any folding would pass."""
    dice = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.moving_mean.shape[0]
            for variable, low, high in (
                (layer.gamma, 0.5, 1.5),
                (layer.beta, -1, 1),
                (layer.moving_mean, -1, 1),
                (layer.moving_variance, 0.3, 2),
            ):
                if variable is not None:
                    variable.assign(dice.uniform(low, high, n))
    return model


def norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_answers_are_probabilities_of_every_class(architecture):
    model = build(parse(f"model.architecture={architecture}").model, 5)

    answers = np.asarray(model(pictures()))

    assert answers.shape == (8, 5)
    assert answers.min() >= 0
    assert answers.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert model.input_shape == (None, 20, 20, 3)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_softmax_of_the_logits_is_the_answer_and_the_weights_are_shared(architecture):
    model = build(parse(f"model.architecture={architecture}").model, 5)

    logits = logits_of(model)

    assert np.allclose(tf.nn.softmax(logits(pictures())), model(pictures()), atol=1e-6)
    assert all(one is other for one, other in zip(logits.variables, model.variables, strict=True))


def test_parameters_are_counted_without_running_statistics():
    model = build(parse().model, 5)

    convolutions = 5 * 5 * 3 * 4 + 3 * 3 * 4 * 6
    assert count_parameters(model) == convolutions + 2 * (4 + 6) + 6 * 5 + 5


def test_same_seed_gives_the_same_first_weights():
    weights = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        weights.append(build(parse().model, 5).get_weights()[0])

    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_folded_network_predicts_as_the_original():
    model = randomize_norms(build(parse().model, 5))

    folded = fold(model)

    assert norms(model)
    assert not norms(folded)
    assert np.allclose(folded(pictures()), model(pictures(), training=False), atol=1e-6)


def test_depthwise_dense_and_biased_layers_are_folded_too():
    layers = keras.layers
    image = keras.Input((12, 12, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, bias_initializer="ones")(image))
    x = layers.BatchNormalization(scale=False)(layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x))
    x = layers.BatchNormalization(center=False)(layers.Dense(5)(layers.Flatten()(x)))
    model = randomize_norms(keras.Model(image, layers.Softmax()(x)))

    folded = fold(model)

    assert not norms(folded)
    given = pictures(size=12) / 255
    assert np.allclose(folded(given), model(given, training=False), atol=1e-6)


def test_norm_that_cannot_be_folded_stays():
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(4, 3, padding="same", name="twice")(image)
    curved = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    first = layers.BatchNormalization()(image)
    model = keras.Model(
        image,
        layers.Concatenate()([shared, layers.BatchNormalization()(shared), layers.BatchNormalization()(curved), first]),
    )
    randomize_norms(model)

    folded = fold(model)

    assert len(norms(folded)) == 3
    assert np.allclose(folded(pictures(size=8)), model(pictures(size=8), training=False), atol=1e-3)


def vary(images, how, seed=(1, 2), classes=4):
    targets = np.eye(classes, dtype=np.float32)[np.arange(len(images)) % classes]
    varied, right = augment(tf.constant(images), tf.constant(targets), tf.constant(seed, tf.int32), how)
    return np.asarray(varied), np.asarray(right)


def test_no_augmentation_changes_nothing():
    varied, right = vary(pictures(), STILL)

    assert np.allclose(varied, pictures(), atol=1e-3)
    assert np.array_equal(right, np.eye(4, dtype=np.float32)[np.arange(8) % 4])


@pytest.mark.parametrize(
    "change",
    [
        {"flip": True},
        {"rotation": 30.0},
        {"zoom_in": 2.0},
        {"zoom_out": 2.0},
        {"shift": 0.3},
        {"background": 1.0},
        {"brightness": 0.3},
        {"colour": 0.3},
        {"patch": 1.0},
    ],
)
def test_each_augmentation_changes_photos_each_in_its_own_way(change):
    same = np.repeat(pictures(1), 16, axis=0)
    if "patch" in change:
        same = pictures(16)
    if "background" in change:
        same[:, :5] = 255

    varied, _ = vary(same, STILL.model_copy(update=change))

    assert varied.shape == same.shape
    assert varied.min() >= 0
    assert varied.max() <= 255
    assert len({picture.tobytes() for picture in varied}) > 1
    assert not np.allclose(varied, same, atol=1)


def test_variation_depends_only_on_the_seed():
    how = params.parse(TEXT).train.augmentation

    assert np.array_equal(vary(pictures(), how)[0], vary(pictures(), how)[0])
    assert not np.array_equal(vary(pictures(), how)[0], vary(pictures(), how, seed=(1, 3))[0])


def test_patch_takes_its_share_of_the_label():
    plain = np.zeros((64, 20, 20, 3), np.float32)
    plain[:] = (np.arange(64) % 4).reshape(-1, 1, 1, 1) * 80

    varied, right = vary(plain, STILL.model_copy(update={"patch": 0.5}))

    assert right.sum(axis=1) == pytest.approx(1, abs=1e-5)
    for picture, answer, place in zip(varied, right, range(64), strict=True):
        own = (np.abs(picture[..., 0] - place % 4 * 80) < 1).mean()
        assert answer[place % 4] == pytest.approx(own, abs=1e-5)
    assert 0.2 < (right.max(axis=1) < 1).mean() < 0.8


def test_zoomed_out_photo_gets_the_background_around_it():
    how = STILL.model_copy(update={"zoom_out": 3.0})

    varied, _ = vary(np.zeros((16, 20, 20, 3), np.float32), how)

    corners = varied[:, 0, 0, 0]
    assert corners.max() == 255
    assert varied[:, 10, 10, 0].max() == 0


def test_another_background_replaces_only_white():
    photos = np.full((256, 20, 20, 3), 255, np.float32)
    photos[:, 5:15, 5:15] = (60, 20, 70)

    varied, right = vary(photos, STILL.model_copy(update={"background": 0.5}))

    assert np.array_equal(varied[:, 5:15, 5:15], photos[:, 5:15, 5:15])
    behind = varied[:, 0, 0]
    assert np.allclose(varied[:, 0], behind[:, np.newaxis]), "one colour for the whole photo"
    changed = (behind < 255).any(axis=1)
    assert 0.35 < changed.mean() < 0.65
    assert behind[changed].min() < 50
    assert behind[changed].mean() == pytest.approx(127.5, abs=20)
    assert np.array_equal(right, np.eye(4, dtype=np.float32)[np.arange(256) % 4])


def test_background_is_replaced_gradually():
    photos = np.full((64, 20, 20, 3), 255, np.float32)
    photos[:, :, 4:8], photos[:, :, 8:12] = 230, 200

    varied, _ = vary(photos, STILL.model_copy(update={"background": 1.0}))

    assert np.array_equal(varied[:, :, 8:12], photos[:, :, 8:12]), "a fruit's pale skin stays"
    middle = (photos[:, 0, 4] + varied[:, 0, 0]) / 2
    dark = varied[:, 0, 0].max(axis=1) < 200  # brighter ones are cut off at 255
    assert np.allclose(varied[dark, 0, 4], middle[dark], atol=1e-3)
