"""Every kind of SavedModel that the serving tests need, created once for a test run in a separate process.

`python -m tests.serving.model_fixtures FOLDER` creates them with TensorFlow; the tests themselves never import it. Plain models are at
`FOLDER/<name>/<version>/`, photo models with the contract's signatures at `FOLDER/photos/<name>/`, each of those with
`<name>.facts.json` beside it: the metadata that a publisher would record.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = 123


def _save(folder: Path, build: Callable[[Any], dict[str, Any]], *, assets: Any = None) -> None:
    """Save a TF1 graph. `build` is called with tensorflow.compat.v1 and returns signatures by name."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        signatures = build(tf1)
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {name: _signature(tf1, *parts) for name, parts in signatures.items()},
            assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
            main_op=tf1.tables_initializer() if assets else None,
        )
        builder.save()


def _signature(tf1: Any, inputs: dict[str, Any], outputs: dict[str, Any], method: str = "predict") -> Any:
    describe = tf1.saved_model.build_tensor_info
    return tf1.saved_model.build_signature_def(
        {name: describe(tensor) for name, tensor in inputs.items()},
        {name: describe(tensor) for name, tensor in outputs.items()},
        f"tensorflow/serving/{method}",
    )


def half_plus(constant: float) -> Callable[[Any], dict[str, Any]]:
    """y = 0.5x + constant, with variables; classify and regress read tf.Example, as upstream's half_plus_two does."""

    def build(tf1: Any) -> dict[str, Any]:
        a = tf1.get_variable("a", initializer=0.5, use_resource=False)
        b = tf1.get_variable("b", initializer=constant, use_resource=False)
        examples = tf1.placeholder(tf1.string, [None], name="tf_example")
        feature = {"x": tf1.FixedLenFeature([1], tf1.float32), "x2": tf1.FixedLenFeature([1], tf1.float32, [0.0])}
        parsed = tf1.parse_example(examples, feature)
        x = tf1.identity(parsed["x"], name="x")
        y = tf1.add(tf1.multiply(a, x), b, name="y")
        y2 = tf1.add(tf1.multiply(a, parsed["x2"]), b, name="y2")
        return {
            "serving_default": ({"x": x}, {"y": y}),
            "regress_x_to_y": ({"inputs": examples}, {"outputs": y}, "regress"),
            "regress_x_to_y2": ({"inputs": examples}, {"outputs": y2}, "regress"),
            "classify_x_to_y": ({"inputs": examples}, {"scores": y}, "classify"),
        }

    return build


def matrix(tf1: Any) -> dict[str, Any]:
    """y = xW for x of [n, 4], without variables."""
    x = tf1.placeholder(tf1.float32, [None, 4], name="x")
    weights = tf1.constant([[1.0, 0], [0, 1], [2, 0], [0, 2]])
    return {"serving_default": ({"x": x}, {"y": tf1.matmul(x, weights, name="y")})}


def types(tf1: Any) -> dict[str, Any]:
    """One signature for each element type, each the identity."""
    names = "float32 float64 int8 int16 int32 int64 uint8 uint32 uint64 bool string float16 bfloat16 complex64"
    signatures = {}
    for name in names.split():
        x = tf1.placeholder(getattr(tf1, name), None, name=f"in_{name}")
        signatures[name] = ({"x": x}, {"y": tf1.identity(x)})
    return signatures


def shapes(tf1: Any) -> dict[str, Any]:
    """Two inputs, several outputs, and outputs with other numbers of rows."""
    a = tf1.placeholder(tf1.float32, [None], name="a")
    b = tf1.placeholder(tf1.string, [None], name="b")
    image = tf1.placeholder(tf1.string, [None], name="image_bytes")
    total = tf1.reduce_sum(a)
    return {
        "serving_default": ({"a": a, "b": b}, {"double": a * 2, "b": tf1.identity(b)}),
        "scalar": ({"a": a}, {"y": total}),
        "uneven": ({"a": a}, {"all": a * 1, "first": a[:1] * 1}),
        "bytes": ({"image_bytes": image}, {"out_bytes": tf1.identity(image), "text": tf1.identity(image)}),
        "reciprocal": ({"a": a}, {"y": 1.0 / a}),
        "half": ({"a": a}, {"y": tf1.cast(a, tf1.float16)}),
        "mixed": ({"a": a}, {"y": a - tf1.reduce_mean(a)}),
    }


