"""A network that the user's own project defines, by its import path ``package.module:function``.

The function's module is in the project's folder, the root of the workspace, or it is installed. It is ordinary code that
travels to a pod as all code does, in an image; it is never pickled.
"""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

from orchard import documents
from orchard.errors import ParamsError
from training.params import PROJECT_NETWORK

__all__ = ["build_project_network", "source_digest"]

PROBABILITIES = ("Softmax", "Sigmoid")
"""Layers, operations and activations that end a network with probabilities."""

FORM = (
    "write a function (image_size: int, classes: int) -> keras.Model, from keras.Input((image_size, image_size, 3)) "
    "with pixels from 0 to 255 to keras.layers.Dense(classes) without an activation; `orchard init --network` writes an example"
)


def build_project_network(import_path: str, image_size: int, classes: int, root: Path = Path()) -> keras.Model:
    """Call the function of the user's project and check what it returns.

    Args:
        import_path: ``package.module:function``.
        image_size: pixels a side of the photos.
        classes: the number of classes.
        root: the project's folder; it is put on `sys.path`.

    Returns:
        A functional model from float32[N, S, S, 3] with 0 to 255 to logits, float32[N, classes]. The last layer is a
        `Dense` without activation.

    Raises:
        ParamsError: there is no such function, it fails, or it returns another kind of model.
    """
    function = _find(import_path, root)
    call = f"{import_path}(image_size={image_size}, classes={classes})"
    try:
        returned = function(image_size=image_size, classes=classes)
    except Exception as error:
        raise ParamsError(f"{call} raised {_describe(error)}", hint=FORM) from error
    model = _functional(call, returned)
    _check_input(call, model, image_size)
    _check_head(call, model, classes)
    return model


def _find(import_path: str, root: Path) -> Callable[..., Any]:
    match = PROJECT_NETWORK.fullmatch(import_path)
    if match is None:
        raise ParamsError(f"{import_path!r} is not a valid import path", hint="expected package.module:function")
    module, name = _import(match[1], root), match[2]
    if not hasattr(module, name):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(name, functions, n=1)
        raise ParamsError(
            f"the module {match[1]} ({_file(module)}) has no function {name}",
            hint=f"did you mean {match[1]}:{near[0]}?" if near else FORM,
        )
    function = getattr(module, name)
    if not callable(function):
        raise ParamsError(f"{import_path} is not a function: it is {_kind(function)}", hint=FORM)
    found: Callable[..., Any] = function
    return found


def source_digest(import_path: str, root: Path = Path()) -> str:
    """Return the SHA-256 (hex) of the file that the function is in.

    Raises:
        ParamsError: there is no such module.
    """
    file = _import(import_path.partition(":")[0], root).__file__
    return documents.sha256_hex(Path(file).read_bytes()) if file else documents.sha256_hex(b"")


def _import(name: str, root: Path) -> ModuleType:
    folder = str(root.absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise ParamsError(
                f"there is no module {missing}, neither in the project's folder {folder} nor installed",
                hint=f"expected {missing.replace('.', '/')}.py there; in a pod, the image must contain the project",
            ) from None
        raise ParamsError(
            f"the module {name} imports {missing}, which is not installed here ({_describe(error)})",
            hint=f"install {missing.split('.')[0]}, in a cluster in the training image, or do without it in {name}",
        ) from error
    except Exception as error:
        raise ParamsError(
            f"the module {name} cannot be imported: {_describe(error)}",
            hint=f'correct it; `python -c "import {name}"` in {folder} shows the whole error',
        ) from error


def _functional(call: str, returned: Any) -> keras.Model:
    """The model with its graph of layers; a `Sequential` has one, too."""
    if not isinstance(returned, keras.Model):
        raise ParamsError(f"{call} returned {_kind(returned)}, not a keras.Model", hint=FORM)
    try:
        inputs, outputs = returned.inputs, returned.outputs
    except (AttributeError, ValueError):
        inputs = outputs = None
    if not inputs or not outputs:
        raise ParamsError(
            f"{call} returned {_kind(returned)} whose layers are not connected to an input",
            hint="build it with keras.Model(image, logits), or begin a Sequential with keras.Input; a subclass of "
            "keras.Model cannot be folded or explained",
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise ParamsError(
            f"the model of {call} has {len(inputs)} inputs and {len(outputs)} outputs, not one of each", hint=FORM
        )
    return keras.Model(inputs[0], outputs[0], name=returned.name)


def _check_input(call: str, model: keras.Model, size: int) -> None:
    shape, dtype, expected = tuple(model.input.shape), model.input.dtype, (None, size, size, 3)
    if shape != expected or dtype != "float32":
        raise ParamsError(
            f"the input of the model of {call} is {dtype}{_shape(shape)}; expected float32{_shape(expected)}",
            hint=f"begin with keras.Input(({size}, {size}, 3)): use image_size, and scale pixels in the network",
        )


def _check_head(call: str, model: keras.Model, classes: int) -> None:
    last = model.output._keras_history.operation
    activation = getattr(last, "activation", None)
    if type(last).__name__ in PROBABILITIES or getattr(activation, "__name__", "").capitalize() in PROBABILITIES:
        raise ParamsError(
            f"the model of {call} returns probabilities: its last layer {last.name} applies "
            f"{getattr(activation, '__name__', type(last).__name__.lower())}; expected logits",
            hint="end with keras.layers.Dense(classes) without an activation: the softmax is added for you",
        )
    if not isinstance(last, keras.layers.Dense):
        raise ParamsError(
            f"the last layer of the model of {call} is {last.name} ({type(last).__name__}), not a Dense",
            hint="end with keras.layers.Dense(classes) on pooled features, in the model itself and not in one inside it",
        )
    if activation is not keras.activations.linear:
        raise ParamsError(
            f"the last layer of the model of {call} applies {getattr(activation, '__name__', activation)}; "
            "expected logits",
            hint="end with keras.layers.Dense(classes) without an activation",
        )
    shape = tuple(model.output.shape)
    if shape != (None, classes):
        raise ParamsError(
            f"the model of {call} returns {_shape(shape)}; expected {_shape((None, classes))}: a logit for each of "
            f"the {classes} classes",
            hint="use the argument classes: keras.layers.Dense(classes) on pooled or flattened features",
        )


def _describe(error: Exception) -> str:
    """The error's kind, text and the last line of code that is not a library's."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({Path(error.filename or '?').name}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {text}{where}"


def _is_users(filename: str) -> bool:
    return "site-packages" not in filename and filename != __file__ and not filename.startswith("<")


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "a folder without __init__.py"


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('N' if size is None else str(size) for size in shape)}]"
