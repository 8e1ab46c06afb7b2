"""Networks of the user's project: a right one is used, and each way to be wrong has its sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from orchard.errors import ParamsError
from training.model.backbones.project_network import build_project_network

SIZE, CLASSES = 32, 5
NAMES = iter(range(10_000))
EXAMPLE = (Path(__file__).resolve().parents[3] / "training/project/own_network.py").read_text()
"""What `orchard init --network` writes."""

BODY = "image = keras.Input((image_size, image_size, 3))\n    x = layers.GlobalAveragePooling2D()(image)"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module of the project, with a name that no other test has imported; return the name."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(text, name=None):
        name = name or f"networks_of_test_{next(NAMES)}"
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return name

    yield call
    for name in [name for name in sys.modules if name.startswith(("networks_of_test", "package_of_test"))]:
        del sys.modules[name]


def function(end, begin=BODY, arguments="image_size, classes"):
    return f"import keras\nfrom keras import layers\n\ndef network({arguments}):\n    {begin}\n    {end}\n"


def test_example_that_init_writes_is_a_network(write, tmp_path):
    model = build_project_network(f"{write(EXAMPLE)}:network", SIZE, CLASSES, tmp_path)

    assert model(np.zeros((2, SIZE, SIZE, 3), np.float32)).shape == (2, CLASSES)


def test_network_in_a_package_of_the_project_is_found(write, tmp_path):
    write(EXAMPLE, "package_of_test.networks")

    assert build_project_network("package_of_test.networks:network", SIZE, CLASSES, tmp_path)


def test_sequential_network_is_a_functional_model(write, tmp_path):
    end = "return keras.Sequential([keras.Input((image_size, image_size, 3)), layers.Flatten(), layers.Dense(classes)])"

    model = build_project_network(f"{write(function(end))}:network", SIZE, CLASSES, tmp_path)

    assert not isinstance(model, keras.Sequential)
    assert isinstance(model.output._keras_history.operation, keras.layers.Dense)


WRONG = {
    "raises": (
        "raise ValueError('too small')",
        r"image_size=32, classes=5\) raised ValueError: too small \(.*, line 7\)",
    ),
    "returns nothing": ("return None", "returned None, not a keras.Model"),
    "returns a tensor": ("return layers.Dense(classes)(x)", "returned a KerasTensor, not a keras.Model"),
    "returns no connected model": (
        "return keras.Sequential([layers.Flatten(), layers.Dense(classes)])",
        "returned a Sequential whose layers are not connected to an input",
    ),
    "two outputs": (
        "return keras.Model(image, [layers.Dense(classes)(x), x])",
        "has 1 inputs and 2 outputs, not one of each",
    ),
    "no dense head": ("return keras.Model(image, layers.ReLU(name='last')(x))", r"is last \(ReLU\), not a Dense"),
    "softmax in the head": (
        "return keras.Model(image, layers.Dense(classes, 'softmax', name='last')(x))",
        "returns probabilities: its last layer last applies softmax; expected logits",
    ),
    "softmax as a layer": (
        "return keras.Model(image, layers.Softmax(name='last')(layers.Dense(classes)(x)))",
        "returns probabilities: its last layer last applies softmax",
    ),
    "softmax as an activation layer": (
        "return keras.Model(image, layers.Activation('softmax', name='last')(layers.Dense(classes)(x)))",
        "returns probabilities: its last layer last applies softmax",
    ),
    "softmax as a function": (
        "return keras.Model(image, keras.ops.softmax(layers.Dense(classes)(x)))",
        "returns probabilities: its last layer softmax",
    ),
    "activated head": (
        "return keras.Model(image, layers.Dense(classes, 'relu')(x))",
        "the last layer .* applies relu; expected logits",
    ),
    "wrong width": (
        "return keras.Model(image, layers.Dense(classes + 1)(x))",
        r"returns \[N, 6\]; expected \[N, 5\]: a logit for each of the 5 classes",
    ),
    "dense at every place": (
        "return keras.Model(image, layers.Dense(classes)(image))",
        r"returns \[N, 32, 32, 5\]; expected \[N, 5\]",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_network_is_refused(kind, write, tmp_path):
    end, message = WRONG[kind]
    with pytest.raises(ParamsError, match=message) as caught:
        build_project_network(f"{write(function(end))}:network", SIZE, CLASSES, tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("(64, 64, 3)", r"is float32\[N, 64, 64, 3\]; expected float32\[N, 32, 32, 3\]"),
        ("(32, 32, 1)", r"is float32\[N, 32, 32, 1\]"),
        ("(None, None, 3)", r"is float32\[N, N, N, 3\]"),
        ("(32, 32, 3), dtype='uint8'", r"is uint8\[N, 32, 32, 3\]"),
    ],
)
def test_wrong_input_is_refused(given, message, write, tmp_path):
    begin = f"image = keras.Input({given})\n    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1.0)(image))"
    name = write(function("return keras.Model(image, layers.Dense(classes)(x))", begin))

    with pytest.raises(ParamsError, match=message):
        build_project_network(f"{name}:network", SIZE, CLASSES, tmp_path)


def test_function_with_other_arguments_is_refused(write, tmp_path):
    with pytest.raises(ParamsError, match=r"raised TypeError: .* unexpected keyword argument 'image_size'"):
        build_project_network(f"{write(function('', 'pass', 'size'))}:network", SIZE, CLASSES, tmp_path)


IMPORTS = {
    "missing package": ("import absent_package.part\n", "imports absent_package, which is not installed here .*line 1"),
    "missing name": ("from keras import Absent\n", r"cannot be imported: ImportError: cannot import name 'Absent'"),
    "syntax": ("x = 1\ndef f(:\n", r"cannot be imported: SyntaxError: invalid syntax \(.*\.py, line 2\)"),
    "error": ("x = 1\nx / 0\n", r"cannot be imported: ZeroDivisionError: .* \(.*\.py, line 2\)"),
    "no function": (EXAMPLE.replace("network(", "other("), r"has no function network"),
    "not callable": ("network = 3\n", r"is not a function: it is an int"),
}


@pytest.mark.parametrize("kind", IMPORTS)
def test_module_without_a_usable_function_is_refused(kind, write, tmp_path):
    text, message = IMPORTS[kind]
    with pytest.raises(ParamsError, match=message) as caught:
        build_project_network(f"{write(text)}:network", SIZE, CLASSES, tmp_path)
    assert caught.value.hint


def test_nearest_function_is_suggested(write, tmp_path):
    name = write(EXAMPLE)

    with pytest.raises(ParamsError) as caught:
        build_project_network(f"{name}:netwok", SIZE, CLASSES, tmp_path)
    assert caught.value.hint == f"did you mean {name}:network?"


@pytest.mark.parametrize("module", ["networks_of_test_absent", "package_of_test_absent.networks"])
def test_missing_module_is_named_with_the_folder(module, write, tmp_path):
    with pytest.raises(ParamsError, match=rf"there is no module {module.split('.')[0]}, neither in .*{tmp_path}"):
        build_project_network(f"{module}:small", SIZE, CLASSES, tmp_path)


@pytest.mark.parametrize("path", ["networks", "networks:", ":small", "a/b:c", "a:b.c", "a b:c", "a:b:c", ""])
def test_malformed_import_path_is_refused(path, tmp_path):
    with pytest.raises(ParamsError, match="is not a valid import path"):
        build_project_network(path, SIZE, CLASSES, tmp_path)