def echo(tf1: Any) -> dict[str, Any]:
    """The bytes that it gets."""
    photo = tf1.placeholder(tf1.string, [None], name="photo")
    return {"serving_default": ({"photo": photo}, {"out_bytes": tf1.identity(photo)})}


def examples(tf1: Any) -> dict[str, Any]:
    """Signatures for serialised examples whose method name is predict, as in every TF2 export, and wrong ones."""
    serialised = tf1.placeholder(tf1.string, [None], name="serialised")
    other = tf1.placeholder(tf1.string, [None], name="other")
    number = tf1.placeholder(tf1.float32, [None], name="number")
    x = tf1.parse_example(serialised, {"x": tf1.FixedLenFeature([2], tf1.float32)})["x"]
    labels = tf1.as_string(x, precision=1)
    total = tf1.reduce_sum(x, 1)
    text = {"inputs": serialised}
    return {
        "serving_default": (text, {"scores": x * 2, "classes": labels}),
        "scores": (text, {"scores": x * 2}),
        "classes": (text, {"classes": labels}),
        "total": (text, {"outputs": total}),
        "column": (text, {"outputs": total[:, None]}),
        "other_total": ({"inputs": other}, {"outputs": tf1.cast(tf1.strings.length(other), tf1.float32)}),
        "flat": (text, {"scores": total}),
        "double": (text, {"scores": tf1.cast(x, tf1.float64), "outputs": tf1.cast(total, tf1.float64)}),
        "double_total": (text, {"outputs": tf1.cast(total, tf1.float64)}),
        "one_row": (text, {"scores": x[:1] * 1}),
        "one_total": (text, {"outputs": total[:1] * 1}),
        "matrix": (text, {"outputs": x * 1}),
        "unequal": (text, {"scores": x * 1, "classes": labels[:, :1]}),
        "number_classes": (text, {"classes": x * 1}),
        "two_inputs": ({"inputs": serialised, "other": other}, {"scores": x * 1}),
        "three_outputs": (text, {"scores": x * 1, "classes": labels, "more": total}),
        "no_input": ({"text": serialised}, {"scores": x * 1}),
        "no_output": (text, {"y": x * 1}),
        "number": ({"inputs": number}, {"scores": number[:, None] * 1, "outputs": number * 1}),
        "number_total": ({"inputs": number}, {"outputs": number * 1}),
    }


def counter(tf1: Any) -> dict[str, Any]:
    """Stateful, with no serving_default: like upstream's counter."""
    count = tf1.get_variable("count", initializer=0.0, use_resource=False)
    delta = tf1.placeholder_with_default(tf1.constant(1.0), [], name="delta")
    return {
        "get_counter": ({}, {"output": tf1.identity(count)}),
        "incr_counter_by": ({"delta": delta}, {"output": tf1.assign_add(count, delta)}),
    }


def slow(tf1: Any) -> dict[str, Any]:
    """Multiplies a matrix as often as the input says: some tenths of a millisecond each time."""
    times = tf1.placeholder(tf1.int32, [None], name="times")
    seed = tf1.ones([128, 128]) / 128.0
    last = tf1.while_loop(lambda i, m: i < times[0], lambda i, m: (i + 1, tf1.matmul(m, seed)), [0, seed])[1]
    return {"serving_default": ({"times": times}, {"y": tf1.cast(times, tf1.float32) + 0 * last[0, 0]})}


def _table(folder: Path) -> None:
    """A model whose answers are in an asset file."""
    import tensorflow as tf

    words = folder.with_suffix(".words.txt")
    words.parent.mkdir(parents=True, exist_ok=True)
    words.write_text("plum\napple\npear\n")

    def build(tf1: Any) -> dict[str, Any]:
        initializer = tf.lookup.TextFileInitializer(
            str(words),
            *(tf1.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf1.string, tf.lookup.TextFileIndex.WHOLE_LINE),
        )
        table = tf.lookup.StaticHashTable(initializer, "?")
        index = tf1.placeholder(tf1.int64, [None], name="index")
        return {"serving_default": ({"index": index}, {"word": table.lookup(index)})}

    _save(folder, build, assets=True)


