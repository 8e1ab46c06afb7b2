"""Small datasets and small models for tests that judge: real shards, real frozen SavedModels, made in a moment."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw

from orchard import documents
from orchard.reporter import Reporter
from training.data.shards import Index, Shard
from training.evaluation import evaluate
from training.model.savedmodel_session import open_model
from training.params import EvaluateParams
from training.workspace import Workspace

__all__ = [
    "COLOURS",
    "PHOTOS",
    "THRESHOLDS",
    "PhotoSpec",
    "draw",
    "judge",
    "rows",
    "write_candidate",
    "write_dataset",
    "write_model",
    "write_params",
    "write_workspace",
]

COLOURS = {"Blue": (40, 60, 220), "Green": (40, 180, 60), "Red": (220, 40, 40), "Yellow": (230, 210, 40)}
"""Four classes that a single mean colour tells apart."""

CHECKOUT = Path(__file__).resolve().parents[2]
PARAMS_DIGEST = "5" * 64
THRESHOLDS: dict[str, Any] = {
    "accuracy": {"turntable": 0.9, "shop": 0.5},
    "worst_class": {"turntable": 0.8},
    "drop": {"turntable": 0.01, "shop": 0.05},
    "class_drop": {"turntable": 0.1},
}


@dataclass(frozen=True)
class PhotoSpec:
    """One photo of a dataset to be written."""

    image: bytes
    label: str
    split: str = "test"
    source: str = "turntable"
    path: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.image).hexdigest()


def draw(label: str, number: int, side: int = 32) -> bytes:
    """A JPEG of a round fruit of the class's colour; another number is another photo."""
    dice = random.Random(f"{label}/{number}")  # noqa: S311
    picture = Image.new("RGB", (side, side), "white")
    colour = tuple(max(0, min(255, part + dice.randint(-18, 18))) for part in COLOURS[label])
    inset = dice.uniform(1, 4)
    ImageDraw.Draw(picture).ellipse((inset, inset, side - inset, side - inset), fill=colour)
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=92)
    return body.getvalue()


def rows(
    counts: Mapping[str, int], *, split: str = "test", source: str = "turntable", first: int = 0
) -> list[PhotoSpec]:
    """So many photos of each class, all different."""
    return [
        PhotoSpec(draw(label, number), label, split, source, f"{number}_100.jpg")
        for label, count in counts.items()
        for number in range(first, first + count)
    ]


