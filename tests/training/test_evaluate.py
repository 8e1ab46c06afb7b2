"""The exported model predicts every test photo once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchard.cli import main
from orchard.errors import DataError, IntegrityError
from orchard.gate import GateThresholds
from tests.photo_files import encoded
from tests.training.candidates import (
    COLOURS,
    PHOTOS,
    THRESHOLDS,
    PhotoSpec,
    draw,
    judge,
    rows,
    write_candidate,
    write_dataset,
    write_model,
    write_params,
    write_workspace,
)
from training.evaluation.baseline import shrink
from training.model.savedmodel_session import open_model
from training.workspace import Workspace

FIGURES = ("slices", "confusion", "misses", "calibration")


def test_every_test_photo_is_counted_once_with_any_batches(tmp_path: Path):
    photos = rows({"Blue": 70, "Green": 61})  # three batches, the last one not full

    document = judge(write_workspace(tmp_path, photos))

    assert document["slices"]["turntable"]["n"] == 131
    assert document["slices"]["turntable"]["correct"] == 131
    assert sum(n for _, _, n in document["confusion"]["pairs"]["all"]) == 131


def test_answers_stay_with_their_photos_across_batches_and_threads(tmp_path: Path):
    photos = sorted(rows(dict.fromkeys(COLOURS, 30)), key=lambda row: row.sha256)
    write_model(tmp_path / "model")

    with open_model(tmp_path / "model") as session:
        answers = session.predict([row.image for row in photos], batch=7)

    assert answers.labels == tuple(row.label for row in photos)


def test_the_missed_photos_are_listed_with_their_identity(tmp_path: Path):
    document = judge(write_workspace(tmp_path, taken_for={"Red": "Blue"}))

    missed = {(miss["sha256"], miss["source"], miss["label"], miss["guess"]) for miss in document["misses"]}
    assert missed == {(r.sha256, r.source, "Red", "Blue") for r in PHOTOS if (r.label, r.split) == ("Red", "test")}


def test_turntable_and_shop_are_two_numbers(tmp_path: Path):
    slices = judge(write_workspace(tmp_path, taken_for={"Red": "Blue"}))["slices"]

    assert (slices["turntable"]["correct"], slices["turntable"]["n"]) == (12, 18)
    assert (slices["shop"]["correct"], slices["shop"]["n"]) == (3, 7)
    assert slices["all"]["accuracy"] == pytest.approx(15 / 25)
    assert slices["shop"]["worst"] == {"label": "Red", "accuracy": 0.0, "n": 4}


def test_a_class_without_test_photos_has_no_figure_and_is_not_an_error(tmp_path: Path):
    workspace = write_workspace(tmp_path)

    document = judge(workspace)

    assert document["slices"]["all"]["classes"]["Yellow"] == {"n": 0, "correct": 0}
    assert ">Yellow<" in (workspace.evaluation / "page.html").read_text()


def test_a_photo_that_is_in_two_shards_is_counted_once(tmp_path: Path):
    photos = rows({"Blue": 3, "Red": 3})

    document = judge(write_workspace(tmp_path, [*photos, photos[0], photos[0]]))

    assert document["slices"]["all"]["n"] == 6


def test_one_photo_under_two_classes_is_refused(tmp_path: Path):
    photos = rows({"Blue": 3, "Red": 3})
    workspace = write_workspace(tmp_path, [*photos, PhotoSpec(photos[0].image, "Green")])

    with pytest.raises(DataError, match=r"'Blue'.*'Green'|'Green'.*'Blue'"):
        judge(workspace)


def test_order_of_rows_and_shards_does_not_change_figures(tmp_path: Path):
    one = judge(write_workspace(tmp_path / "one", taken_for={"Green": "Red"}, sure=2))
    other = tmp_path / "other"
    write_candidate(
        other / "artifacts" / "candidate",
        write_dataset(other / "data" / "fruits", PHOTOS[::-1], shards=3),
        PHOTOS,
        taken_for={"Green": "Red"},
        sure=2,
    )

    two = judge(Workspace(other))

    assert one["dataset"] != two["dataset"]
    assert {name: one[name] for name in FIGURES} == {name: two[name] for name in FIGURES}


def test_what_dvc_compares_is_the_same_every_time(tmp_path: Path):
    workspace = write_workspace(tmp_path)
    compared = ("metrics.json", "confusion.csv")

    judge(workspace)
    first = [(workspace.evaluation / name).read_bytes() for name in compared]
    judge(workspace)

    assert first == [(workspace.evaluation / name).read_bytes() for name in compared]
    metrics = json.loads(first[0])
    assert metrics["turntable.accuracy"] == 1.0
    assert metrics["shop.n"] == 7
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert first[1].decode().splitlines()[0] == "actual,predicted"
    assert first[1].decode().count("\n") == 26


def test_the_baseline_uses_only_training_photos(tmp_path: Path):
    training = rows({"Blue": 3, "Red": 3}, split="train", first=50)
    misled = [PhotoSpec(row.image, "Green", "train") for row in rows({"Yellow": 3}, first=60)]

    document = judge(write_workspace(tmp_path, [*training, *misled, *rows({"Blue": 5, "Yellow": 5})]), baseline=True)

    classes = document["baseline"]["slices"]["turntable"]["classes"]
    assert classes["Blue"] == {"n": 5, "correct": 5}
    assert classes["Yellow"] == {"n": 5, "correct": 0}  # the nearest training photos of that colour are called Green


def test_the_baseline_sees_means_over_boxes():
    checked = np.zeros((40, 40, 3), np.uint8)
    checked[::2] = 255

    pixels = shrink(encoded(Image.fromarray(checked), "PNG"))

    assert pixels.shape == (1200,)
    assert set(pixels.tolist()) <= {127, 128}


def test_without_training_photos_there_is_no_baseline(tmp_path: Path):
    assert judge(write_workspace(tmp_path, rows({"Blue": 3})), baseline=True)["baseline"] is None


def test_the_page_is_one_file_that_loads_nothing(tmp_path: Path):
    workspace = write_workspace(tmp_path, taken_for={"Red": "Blue"})

    judge(workspace, baseline=True)

    page = (workspace.evaluation / "page.html").read_text()
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|#|\.\./\w+/\w+\.html")[a-z/.]""", page)
    assert "66.6 % on the turntable" in page
    assert "6 like this" in page  # one picture is shown for the six turntable photos of Red
    assert page.count('src="data:image/jpeg;base64,') == 10
    assert "6 of 6 Red taken for Blue" in page


