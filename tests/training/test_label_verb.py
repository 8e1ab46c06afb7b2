"""`orchard validate --labels` and `orchard cross-validate` on a dataset with wrong labels, with a backbone that sees colours."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from orchard.cli import main
from tests import photo_files
from tests.training.page_minutes import without_minutes
from training.data.validation.label_report import SuspectPhoto, corrections
from training.model import grouped_photos

KIWI, LEMON, *_ = photo_files.CLASSES
PHOTOS = 12
ROOT = Path(__file__).resolve().parents[2]


class ColourGrid:
    """A backbone that sees the mean colours of 4 × 4 parts of a photo."""

    def __init__(self, name):
        self.name, self.digest, self.size = name, "0" * 64, 32

    def __call__(self, pixels):
        return pixels.reshape(-1, 4, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(len(pixels), -1).astype(np.float32)


@pytest.fixture
def farm(workspace, monkeypatch):
    """Photos of a shop; one Kiwi is in the folder of Lemon, and one class has a single photo."""
    monkeypatch.setattr(grouped_photos, "PretrainedExtractor", ColourGrid)
    folder = photo_files.fill(workspace / "shop", train=PHOTOS)
    for path in sorted(folder.rglob("*.jpg")):  # names without frames: no turntable
        path.rename(path.with_name(f"{path.parent.name} {path.name.split('_')[0]}.jpg"))
    wrong = sorted((folder / "train" / KIWI).iterdir())[3]
    wrong.rename(folder / "train" / LEMON / wrong.name)
    for path in sorted((folder / "train" / photo_files.CLASSES[3]).iterdir())[1:]:
        path.unlink()
    assert main(["ingest", "shop", "--dataset", "farm", "--no-push"]) == 0
    (workspace / "data" / "schema.yaml").write_text("defaults: {photos: {train: 1, test: 1}, balance: 50}\n")
    return wrong.name


def check(workspace, *options):
    code = main(["validate", "--dataset", "farm", "--no-near-duplicates", "--labels", *options])
    output = workspace / "artifacts" / "validation"
    return code, json.loads((output / "labels.json").read_text()), (output / "page.html").read_text()


def test_wrong_label_is_listed_with_its_picture_and_the_command_that_corrects_it(workspace, farm, capsys):
    code, document, page = check(workspace)

    first = document["suspects"][0]
    assert code == 0
    assert (first["path"], first["label"], first["suggested"]) == (farm, LEMON, KIWI)
    assert len(first["digest"]) == 64
    assert 0.5 < first["score"] <= 1
    assert first["reasons"]
    assert document["checked"] == {"shop": 3 * PHOTOS + 1}
    assert f"of {3 * PHOTOS + 1} training photos look like another class" in capsys.readouterr().out

    class SuspectPictures(HTMLParser):
        pictures = 0

        def handle_starttag(self, tag, attributes):
            values = dict(attributes)
            self.pictures += tag == "img" and values.get("alt") == LEMON and values["src"].startswith("data:image/jpeg")

    reader = SuspectPictures()
    reader.feed(page)
    assert reader.pictures == 3  # the suspect, and two samples of the class
    command = "orchard data relabel --dataset farm --from artifacts/validation/labels.json"
    assert f"{command} \\\n  {first['digest'][:12]}" in page


def test_commands_of_the_page_correct_the_label(workspace, farm):
    _, document, _ = check(workspace)

    first = SuspectPhoto(**document["suspects"][0])
    command = shlex.split(corrections([first], "farm").replace("\\\n", ""))
    assert main([*command[1:], "--no-push"]) == 0
    assert main(["validate", "--dataset", "farm", "--labels"]) == 0

    corrected = json.loads((workspace / "artifacts/validation/labels.json").read_text())
    assert farm not in {suspect["path"] for suspect in corrected["suspects"]}


def test_same_dataset_gives_the_same_files_and_without_labels_none_is_left(workspace, farm):
    (*first, page), (*second, again) = check(workspace), check(workspace)
    assert first == second
    assert without_minutes(page) == without_minutes(again)

    assert main(["validate", "--dataset", "farm"]) == 0

    output = workspace / "artifacts" / "validation"
    assert sorted(path.name for path in output.iterdir()) == ["page.html", "validation.json"]
    assert "Correct a label" not in (output / "page.html").read_text()


def test_labels_are_checked_even_if_the_dataset_breaks_another_rule(workspace, farm, capsys):
    (workspace / "data" / "schema.yaml").write_text("defaults: {photos: {train: 5, test: 1}, balance: 50}\n")

    code, document, page = check(workspace)

    assert code == 4
    assert document["suspects"][0]["path"] == farm
    assert "Correct a label" in page
    assert "look like another class" in capsys.readouterr().err


def test_class_without_photos_of_a_source_is_no_obstacle(workspace, farm):
    other = workspace / "market" / "train"
    for label in (KIWI, LEMON):
        shutil.copytree(workspace / "shop" / "train" / label, other / label)
        (other / label / farm).unlink(missing_ok=True)
        for path in (other / label).iterdir():
            path.write_bytes(photo_files.jpeg(label, int(path.stem.split()[-1]), side=140))
    assert main(["ingest", "market", "--dataset", "farm", "--no-push"]) == 0

    _, document, _ = check(workspace)
    assert document["checked"] == {"market": 2 * PHOTOS - 1, "shop": 3 * PHOTOS + 1}
    _, document, _ = check(workspace, "--source", "market", "--backbone", "efficientnet_lite0")
    assert (document["checked"], document["backbones"]) == ({"market": 2 * PHOTOS - 1}, ["efficientnet_lite0"])


def test_errors_name_the_problem(workspace, farm, capsys, monkeypatch):
    assert main(["validate", "--dataset", "farm", "--labels", "--source", "shopp"]) == 4
    assert "no train photos of the source shopp\n  fix: its sources are shop" in capsys.readouterr().err
    assert main(["validate", "--dataset", "farm", "--source", "shop"]) == 2
    assert "need --labels" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(["validate", "--dataset", "farm", "--labels"]) == 10
    assert "needs the Python package 'sklearn', which is not installed" in capsys.readouterr().err


def test_validation_without_labels_imports_neither_tensorflow_nor_scikit_learn(workspace, farm):
    code = (
        "import sys\nfrom orchard.cli import main\nassert main(['validate', '--dataset', 'farm']) == 0\n"
        "print(sorted({'tensorflow', 'keras', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_cross_validation_prints_figures_with_intervals_by_class(workspace, farm, capsys):
    params = (ROOT / "params.yaml").read_text().replace("name: fruits", "name: farm")
    (workspace / "params.yaml").write_text(params)

    assert main(["cross-validate", "--folds", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert main(["cross-validate", "--folds", "3"]) == 0
    text = capsys.readouterr().out

    assert document["backbones"] == ["mobilenet_v2"]
    assert (document["n"], document["never_tested"], len(document["folds"])) == (3 * PHOTOS, 1, 3)
    assert document["sources"]["shop"]["n"] == 3 * PHOTOS
    assert set(document["classes"]) == set(photo_files.CLASSES)
    assert f"{document['correct']} of {document['n']}" in text
    assert "1 photos were never tested" in text
