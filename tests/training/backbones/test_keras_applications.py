"""Networks of keras.applications: Keras's own answers, from a file or random, and nothing is downloaded."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from orchard.errors import IntegrityError, ParamsError
from training.model.backbones.depths import weight_depths
from training.model.backbones.frozen_norm import FrozenNorm
from training.model.backbones.keras_applications import application_names, find_application, stable_names
from training.model.fold import fold

SIZE = 64
NETWORKS = {
    "MobileNet": lambda x: keras.applications.mobilenet.preprocess_input(x),
    "VGG16": lambda x: keras.applications.vgg16.preprocess_input(x),
}
"""Preprocessing that scales, and that swaps channels."""


def build(application):
    image = keras.Input((SIZE, SIZE, 3), name="image")
    return keras.Model(image, application.features(image))


def photos(count=1):
    return np.random.default_rng(0).uniform(0, 255, (count, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network of Keras with random weights, and the file of its weights."""
    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    path = tmp_path_factory.mktemp("weights") / "mobile.weights.h5"
    network.save_weights(path)
    return network, path


@pytest.fixture(scope="module")
def mobile_net():
    """MobileNet with random weights."""
    return build(find_application("MobileNet"))


def nothing():
    """A model without layers, for a load that fails before it needs them."""
    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, image)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_keras_with_its_preprocessing(name):
    model = build(find_application(name))
    network = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    network.set_weights(model.get_weights())

    np.testing.assert_allclose(model(photos()), network(NETWORKS[name](photos())), rtol=1e-4, atol=1e-5)


def test_weights_of_a_file_are_loaded_and_statistics_kept(saved):
    network, path = saved
    application = find_application("MobileNet", str(path))
    model = build(application)

    application.load(model)

    expected = network(NETWORKS["MobileNet"](photos()))
    np.testing.assert_allclose(model(photos(), training=True), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fold(model)(photos()), expected, rtol=1e-3, atol=1e-4)
    assert not [layer for layer in model.layers if type(layer) is keras.layers.BatchNormalization]


def test_random_network_learns_its_statistics(mobile_net):
    layers = mobile_net.layers

    assert [layer for layer in layers if type(layer) is keras.layers.BatchNormalization]
    assert not [layer for layer in layers if isinstance(layer, FrozenNorm)]


def test_layers_have_the_same_names_whatever_was_built_before():
    def network():
        image = keras.Input((SIZE, SIZE, 3))
        x = keras.layers.Conv2D(2, 3, name="conv1")(keras.layers.Conv2D(2, 3)(image))
        return keras.Model(image, keras.layers.Conv2D(2, 3)(x / 2) + 1)

    first, second = (stable_names(network()) for _ in range(2))

    assert list(first) != list(second)
    assert list(first.values()) == list(second.values())
    assert {"conv2d_1", "conv2d_2", "conv1", "true_divide_1", "add_1"} < set(first.values())


def test_depth_of_a_network_of_keras_goes_by_its_layers(mobile_net):
    depths = weight_depths(mobile_net)

    assert depths["conv1/kernel"] == 0
    assert depths["conv_pw_13/kernel"] > depths["conv_pw_3/kernel"]


def test_damaged_file_is_an_error(saved, tmp_path):
    damaged = tmp_path / "damaged.weights.h5"
    damaged.write_bytes(saved[1].read_bytes()[:1000])
    application = find_application("MobileNet", str(damaged))

    with pytest.raises(IntegrityError, match=r"damaged\.weights\.h5 does not have the weights of .*MobileNet without"):
        application.load(nothing())


def test_file_of_another_network_is_an_error(saved):
    application = find_application("VGG16", str(saved[1]))

    with pytest.raises(IntegrityError, match=r"does not have the weights of keras\.applications\.VGG16 without its"):
        application.load(nothing())


def test_weights_are_never_downloaded():
    with pytest.raises(ParamsError, match=r"'imagenet' of .*MobileNetV3Small would be downloaded while") as caught:
        find_application("MobileNetV3Small", "imagenet")
    assert "keras.applications.MobileNetV3Small(include_top=False, weights='imagenet')" in caught.value.hint
    assert ".save_weights('MobileNetV3Small.weights.h5')" in caught.value.hint


@pytest.mark.parametrize(
    ("weights", "message"),
    [("weights.pth", "not a file that Keras saved: expected a name that ends"), ("a.keras", "there is no file")],
)
def test_file_that_cannot_be_weights_is_refused(weights, message):
    with pytest.raises(ParamsError, match=message):
        find_application("MobileNet", weights)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("MobileNetv3small", "MobileNetV3Small"), ("EfficientNetV2BO", "EfficientNetV2B0"), ("resnet_50", "ResNet50")],
)
def test_unknown_name_has_the_nearest_ones(name, nearest):
    with pytest.raises(ParamsError, match=f"has no network '{name}'") as caught:
        find_application(name)
    assert nearest in caught.value.hint


def test_name_like_no_other_has_all_of_them():
    with pytest.raises(ParamsError) as caught:
        find_application("zzz")
    assert all(name in caught.value.hint for name in application_names())


def test_photos_too_small_for_a_network_are_an_error():
    with pytest.raises(ParamsError, match=r"InceptionV3 cannot be built for photos of 32×32 pixels: .*75"):
        find_application("InceptionV3").features(keras.Input((32, 32, 3)))