def _module(folder: Path) -> None:
    """A TF2 SavedModel with a variable and an initialisation op, as `tf.saved_model.save` writes it."""
    import tensorflow as tf

    class Scale(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable(3.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def scale(self, x: Any) -> dict[str, Any]:
            return {"y": x * self.factor}

    module = Scale()
    tf.saved_model.save(module, str(folder), signatures=module.scale)


def _photo_models(folder: Path) -> None:
    """Photo models: good ones that differ, and each kind of bad one. The golden answers are those of a good model."""
    from tests.training.candidates import COLOURS, draw, write_model

    photos = [draw(colour, number) for colour in COLOURS for number in (900, 901)][:4]
    (folder / "test_photos").mkdir(parents=True)
    for index, body in enumerate(photos):
        (folder / "test_photos" / f"{index}.jpg").write_bytes(body)
    write_model(folder / "one", sure=300)
    write_model(folder / "two", sure=8)  # its probabilities tell it from the others
    write_model(folder / "three", sure=150)
    write_model(folder / "named", sure=20, named=True)
    write_model(folder / "wrong", taken_for={"Red": "Blue", "Blue": "Red"})
    write_model(folder / "nan", sure=float("nan"))
    for name in ("one", "two", "three", "named"):
        _golden(folder / name, folder / name, photos)
    _golden(folder / "wrong", folder / "one", photos)
    _golden(folder / "nan", folder / "one", photos)
    _poisoned(folder)


def _golden(folder: Path, answering: Path, photos: list[bytes]) -> None:
    from training.model.savedmodel_session import open_model

    with open_model(answering) as session:
        answers = session.predict(photos)
    golden_photos = [
        {"b64": base64.b64encode(body).decode(), "label": label, "probability": float(probability)}
        for body, label, probability in zip(photos, answers.labels, answers.probability, strict=True)
    ]
    (folder / "assets.extra").mkdir()
    document = {"format": 1, "tolerance": 1e-4, "photos": golden_photos}
    (folder / "assets.extra" / "golden.json").write_text(json.dumps(document))
    _facts(folder)


def _facts(folder: Path) -> None:
    from dataclasses import asdict

    from tensorflow.core.protobuf import saved_model_pb2

    from training.model import savedmodel_session

    meta = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]
    facts = {
        "signatures": {
            name: asdict(savedmodel_session._describe(meta.signature_def[name])) for name in meta.signature_def
        },
        "ops": list(savedmodel_session._list_ops(meta)),
        "classes": (folder / "assets" / "classes.txt").read_text().splitlines(),
    }
    folder.with_name(folder.name + ".facts.json").write_text(json.dumps(facts))


def _poisoned(folder: Path) -> None:
    """Copies of a good model with one more node: reading a file, hidden in a function; saving a file, behind an output."""
    import shutil

    from tensorflow.core.protobuf import saved_model_pb2

    for name in ("reads", "saves", "bomb"):
        shutil.copytree(folder / "one", folder / name)
        path = folder / name / "saved_model.pb"
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        graph = saved.meta_graphs[0].graph_def
        if name == "reads":
            function = graph.library.function.add()
            function.signature.name = "harmless"
            function.node_def.add(name="peek", op="ReadFile")
        elif name == "saves":
            graph.node.add(name="leak", op="SaveV2")
            target = saved.meta_graphs[0].signature_def["serving_default"].outputs["label"].name.split(":")[0]
            next(node for node in graph.node if node.name == target).input.append("^leak")
        else:
            node = graph.node.add(name="huge", op="Const")
            node.attr["dtype"].type = 1
            tensor = node.attr["value"].tensor
            tensor.dtype = 1
            tensor.float_val.append(0.0)
            for size in (1 << 16, 1 << 16):
                tensor.tensor_shape.dim.add(size=size)
        path.write_bytes(saved.SerializeToString())
        _facts(folder / name)


def defaulted(tf1: Any) -> dict[str, Any]:
    """y = ax + b, of which `_with_defaults` makes a and b optional."""
    x = tf1.placeholder(tf1.float32, [None], name="x")
    a = tf1.placeholder(tf1.float32, [], name="a")
    b = tf1.placeholder(tf1.float32, [1], name="b")
    return {"serving_default": ({"x": x, "a": a, "b": b}, {"y": a * x + b})}


def _with_defaults(folder: Path) -> None:
    """Save `defaulted` with a = 2 and b = [1]."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    _save(folder, defaulted)
    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    defaults = saved.meta_graphs[0].signature_def["serving_default"].defaults
    defaults["a"].CopyFrom(tf.make_tensor_proto(2.0, tf.float32))
    defaults["b"].CopyFrom(tf.make_tensor_proto([1.0], tf.float32))
    path.write_bytes(saved.SerializeToString())


def _warm(folder: Path, source: Path) -> None:
    """A copy of half_plus_two with a warm-up request of each kind."""
    import shutil

    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    shutil.copytree(source, folder)
    example = tf.train.Example(features=tf.train.Features(feature={"x": tf.train.Feature(float_list={"value": [1.0]})}))
    logs = [PredictionLog() for _ in range(4)]
    logs[0].predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0]], tf.float32))
    logs[1].classify_log.request.model_spec.signature_name = "classify_x_to_y"
    logs[1].classify_log.request.input.example_list.examples.add().CopyFrom(example)
    logs[2].regress_log.request.model_spec.signature_name = "regress_x_to_y"
    logs[2].regress_log.request.input.example_list.examples.add().CopyFrom(example)
    multi = logs[3].multi_inference_log.request
    for name, method in (("regress_x_to_y", "regress"), ("classify_x_to_y", "classify")):
        task = multi.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "warm", name
    multi.input.example_list.examples.add().CopyFrom(example)
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def _as_text(folder: Path) -> None:
    """Rewrite a SavedModel's graph in protobuf's text format."""
    from google.protobuf import text_format
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    path.with_suffix(".pbtxt").write_text(text_format.MessageToString(saved))
    path.unlink()


def _texts(folder: Path) -> None:
    """Copies of models whose graph is a text: one with variables, one with functions, a photo model."""
    import shutil

    for source, target in (("half_plus_two/123", "text/1"), ("module/1", "text/2"), ("photos/one", "photos/text")):
        shutil.copytree(folder / source, folder / target)
        _as_text(folder / target)
    shutil.copy(folder / "photos" / "one.facts.json", folder / "photos" / "text.facts.json")


def _several_graphs(photos: Path) -> None:
    """A copy of a photo model with another meta graph before the one that is served."""
    import shutil

    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(photos / "one", photos / "tags")
    shutil.copy(photos / "one.facts.json", photos / "tags.facts.json")
    path = photos / "tags" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    other = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    other.meta_graphs[0].meta_info_def.tags.append("gpu")
    del other.meta_graphs[0].signature_def["pixels"]
    other.meta_graphs.extend(saved.meta_graphs)
    path.write_bytes(other.SerializeToString())


def make(folder: Path) -> None:
    """Create all models."""
    _save(folder / "half_plus_two" / str(VERSION), half_plus(2.0))
    _save(folder / "half_plus_two" / str(VERSION + 1), half_plus(3.0))
    for name, build in (
        ("matrix", matrix), ("types", types), ("shapes", shapes), ("counter", counter), ("slow", slow),
        ("examples", examples), ("echo", echo),
    ):  # fmt: skip
        _save(folder / name / "1", build)
    _table(folder / "table" / "1")
    _module(folder / "module" / "1")
    _photo_models(folder / "photos")
    _texts(folder)
    _several_graphs(folder / "photos")
    _with_defaults(folder / "defaulted" / "1")
    _warm(folder / "warm" / "1", folder / "half_plus_two" / str(VERSION))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
