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
from PIL import Image, ImageDraw

from orchard import documents
from training.shards import Index, Shard

__all__ = ["COLOURS", "Row", "draw", "rows", "write_candidate", "write_dataset", "write_linear_model", "write_model"]

COLOURS = {"Blue": (40, 60, 220), "Green": (40, 180, 60), "Red": (220, 40, 40), "Yellow": (230, 210, 40)}
"""Four classes that a single mean colour tells apart."""

PARAMS_DIGEST = "5" * 64


@dataclass(frozen=True)
class Row:
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
    dice = random.Random(f"{label}/{number}")
    picture = Image.new("RGB", (side, side), "white")
    colour = tuple(max(0, min(255, part + dice.randint(-18, 18))) for part in COLOURS[label])
    inset = dice.uniform(1, 4)
    ImageDraw.Draw(picture).ellipse((inset, inset, side - inset, side - inset), fill=colour)
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=92)
    return body.getvalue()


def rows(counts: Mapping[str, int], *, split: str = "test", source: str = "turntable", first: int = 0) -> list[Row]:
    """So many photos of each class, all different."""
    return [
        Row(draw(label, number), label, split, source, f"{number}_100.jpg")
        for label, count in counts.items()
        for number in range(first, first + count)
    ]


def write_dataset(
    folder: Path, photos: Sequence[Row], *, classes: Sequence[str] = tuple(COLOURS), shards: int = 2
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


def write_linear_model(folder: Path, classes: Sequence[str], kernel: np.ndarray, bias: np.ndarray, side: int) -> None:
    """Export ``softmax(pixels/255 @ kernel + bias)`` on side × side pixels, frozen, with the contract's two signatures."""
    import tensorflow as tf

    names = tf.constant(list(classes))
    weights, offset = tf.constant(kernel, tf.float32), tf.constant(bias, tf.float32)

    def answer(pixels: Any) -> dict[str, Any]:
        logits = tf.linalg.matmul(tf.reshape(pixels, [-1, side * side * 3]) / 255.0, weights) + offset
        table = tf.nn.softmax(logits)
        likeliest = tf.argmax(table, axis=1)
        return {
            "label": tf.gather(names, likeliest),
            "probability": tf.reduce_max(table, axis=1),
            "probabilities": table,
        }

    def decode(body: Any) -> Any:
        picture = tf.image.decode_image(body, channels=3, expand_animations=False)
        return tf.image.resize(picture, [side, side], method="area")

    module = tf.Module()
    module.serve = tf.function(
        lambda image_bytes: answer(tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32)),
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")],
    )
    module.pixels = tf.function(answer, input_signature=[tf.TensorSpec([None, side, side, 3], tf.float32, name="pixels")])
    signatures = {"serving_default": module.serve, "pixels": module.pixels}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "classes.txt").write_text("".join(f"{label}\n" for label in classes))


def write_model(
    folder: Path, *, taken_for: Mapping[str, str] | None = None, classes: Sequence[str] = tuple(COLOURS), sure: float = 60
) -> None:
    """Export the class of the nearest mean colour; `taken_for` makes it wrong about whole classes, always."""
    seen = {label: np.asarray(Image.open(io.BytesIO(draw(label, 0))).resize((1, 1), Image.Resampling.BOX)) for label in COLOURS}
    means = {label: pixel.reshape(3) / 255 for label, pixel in seen.items()}
    known = list(classes)
    wrong = dict(taken_for or {})
    # the column of a class holds the colours that are answered with it; a class that is never answered is far away
    answered = [next((c for c in COLOURS if wrong.get(c, c) == label), None) for label in known]
    points = np.array([np.full(3, 9.0) if colour is None else means[colour] for colour in answered])
    extra = [(wrong[c], means[c]) for c in wrong if answered[known.index(wrong[c])] != c]
    for label, point in extra:  # one column cannot hold two colours, so the class's own colour moves towards the other
        index = known.index(label)
        points[index] = point
    write_linear_model(folder, known, 2 * sure * points.T, -sure * (points**2).sum(axis=1), 1)


def write_candidate(folder: Path, index: Index, photos: Sequence[Row], **model: Any) -> None:
    """Lay out what training leaves behind: a model (see `write_model`), its golden photos, training.json, curves.csv."""
    from training.sessions import open_model

    saved = folder / "saved_model"
    write_model(saved, classes=index.classes, **model)
    asked = [row.image for row in photos if row.split == "test"][:3]
    with open_model(saved) as session:
        answers = session.ask(asked)
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
    (folder / "curves.csv").write_text("epoch,accuracy,loss,val_accuracy,val_loss\n1,0.5,1.2,0.6,1.1\n2,0.9,0.4,0.8,0.6\n")
