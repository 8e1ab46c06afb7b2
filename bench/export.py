"""The export of `orchard train` against the export of Keras: photos/s, one at a time, and the time to load.

    python -m bench.export --rounds 7                              # synthetic photos; a minute or two
    python -m bench.export --dataset data/fruits --rounds 7        # its test photos

Two networks with batch norm, with random weights and statistics: Orchard's own and MobileNetV2. Both exports have the
same preprocessing, bytes as input and labels as output. They are opened as TensorFlow Serving opens them: in a TF1
session, one thread per call. The answers to every photo are compared first: the same label, probabilities within 1e-5.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from training.model.backend import tensorflow

tf = tensorflow()

tf.get_logger().setLevel("ERROR")  # the loader that TensorFlow Serving uses is deprecated for Python

import keras  # noqa: E402  # after TensorFlow is imported without its start-up output
import numpy as np  # noqa: E402

from bench.processor import machine  # noqa: E402
from bench.rounds import Contender, Threshold, judge, measure  # noqa: E402
from orchard.reporter import Reporter  # noqa: E402
from training import params  # noqa: E402
from training.data import synthetic  # noqa: E402
from training.data.shards import iterate  # noqa: E402
from training.model.architectures import build  # noqa: E402
from training.model.preprocessing import preprocess  # noqa: E402
from training.model.savedmodel_export import export  # noqa: E402

SPEED = Threshold("MobileNetV2, photos/s one at a time, against the plain export", 1.4)
OWN = Threshold("cnn of params.yaml, photos/s one at a time, against the plain export", 1)
AGREEMENT = 1e-5
PLAIN, ORCHARD = "keras", "orchard"
SIDE = 100
CLASSES = 37

Call = Callable[[list[bytes]], tuple[Any, Any]]


def randomize_norms(model: keras.Model) -> keras.Model:
    """Give every batch norm random statistics: those of a fresh network are 0 and 1, which makes folding trivial."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.moving_mean.shape[0]
            layer.gamma.assign(random.uniform(0.8, 1.2, n))
            layer.beta.assign(random.uniform(-0.2, 0.2, n))
            layer.moving_mean.assign(random.uniform(-0.2, 0.2, n))
            layer.moving_variance.assign(random.uniform(0.5, 1.5, n))
    return model


def mobile_net() -> keras.Model:
    """MobileNetV2 for photos of 100 pixels, with random weights."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    network = keras.applications.MobileNetV2(
        input_tensor=scaled, input_shape=(SIDE, SIDE, 3), weights=None, classes=CLASSES
    )
    return keras.Model(image, network.output)


def export_with_keras(model: keras.Model, classes: Sequence[str], folder: Path) -> None:
    """Export with Keras, with the same preprocessing."""
    size = model.input.shape[1]
    names = tf.constant(list(classes))

    def serve(image_bytes: Any) -> dict[str, Any]:
        probabilities = model(preprocess(image_bytes, size), training=False)
        return {
            "label": tf.gather(names, tf.argmax(probabilities, axis=1)),
            "probabilities": probabilities,
        }

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve, [tf.TensorSpec([None], tf.string, "image_bytes")])
    archive.write_out(str(folder), verbose=False)


def load(folder: Path) -> Call:
    """Open a SavedModel as TensorFlow Serving does; returns a call from photos to labels and probabilities."""
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    tf.get_logger().setLevel("ERROR")  # the loader logs a deprecation warning
    with session.graph.as_default():
        meta = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(folder))
    signature = meta.signature_def["serving_default"]
    outputs = [signature.outputs[name].name for name in ("label", "probabilities")]
    call = session.make_callable(outputs, [signature.inputs["image_bytes"].name])
    return lambda files: tuple(call(np.array(files, object)))


def compare(calls: dict[str, Call], photos: Sequence[bytes]) -> None:
    """Compare the answers, photo by photo; a SystemExit if they differ."""
    worst = 0.0
    for photo in photos:
        (label, plain), (other, ours) = (calls[name]([photo]) for name in (PLAIN, ORCHARD))
        worst = max(worst, float(np.abs(plain - ours).max()))
        if label != other or worst > AGREEMENT:
            raise SystemExit(f"the exports differ: {label} and {other}, by {worst:.1e}")
    print(f"same label for {len(photos)} of {len(photos)} photos, probabilities differ by at most {worst:.1e}")


def compare_speed(name: str, model: keras.Model, photos: Sequence[bytes], rounds: int) -> list[float]:
    """Export a network both ways; returns how many times faster Orchard's export is, round by round."""
    classes = [f"class {number}" for number in range(CLASSES)]
    with tempfile.TemporaryDirectory() as scratch:
        folders = {PLAIN: Path(scratch) / PLAIN, ORCHARD: Path(scratch) / ORCHARD}
        export_with_keras(model, classes, folders[PLAIN])
        export(model, classes, folders[ORCHARD])
        calls = {key: load(folder) for key, folder in folders.items()}
        print(f"\n{name}, {model.input.shape[1]} pixels, {model.count_params():,} parameters")
        compare(calls, photos)

        def rate(call: Call) -> float:
            begin = time.perf_counter()
            for photo in photos:
                call([photo])
            return len(photos) / (time.perf_counter() - begin)

        speed = measure(
            [Contender(key, lambda call=call: rate(call)) for key, call in calls.items()],  # type: ignore[misc]
            rounds,
            Reporter.silent(),
            unit="photos/s",
            higher_is_better=True,
        )

        def start(folder: Path) -> None:
            load(folder)(list(photos[:1]))

        loads = measure(
            [Contender(key, lambda folder=folder: start(folder)) for key, folder in folders.items()],  # type: ignore[misc]
            max(3, rounds // 2),
            Reporter.silent(),
        )
    print(f"{speed.text(PLAIN)}\nload and first answer\n{loads.text(PLAIN)}")
    return speed.ratios(ORCHARD, PLAIN)


def draw(label: str, number: int) -> bytes:
    """Draw a synthetic photo as a JPEG file."""
    body = io.BytesIO()
    synthetic.draw(synthetic.specimen(label), number).save(body, "JPEG", quality=90)
    return body.getvalue()


def read_photos(dataset: Path | None, most: int) -> list[bytes]:
    """Test photos of a dataset, or synthetic ones."""
    if dataset is None:
        labels = synthetic.classes(8)
        return [draw(label, number) for label in labels for number in range(most // len(labels))]
    batches = iterate(dataset, columns=("image.bytes",), splits=["test"])
    photos = [image["bytes"].as_py() for batch in batches for image in batch["image"]]
    return photos[:: max(1, len(photos) // most)][:most]


def main() -> int:
    """Measure, print and judge; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="a dataset folder; default: synthetic photos")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    photos = read_photos(options.dataset, options.photos)
    print(machine())
    keras.utils.set_random_seed(0)
    own = randomize_norms(build(params.load(options.params).model, CLASSES))
    own_speed = compare_speed("cnn of params.yaml", own, photos, options.rounds)
    mobile_speed = compare_speed("MobileNetV2", randomize_norms(mobile_net()), photos, options.rounds)
    print()
    reached = [judge(SPEED, mobile_speed), judge(OWN, own_speed)]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
