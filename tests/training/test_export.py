"""The SavedModel: its content for TF1 sessions and TF2, the same predictions as the network, its golden photos."""

from __future__ import annotations

import base64
import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from orchard.errors import DataError, IntegrityError, OrchardError
from orchard.golden import GOLDEN, check_golden, read_golden
from orchard.orientation import read_orientation
from orchard.savedmodel.row_independence import RowAnalysis
from orchard.savedmodel.signatures import read_signatures
from tests import photo_files
from tests.training.candidates import PHOTOS, write_dataset
from tests.training.test_model import parse, randomize_norms
from training.data.schema import SchemaRules
from training.model.architectures import build, logits_of
from training.model.golden_photos import MIN_PHOTOS, choose_photos, write_golden
from training.model.preprocessing import decode_photos
from training.model.savedmodel_export import export
from training.model.savedmodel_session import open_model

CLASSES = ("Apple Golden 1", "Kiwi", "Äpfel & Birnen")
FILES = [photo_files.jpeg(label, number) for label in photo_files.CLASSES for number in (0, 50)] + [
    photo_files.encoded(photo_files.photo(side=64), "PNG"),
    photo_files.jpeg(side=33),
]


@pytest.fixture(scope="module")
def network():
    """A small network with random batch norms; its predictions are arbitrary and different for each photo."""
    keras.utils.set_random_seed(3)
    return randomize_norms(build(parse().model, len(CLASSES)))


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "saved_model"
    export(network, CLASSES, folder)
    return folder


def plain(network, files=FILES):
    return np.asarray(network(decode_photos(files, 20).astype(np.float32), training=False))


def test_bytes_in_labels_out_as_from_the_network(network, exported):
    with open_model(exported) as session:
        answers = session.predict(FILES)

    expected = plain(network)
    assert np.abs(answers.probabilities - expected).max() <= 1e-5
    assert answers.labels == tuple(CLASSES[place] for place in expected.argmax(axis=1))
    assert np.allclose(answers.probability, expected.max(axis=1), atol=1e-5)
    assert len({row.tobytes() for row in answers.probabilities}) > 5


def test_signatures_are_the_contracts(exported):
    with open_model(exported) as session:
        signatures, classes = session.signatures, session.classes

    answer = {"label": "string[N]", "probability": "float32[N]", "unsure": "bool[N]"}
    outputs = {**answer, "probabilities": "float32[N,3]", "classes": "string[N,3]"}
    explained = {**answer, "logits": "float32[N,3]", "map": "float32[N,5,5]", "bias": "float32[N]"}
    assert classes == CLASSES
    assert {name: (found.inputs, found.outputs) for name, found in signatures.items()} == {
        "serving_default": ({"image_bytes": "string[N]"}, outputs),
        "pixels": ({"image": "float32[N,20,20,3]"}, outputs),
        "explain": ({"image_bytes": "string[N]"}, explained),
        "embed": ({"image_bytes": "string[N]"}, {"embedding": "float32[N,6]"}),
    }


def test_a_network_whose_features_are_no_mean_has_no_explanation(tmp_path):
    model = build(parse("model.architecture=linear").model, len(CLASSES))
    export(model, CLASSES, tmp_path / "linear")

    with open_model(tmp_path / "linear") as session:
        assert set(session.signatures) == {"serving_default", "pixels"}


@pytest.mark.parametrize("mirrored", [False, True])
def test_mean_of_the_map_plus_bias_is_the_logit_of_the_label(network, tmp_path, mirrored):
    export(network, CLASSES, tmp_path / "model", mirrored=mirrored)
    loaded = tf.saved_model.load(str(tmp_path / "model"))

    answers = loaded.signatures["explain"](image_bytes=tf.constant(FILES))

    labels = [CLASSES.index(label.decode()) for label in answers["label"].numpy()]
    logits = answers["logits"].numpy()
    of_label = logits[np.arange(len(FILES)), labels]
    assert np.allclose(answers["map"].numpy().mean(axis=(1, 2)) + answers["bias"].numpy(), of_label, atol=1e-4)
    pixels = decode_photos(FILES, 20).astype(np.float32)
    assert np.allclose(logits, logits_of(network)(pixels, training=False), atol=1e-4)
    served = loaded.signatures["serving_default"](image_bytes=tf.constant(FILES))
    assert answers["label"].numpy().tolist() == served["label"].numpy().tolist()
    assert np.ptp(answers["map"].numpy(), axis=(1, 2)).min() > 0


def test_the_graph_itself_keeps_the_rows_apart(exported):
    """So servers may run requests together without golden photos."""
    pixels = read_signatures(exported)["pixels"]

    assert RowAnalysis(exported).judge(pixels).independent


def test_an_answer_says_its_classes_and_whether_it_is_sure(network, tmp_path):
    probabilities = plain(network)
    threshold = float(np.sort(probabilities, axis=1)[:, -2].mean())
    export(network, CLASSES, tmp_path / "model", threshold=threshold)

    answers = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"](image_bytes=tf.constant(FILES))
    with open_model(tmp_path / "model") as session:
        unsure = session.predict(FILES).unsure

    assert [[name.decode() for name in row] for row in answers["classes"].numpy()] == [list(CLASSES)] * len(FILES)
    assert answers["unsure"].numpy().tolist() == ((probabilities >= threshold).sum(axis=1) != 1).tolist()
    assert unsure.tolist() == answers["unsure"].numpy().tolist()
    assert 0 < unsure.mean() < 1