def write_dataset(
    folder: Path, photos: Sequence[PhotoSpec], *, classes: Sequence[str] = tuple(COLOURS), shards: int = 2
) -> Index:
    """Write photos as a dataset folder of so many shards, in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(shards):
        part = photos[number::shards]
        if not part:
            continue
        table = pa.table(
            {
                "image": pa.array([{"bytes": row.image, "path": row.path} for row in part]),
                "label": [row.label for row in part],
                "split": [row.split for row in part],
                "source": [row.source for row in part],
                "sha256": [row.sha256 for row in part],
                "pixels_sha256": [row.sha256 for row in part],
                "width": pa.array([32] * len(part), pa.int32()),
                "height": pa.array([32] * len(part), pa.int32()),
            }
        )
        sink = io.BytesIO()
        pq.write_table(table, sink, compression={"label": "zstd", "image.list.element.bytes": "none"})
        body = sink.getvalue()
        sha256 = hashlib.sha256(body).hexdigest()
        name = f"{number:04d}-{sha256[:12]}.parquet"
        (folder / name).write_bytes(body)
        written.append(Shard(name, hashlib.md5(body).hexdigest(), sha256, len(body), len(part)))  # noqa: S324
    counts = {
        split: {label: sum((row.split, row.label) == (split, label) for row in photos) for label in sorted(classes)}
        for split in ("train", "test")
    }
    index = Index(1, folder.name, tuple(sorted(classes)), tuple(written), counts)
    (folder / "index.json").write_text(json.dumps(index.document))
    return index


def mean_colour(image: bytes) -> np.ndarray:
    """float64[3]: the mean over all pixels, 0 to 1."""
    with Image.open(io.BytesIO(image)) as picture:
        return np.asarray(picture.convert("RGB"), np.float64).mean(axis=(0, 1)) / 255


def write_model(
    folder: Path,
    classes: Sequence[str] = tuple(COLOURS),
    *,
    taken_for: Mapping[str, str] | None = None,
    sure: float = 300,
    named: bool = False,
) -> None:
    """Export a frozen model with the contract's signatures: the class whose drawn photos have the nearest mean colour.

    Args:
        folder: for the SavedModel.
        classes: what it can answer.
        taken_for: colour → class: photos of that colour are always taken for that class.
        sure: how steeply its probabilities fall with the distance.
        named: it names its classes, says when it is unsure, and explains itself, as `training.model.savedmodel_export`
            makes models do.
    """
    import tensorflow as tf

    means = np.stack([np.mean([mean_colour(draw(colour, n)) for n in range(8)], axis=0) for colour in COLOURS])
    wrong = dict(taken_for or {})
    names = [wrong.get(colour, colour) for colour in COLOURS]
    table = np.array([[name == label for label in classes] for name in names], np.float32)
    table[table.sum(axis=1) == 0] = 1 / len(classes)  # a colour whose class it does not know
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        image_bytes = tf.compat.v1.placeholder(tf.string, [None])
        form = tf.TensorSpec([1, 1, 3], tf.float32)
        decoded = tf.map_fn(
            lambda body: tf.image.resize(tf.io.decode_jpeg(body, channels=3), [1, 1], method="area"),
            image_bytes,
            fn_output_signature=form,
        )
        image = tf.compat.v1.placeholder_with_default(decoded, [None, 1, 1, 3])
        colour = tf.reshape(image, [-1, 3]) / 255.0
        near = colour @ tf.constant(2 * sure * means.T, tf.float32) - tf.constant(sure * (means**2).sum(1), tf.float32)
        probabilities = tf.nn.softmax(near) @ tf.constant(table)
        best = tf.argmax(probabilities, axis=1)
        outputs = {
            "label": tf.gather(tf.constant(list(classes)), best),
            "probability": tf.reduce_max(probabilities, axis=1),
            "probabilities": probabilities,
        }
        if named:
            outputs["classes"] = tf.gather(tf.constant([list(classes)]), best * 0)
            possible = tf.reduce_sum(tf.cast(probabilities >= 0.2, tf.int32), axis=1)
            outputs["unsure"] = tf.not_equal(possible, 1)
        describe = tf.compat.v1.saved_model.build_tensor_info
        signatures = {
            name: tf.compat.v1.saved_model.build_signature_def(
                {key: describe(tensor)},
                {key_: describe(value) for key_, value in outputs.items()},
                tf.saved_model.PREDICT_METHOD_NAME,
            )
            for name, key, tensor in (("serving_default", "image_bytes", image_bytes), ("pixels", "image", image))
        }
        if named:
            signatures["explain"] = _explain(
                tf, image_bytes, near, (2 * sure * means.T, sure * (means**2).sum(1)), outputs
            )
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, [tf.saved_model.SERVING], signatures)
        builder.save()
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "classes.txt").write_text("".join(f"{label}\n" for label in classes))


def write_candidate(folder: Path, index: Index, photos: Sequence[PhotoSpec], **model: Any) -> None:
    """Lay out what training leaves behind: a model (see `write_model`), its golden photos, training.json, curves.csv."""
    saved = folder / "saved_model"
    write_model(saved, index.classes, **model)
    asked = [row.image for row in photos if row.split == "test"][:3]
    with open_model(saved) as session:
        answers = session.predict(asked)
    golden = [
        {"b64": base64.b64encode(image).decode(), "label": label, "probability": float(probability)}
        for image, label, probability in zip(asked, answers.labels, answers.probability, strict=True)
    ]
    (saved / "assets.extra").mkdir()
    (saved / "assets.extra" / "golden.json").write_text(json.dumps({"format": 1, "tolerance": 1e-4, "photos": golden}))
    training = {
        "format": 1,
        "dataset": {"name": index.name, "digest": index.digest},
        "params": {"train": {"seed": 7, "epochs": 2}},
        "params_digest": PARAMS_DIGEST,
        "classes": list(index.classes),
        "parameters": 16,
        "epochs_run": 2,
        "seconds": 1.5,
        "best_epoch": 2,
        "versions": {"tensorflow": "2.21.0"},
    }
    (folder / "training.json").write_bytes(documents.canonical_json(training))
    (folder / "curves.csv").write_text(
        "epoch,accuracy,loss,val_accuracy,val_loss\n1,0.5,1.2,0.6,1.1\n2,0.9,0.4,0.8,0.6\n"
    )


PHOTOS = (
    *rows({"Blue": 6, "Green": 6, "Red": 6}),
    *rows({"Green": 3, "Red": 4}, source="shop", first=100),
    *rows(dict.fromkeys(COLOURS, 4), split="train", first=50),
)
"""Test photos of three classes in two sources; of Yellow there are training photos only."""


def write_workspace(
    root: Path, photos: Sequence[PhotoSpec] = PHOTOS, *, classes: Sequence[str] = tuple(COLOURS), **model: Any
) -> Workspace:
    """A workspace with a dataset, params.yaml and a candidate that learned from it; `model` goes to `write_model`."""
    index = write_dataset(root / "data" / "fruits", photos, classes=classes)
    write_candidate(root / "artifacts" / "candidate", index, photos, **model)
    write_params(root)
    return Workspace(root)


def write_params(root: Path, **sections: Any) -> None:
    """The checkout's params.yaml with other sections `gate` and `evaluate`."""
    params = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    params |= {"gate": THRESHOLDS, "evaluate": {"baseline": False}, **sections}
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def judge(workspace: Workspace, *, baseline: bool = False) -> dict[str, Any]:
    """Evaluate the workspace's candidate."""
    return evaluate.evaluate(workspace, EvaluateParams(baseline=baseline), Reporter.silent())


def _explain(tf, image_bytes, logits, colours, outputs):
    """The signature `explain` of `write_model`: how near each of 4 × 4 parts of a photo is to the label's colour."""
    parts = tf.map_fn(
        lambda body: tf.image.resize(tf.io.decode_jpeg(body, channels=3), [4, 4], method="area") / 255.0,
        image_bytes,
        fn_output_signature=tf.TensorSpec([4, 4, 3], tf.float32),
    )
    slopes, offsets = (tf.constant(part, tf.float32) for part in colours)
    near = tf.tensordot(parts, slopes, 1) - offsets
    near, logits = (part - tf.reduce_mean(part, axis=-1, keepdims=True) for part in (near, logits))
    best = tf.argmax(outputs["probabilities"], axis=1)
    explained = {
        **{name: outputs[name] for name in ("label", "probability", "unsure")},
        "logits": logits,
        "map": tf.gather(near, best, axis=3, batch_dims=1),
        "bias": tf.zeros_like(outputs["probability"]),
    }
    describe = tf.compat.v1.saved_model.build_tensor_info
    return tf.compat.v1.saved_model.build_signature_def(
        {"image_bytes": describe(image_bytes)},
        {key: describe(value) for key, value in explained.items()},
        tf.saved_model.PREDICT_METHOD_NAME,
    )