def test_names_from_folders_are_text_on_the_page_not_markup(tmp_path: Path):
    photos = [PhotoSpec(draw("Blue", n), "<b>&Blue", "test", "turntable", "<img src=x>.jpg") for n in range(3)]
    index = write_dataset(tmp_path / "data" / "fruits", photos, classes=["<b>&Blue", "Red"])
    write_candidate(tmp_path / "artifacts" / "candidate", index, photos, taken_for={"Blue": "Red"})

    judge(Workspace(tmp_path))

    page = (tmp_path / "artifacts" / "evaluation" / "page.html").read_text()
    assert "&lt;b&gt;&amp;Blue" in page
    assert "<b>&Blue" not in page
    assert "<img src=x>" not in page


def test_a_damaged_shard_is_named_and_the_last_report_stays(tmp_path: Path):
    workspace = write_workspace(tmp_path)
    judge(workspace)
    before = (workspace.evaluation / "evaluation.json").read_bytes()
    shard = next(workspace.dataset("fruits").glob("*.parquet"))
    body = bytearray(shard.read_bytes())
    body[len(body) // 2] ^= 1
    shard.write_bytes(body)

    with pytest.raises(IntegrityError, match=shard.name):
        judge(workspace)

    assert (workspace.evaluation / "evaluation.json").read_bytes() == before


def test_a_candidate_of_another_dataset_is_refused(tmp_path: Path):
    workspace = write_workspace(tmp_path)
    write_dataset(workspace.dataset("fruits"), [*PHOTOS, *rows({"Blue": 1}, first=500)])

    with pytest.raises(DataError, match="not what the candidate learned from"):
        judge(workspace)


def test_a_dataset_without_test_photos_cannot_evaluate_a_model(tmp_path: Path):
    workspace = write_workspace(tmp_path, rows({"Blue": 3, "Red": 3}, split="train"))

    with pytest.raises(DataError, match="no test photos"):
        judge(workspace)


def test_without_a_candidate_the_message_names_the_command(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        judge(Workspace(tmp_path))

    assert "orchard train" in caught.value.hint


def test_a_savedmodel_that_does_not_load_is_named(tmp_path: Path):
    workspace = write_workspace(tmp_path)
    (workspace.candidate / "saved_model" / "saved_model.pb").write_bytes(b"no protocol buffer at all")

    with pytest.raises(IntegrityError, match="saved_model"):
        judge(workspace)


def test_a_model_whose_labels_are_in_another_order_than_its_list_is_refused(tmp_path: Path):
    workspace = write_workspace(tmp_path)
    (workspace.candidate / "saved_model" / "assets" / "classes.txt").write_text("Green\nBlue\nRed\nYellow\n")

    with pytest.raises(IntegrityError, match="has other classes"):
        judge(workspace)


def test_a_label_that_is_not_the_most_probable_class_is_refused(tmp_path: Path):
    write_model(tmp_path / "model")
    (tmp_path / "model" / "assets" / "classes.txt").write_text("Green\nBlue\nRed\nYellow\n")

    with open_model(tmp_path / "model") as session, pytest.raises(IntegrityError, match="not the most probable class"):
        session.predict([draw("Blue", 1)])


def test_invalid_probabilities_are_refused(tmp_path: Path):
    write_model(tmp_path / "model", sure=float("nan"))

    with open_model(tmp_path / "model") as session, pytest.raises(IntegrityError, match="invalid probabilities"):
        session.predict([draw("Blue", 1)])


def test_a_photo_that_the_model_cannot_read_is_an_error_not_a_guess(tmp_path: Path):
    write_model(tmp_path / "model")

    with open_model(tmp_path / "model") as session, pytest.raises(IntegrityError, match="failed on a test photo"):
        session.predict([b"no photo"])


@pytest.mark.parametrize("text", ["", "epoch,loss\n", "epoch,loss\n1,much\n", "epoch,loss\n1\n"])
def test_invalid_curves_are_named(tmp_path: Path, text: str):
    workspace = write_workspace(tmp_path)
    (workspace.candidate / "curves.csv").write_text(text)

    with pytest.raises(DataError, match=r"curves\.csv"):
        judge(workspace)

    assert not workspace.evaluation.exists()


def test_evaluate_prints_one_document(workspace: Path, capsys: pytest.CaptureFixture[str]):
    write_workspace(workspace)

    assert main(["evaluate", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["all.n"] == 25
    assert Path(found["page"]).is_file()
    assert found["latency_ms"]["p50"] > 0


def test_a_typo_in_the_section_evaluate_is_named(workspace: Path, capsys: pytest.CaptureFixture[str]):
    write_workspace(workspace)
    write_params(workspace, evaluate={"basline": True})

    assert main(["evaluate"]) == 3

    assert "basline" in capsys.readouterr().err
    assert not (workspace / "artifacts" / "evaluation").exists()


def test_the_thresholds_of_these_tests_are_valid():
    assert GateThresholds(**THRESHOLDS).worst_class == {"turntable": 0.8}


def test_a_deleted_candidate_is_not_evaluated(tmp_path: Path):
    workspace = write_workspace(tmp_path)
    shutil.rmtree(workspace.candidate / "saved_model")

    with pytest.raises(DataError, match="not a SavedModel"):
        judge(workspace)
