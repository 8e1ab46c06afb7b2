"""Make a SavedModel for a benchmark, in its own process: python -m bench.bench_models KIND FOLDER [SEED].

Two networks are untrained, because weights do not change the speed. `training.model.savedmodel_export` exports them. They
have golden photos, and `<folder>.facts.json` has the metadata for publishing.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

KINDS = ("cnn", "mobilenet", "backbone")
CLASSES = [f"class {number}" for number in range(5)]
GOLDEN = 3


def draw_photos(count: int, side: int = 100) -> list[bytes]:
    """Draw different JPEG photos of 100 × 100 pixels, or of another side."""
    photos = []
    for number in range(count):
        dice = np.random.default_rng(number)
        picture = Image.fromarray((dice.random((12, 12, 3)) * 255).astype(np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        body = io.BytesIO()
        picture.save(body, "JPEG", quality=85)
        photos.append(body.getvalue())
    return photos


def make(kind: str, folder: Path, seed: int) -> None:
    """Export a network: cnn (three convolutions, 843,000 parameters), mobilenet (MobileNetV2 for 100 pixels), or backbone.

    The backbone is the profile `transfer` before it is trained: MobileNetV2 with ImageNet weights at 224 pixels.
    """
    import keras

    from training.model.savedmodel_export import export

    keras.utils.set_random_seed(seed)
    if kind == "backbone":
        from training import params
        from training.model.architectures import build

        loaded = params.load(profile="transfer").model
        export(build(loaded, len(CLASSES)), CLASSES, folder, crop=loaded.crop, mirrored=loaded.mirrored)
        return
    layers = keras.layers
    image = keras.Input((100, 100, 3), name="image")
    if kind == "mobilenet":
        scaled = layers.Rescaling(1 / 127.5, offset=-1)(image)
        network = keras.applications.MobileNetV2(
            input_tensor=scaled, weights=None, classes=len(CLASSES), classifier_activation=None
        )
        spread_answers(network)
        output = layers.Softmax()(network.output)
    else:
        x = layers.Rescaling(1 / 255)(image)
        for filters in (16, 32, 64):
            x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, activation="relu", padding="same")(x))
        x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
        output = layers.Dense(len(CLASSES), activation="softmax")(x)
    export(keras.Model(image, output), CLASSES, folder)


def spread_answers(network: Any) -> None:
    """Scale a network's last layer: the untrained MobileNetV2 gives all photos the same logits to the fourth digit."""
    photos = np.stack([np.asarray(Image.open(io.BytesIO(photo)), np.float32) for photo in draw_photos(32)])
    logits = network.predict(photos, verbose=0)
    kernel, bias = network.layers[-1].get_weights()
    scale = 2 / logits.std(axis=0)
    network.layers[-1].set_weights([kernel * scale, (bias - logits.mean(axis=0)) * scale])


def describe(folder: Path) -> None:
    """Write golden photos into a SavedModel, and its metadata into `<folder>.facts.json`."""
    from orchard import golden
    from training.model.golden_photos import TOLERANCE
    from training.model.savedmodel_session import open_model

    photos = draw_photos(GOLDEN)
    with open_model(folder) as session:
        answers = session.predict(photos)
        facts = {
            "signatures": {name: asdict(signature) for name, signature in session.signatures.items()},
            "ops": list(session.ops),
            "classes": list(session.classes),
        }
    items = [
        {"b64": base64.b64encode(photo).decode(), "label": label, "probability": float(probability)}
        for photo, label, probability in zip(photos, answers.labels, answers.probability, strict=True)
    ]
    path = folder / golden.GOLDEN
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"format": 1, "tolerance": TOLERANCE, "photos": items}))
    folder.with_name(folder.name + ".facts.json").write_text(json.dumps(facts))


def main() -> None:
    """Run the command line."""
    kind, folder, *seed = sys.argv[1:]
    make(kind, Path(folder), int(seed[0]) if seed else 1)
    describe(Path(folder))


if __name__ == "__main__":
    main()