def test_mirrored_answers_are_the_mean_over_a_photo_and_its_mirror_image(network, tmp_path):
    export(network, CLASSES, tmp_path / "mirrored", mirrored=True)
    pixels = decode_photos(FILES, 20).astype(np.float32)
    views = [pixels, pixels[:, :, ::-1]]
    expected = np.mean([np.asarray(network(view, training=False)) for view in views], axis=0)

    call = tf.saved_model.load(str(tmp_path / "mirrored")).signatures["pixels"]
    answers = [call(image=tf.constant(view))["probabilities"].numpy() for view in views]

    assert np.abs(answers[0] - expected).max() <= 1e-5
    assert all(np.abs(other - answers[0]).max() <= 1e-5 for other in answers[1:])
    assert np.abs(expected - plain(network)).max() > 1e-3  # the network alone answers differently
    with open_model(tmp_path / "mirrored") as session:
        assert np.abs(session.predict(FILES).probabilities - expected).max() <= 1e-5


def test_pixels_are_taken_where_the_photo_is_decoded(network, exported):
    loaded = tf.saved_model.load(str(exported))
    pixels = decode_photos(FILES, 20).astype(np.float32)

    answers = loaded.signatures["pixels"](image=tf.constant(pixels))
    by_bytes = loaded.signatures["serving_default"](image_bytes=tf.constant(FILES))

    assert np.abs(answers["probabilities"] - plain(network)).max() <= 1e-5
    assert np.array_equal(answers["probabilities"], by_bytes["probabilities"])
    assert answers["label"].numpy().tolist() == by_bytes["label"].numpy().tolist()


def test_nothing_is_left_to_restore_and_no_norm_is_left_to_compute(exported):
    with open_model(exported) as session:
        ops = set(session.ops)

    assert not {op for op in ops if "Variable" in op or "BatchNorm" in op or op in ("ReadFile", "PyFunc", "Rsqrt")}
    assert {"DecodeJpeg", "Conv2D", "Softmax"} <= ops
    assert {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()} == {
        "saved_model.pb",
        "assets/classes.txt",
    }


def test_same_network_is_the_same_bytes(network, exported, tmp_path):
    tf.constant(1) + 1  # the process may have made other operations
    export(network, CLASSES, tmp_path / "again")

    for name in ("saved_model.pb", "assets/classes.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()


def test_one_bad_photo_fails_the_call_with_a_reason(exported):
    with open_model(exported) as session, pytest.raises(IntegrityError, match="expected a JPEG or PNG photo"):
        session.predict([FILES[0], b"only text"])


def test_network_for_another_number_of_classes_is_refused(network, tmp_path):
    with pytest.raises(OrchardError, match="has 3 outputs for 2 classes"):
        export(network, CLASSES[:2], tmp_path / "saved_model")
    assert not (tmp_path / "saved_model").exists()


def test_golden_photos_carry_the_answers_of_the_export_itself(network, tmp_path):
    index = write_dataset(tmp_path / "fruits", PHOTOS)
    keras.utils.set_random_seed(3)
    model = randomize_norms(build(parse().model, len(index.classes)))
    export(model, index.classes, tmp_path / "saved_model")

    write_golden(tmp_path / "saved_model", choose_photos(tmp_path / "fruits", index.classes))

    document = json.loads((tmp_path / "saved_model" / GOLDEN).read_bytes())
    files = [base64.b64decode(photo["b64"]) for photo in document["photos"]]
    with open_model(tmp_path / "saved_model") as session:
        answers = session.predict(files)
    assert document["format"] == 1
    assert document["tolerance"] == 1e-4
    assert 2 <= len(files) <= 8
    assert [photo["label"] for photo in document["photos"]] == list(answers.labels)
    assert [photo["probability"] for photo in document["photos"]] == pytest.approx(answers.probability, abs=1e-6)


def test_golden_photos_find_an_engine_that_does_not_turn_photos_or_ignores_transparency(network, tmp_path):
    folder = tmp_path / "saved_model"
    export(network, CLASSES, folder, rules=SchemaRules())
    write_golden(folder, FILES[:4])

    golden = read_golden(folder)
    *_, lying, transparent = golden.photos
    assert len(golden.photos) == len(set(golden.photos)) >= 4
    assert (read_orientation(lying), transparent[:4]) == (6, b"\x89PNG")
    with open_model(folder) as session:

        def predict(photos):
            answers = session.predict(photos)
            return zip(answers.labels, map(float, answers.probability), strict=True)

        def careless(photos):
            with Image.open(io.BytesIO(transparent)) as image:
                opaque = photo_files.encoded(image.convert("RGB"), "PNG")
            return predict(
                [{lying: lying.replace(b"Exif", b"Nope"), transparent: opaque}.get(one, one) for one in photos]
            )

        assert session.rules == SchemaRules()
        assert check_golden(folder, predict, "it") == len(golden.photos)
        with pytest.raises(IntegrityError, match=f"for golden photo {len(golden.photos) - 1}"):
            check_golden(folder, careless, "it")
        with pytest.raises(IntegrityError, match=r"(?s)failed on a test photo.*expected sides of 32 to 20000"):
            session.predict([photo_files.jpeg(side=28)])


def test_golden_photos_are_test_photos_of_many_classes_whatever_the_shards(tmp_path):
    index = write_dataset(tmp_path / "one", PHOTOS)
    write_dataset(tmp_path / "other", PHOTOS[::-1], shards=3)

    chosen = choose_photos(tmp_path / "one", index.classes)

    assert chosen == choose_photos(tmp_path / "other", index.classes)
    by_image = {row.image: row for row in PHOTOS}
    first = [by_image[image] for image in chosen[: len(index.classes)]]
    assert {row.label for row in first} == set(index.classes)
    assert {row.label for row in first if row.split == "train"} == {"Yellow"}, "of which there are no test photos"


def test_export_without_photos_to_compare_with_is_refused(exported):
    with pytest.raises(DataError, match=f"at least {MIN_PHOTOS} are needed"):
        write_golden(exported, FILES[:1])
