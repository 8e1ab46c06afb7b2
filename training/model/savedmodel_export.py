"""Export of the SavedModel that is served: photo bytes in, label out; frozen and folded.

The graph::

    image_bytes ─ preprocess ─▶ image ─ network ─▶ probabilities ─▶ label, probability, unsure, classes
                                  ▲         └────▶ positions ─▶ map, logits (`explain`), embedding (`embed`)
                                  └ the signature `pixels` feeds it here

`explain` says where in the photo the network saw its answer. If the features are a mean over positions, the class
activation map is exact (Zhou et al., arXiv:1512.04150): the mean of the map plus the bias is the logit.

Weights are constants, so no variables can be missing or need a restore, and TensorFlow folds constants when it loads
the model. The format is for TF1 sessions, because TensorFlow Serving opens models with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from orchard.errors import OrchardError
from training.data.schema import SchemaRules
from training.model.conformal import UNCALIBRATED
from training.model.fold import fold
from training.model.heads import Head, find_head
from training.model.photo_rules import write_rules
from training.model.preprocessing import preprocess

__all__ = ["export", "predict"]

IMAGE, PROBABILITIES, POSITIONS = "image", "probabilities", "positions"


def predict(model: Callable[..., Any], image: Any, *, mirrored: bool) -> Any:
    """Return a network's probabilities as they are served.

    Args:
        model: from float32[N, S, S, 3] to probabilities, float32[N, C].
        image: float32[N, S, S, 3], 0 to 255.
        mirrored: return the mean over each photo and its mirror image. A network that was trained on mirrored photos is
            equally accurate on both, but does not always make the same errors.

    Returns:
        float32[N, C].
    """
    if not mirrored:
        return model(image, training=False)
    both = model(tf.concat([image, tf.reverse(image, [2])], 0), training=False)
    return tf.reduce_mean(tf.stack(tf.split(both, 2)), 0)


def export(
    model: keras.Model,
    classes: Sequence[str],
    folder: Path,
    *,
    mirrored: bool = False,
    crop: bool = False,
    threshold: float = UNCALIBRATED,
    rules: SchemaRules | None = None,
) -> None:
    """Write a model as a SavedModel with the signatures `serving_default` and `pixels`; if it can, `explain` and `embed`.

    Args:
        model: from ``image``, float32[N, S, S, 3] with 0 to 255, to probabilities, float32[N, C].
        classes: C names, in the order of the probabilities.
        folder: for the SavedModel; must not exist.
        mirrored: as in `predict`.
        crop: photos are cut to the square in their middle; they are stretched otherwise.
        threshold: the probability from which on a class is possible (`training.model.conformal`).
        rules: the graph refuses photos whose sizes break them; None: it takes every size.

    Raises:
        OrchardError: the model has another number of outputs than there are classes.
    """
    size, count = model.input.shape[1], model.output.shape[-1]
    if count != len(classes):
        raise OrchardError(f"the network has {count} outputs for {len(classes)} classes")
    folded = fold(model)
    head = find_head(folded)
    weights = head.weights  # before the graph, which has no values
    network = _freeze(folded, head, size, mirrored)
    with tf.Graph().as_default() as graph:
        image_bytes = tf.compat.v1.placeholder(tf.string, [None], "image_bytes")
        decoded = preprocess(image_bytes, size, rules, crop=crop)
        image = tf.compat.v1.placeholder_with_default(decoded, [None, size, size, 3], IMAGE)
        probabilities, positions = _call(network, image, len(classes), head)
        outputs = _add_outputs(probabilities, classes, threshold)
        signatures = {
            "serving_default": _sign({"image_bytes": image_bytes}, outputs),
            "pixels": _sign({"image": image}, outputs),
        }
        if positions is not None:
            explained = _explain(outputs, probabilities, positions, weights)
            signatures["explain"] = _sign({"image_bytes": image_bytes}, explained)
            embedding = tf.reduce_mean(positions, [1, 2], name="embedding")
            signatures["embed"] = _sign({"image_bytes": image_bytes}, {"embedding": embedding})
        _write(graph, signatures, folder)
    assets = folder / "assets"
    assets.mkdir(exist_ok=True)
    (assets / "classes.txt").write_text("".join(f"{label}\n" for label in classes), encoding="utf-8")
    if rules is not None:
        write_rules(folder, rules)


def _freeze(model: keras.Model, head: Head, size: int, mirrored: bool) -> Any:
    """The network alone as a graph definition whose weights are constants: `PROBABILITIES` and, of a mean, `POSITIONS`."""
    form = tf.TensorSpec([None, size, size, 3], tf.float32, IMAGE)
    outputs = {PROBABILITIES: model.output} | ({} if head.positions is None else {POSITIONS: head.positions})
    joint = keras.Model(model.input, outputs, name="layers")  # Keras's own name would count the models of the process

    def network(image: Any) -> Any:
        found: list[Any] = []

        def call(images: Any, *, training: bool) -> Any:
            answers = joint(images, training=training)
            found.extend(answers[name] for name in answers if name == POSITIONS)
            return answers[PROBABILITIES]

        probabilities = tf.identity(predict(call, image, mirrored=mirrored), PROBABILITIES)
        if not found:
            return probabilities
        upright = tf.split(found[0], 2)[0] if mirrored else found[0]
        return probabilities, tf.identity(upright, POSITIONS)

    concrete = tf.function(network, input_signature=[form], autograph=False).get_concrete_function()
    return convert_variables_to_constants_v2(concrete).graph.as_graph_def()


def _call(network: Any, image: Any, classes: int, head: Head) -> tuple[Any, Any | None]:
    """Put the network behind the pixels; return its probabilities and positions."""
    wanted = [f"{PROBABILITIES}:0"] if head.positions is None else [f"{PROBABILITIES}:0", f"{POSITIONS}:0"]
    probabilities, *positions = tf.import_graph_def(
        network, input_map={f"{IMAGE}:0": image}, return_elements=wanted, name="network"
    )
    return tf.ensure_shape(probabilities, [None, classes], PROBABILITIES), positions[0] if positions else None


def _add_outputs(probabilities: Any, classes: Sequence[str], threshold: float) -> dict[str, Any]:
    best = tf.argmax(probabilities, axis=1)
    names = tf.constant(list(classes), name="names")
    possible = tf.reduce_sum(tf.cast(probabilities >= threshold, tf.int32), axis=1)
    return {
        "label": tf.gather(names, best, name="label"),
        "probability": tf.reduce_max(probabilities, axis=1, name="probability"),
        "probabilities": probabilities,
        # a row of names for each photo, by an operation of which it is proved that it keeps the rows apart
        "classes": tf.gather(tf.constant([list(classes)], name="row"), best * 0, name="classes"),
        "unsure": tf.not_equal(possible, 1, name="unsure"),
    }


def _explain(outputs: dict[str, Any], probabilities: Any, positions: Any, weights: tuple[Any, Any]) -> dict[str, Any]:
    """What the answer is made of: the label's own logit at every position of the photo, whose mean plus bias is its logit.

    It is of the photo as it is, also where the answer is the mean over the photo and its mirror image.
    """
    kernel, bias = tf.constant(weights[0], name="kernel"), tf.constant(weights[1], name="biases")
    best = tf.argmax(probabilities, axis=1)
    of_label = tf.gather(tf.transpose(kernel), best)
    return {
        "label": outputs["label"],
        "probability": outputs["probability"],
        "unsure": outputs["unsure"],
        "logits": tf.add(tf.matmul(tf.reduce_mean(positions, [1, 2]), kernel), bias, name="logits"),
        "map": tf.einsum("nhwf,nf->nhw", positions, of_label, name="map"),
        "bias": tf.gather(bias, best, name="bias"),
    }


def _sign(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    return meta_graph_pb2.SignatureDef(
        inputs={name: _describe(tensor) for name, tensor in inputs.items()},
        outputs={name: _describe(tensor) for name, tensor in outputs.items()},
        method_name=tf.saved_model.PREDICT_METHOD_NAME,
    )


def _describe(tensor: Any) -> Any:
    return meta_graph_pb2.TensorInfo(
        name=tensor.name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=tensor.shape.as_proto()
    )


def _write(graph: Any, signatures: dict[str, Any], folder: Path) -> None:
    """Write saved_model.pb from its protocol buffers: TensorFlow's builder is deprecated and writes the date into it.

    The same network gives the same bytes, so publishing it again makes no new version.
    """
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add(graph_def=_name_functions(graph.as_graph_def()))
    meta.meta_info_def.tags.append(tf.saved_model.SERVING)
    meta.meta_info_def.tensorflow_version = tf.version.VERSION
    for name, signature in signatures.items():
        meta.signature_def[name].CopyFrom(signature)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString(deterministic=True))


def _name_functions(graph: Any) -> Any:
    """Name a graph's functions by their place: TensorFlow's numbers depend on what the process made before."""
    functions = sorted(graph.library.function, key=lambda function: _split_number(function.signature.name))
    names = {function.signature.name: f"function{place}" for place, function in enumerate(functions, start=1)}
    for node in [*graph.node, *(node for function in functions for node in function.node_def)]:
        node.op = names.get(node.op, node.op)
        for value in node.attr.values():
            for called in [value.func] if value.HasField("func") else value.list.func:
                called.name = names[called.name]
    for function in functions:
        old, function.signature.name = function.signature.name, names[function.signature.name]
        for argument in function.signature.input_arg:
            argument.name = argument.name.replace(old, names[old])
        for node in function.node_def:
            node.input[:] = [name.replace(old, names[old]) for name in node.input]
    graph.ClearField("library")
    graph.library.function.extend(functions)
    return graph


def _split_number(name: str) -> tuple[str, int]:
    """A function's name without the number at its end, and the number."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)
