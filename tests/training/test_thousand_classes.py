"""A thousand classes, some with strange names: from a label file to every page; nothing grows with their square."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from orchard import gate
from orchard.cli import main
from orchard.cli.version_text import describe_version
from orchard.dataset import Dataset
from orchard.documents import MAX_BYTES
from orchard.registry.cards import read_card
from orchard.registry.comparison import compare_versions
from orchard.registry.registry import Registry
from orchard.registry.version_overview import read_version
from orchard.reporter import Reporter
from orchard.settings import Settings
from orchard.store import open_store
from serving.models_config import ModelConfig, render
from tests import photo_files
from tests.orchard.version_fixtures import registry_of
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve
from tests.training.candidates import PHOTOS, write_workspace
from training import pages
from training.data.shards import Index, Shard, iterate, parse_index
from training.data.validation import validate as validation
from training.evaluation.charts import DRAWN_CLASSES, heat_map
from training.evaluation.scores import ScoredPhoto, count_confusions
from training.model.savedmodel_session import open_model
from training.release.diff_page import write_diff
from training.release.gate_candidate import read_verdict
from training.release.publish_candidate import publish
from training.workspace import Workspace

STRANGE = [
    "Salt, Pepper",
    "crème brûlée",
    "null",
    "007",
    "yes",
    "~",
    "1e3",
    "a: b",
    "- a",
    "'",
    '"',
    "<b> & |",
    "日本 *",
    "{{ x }}",
]
COLOUR_OF = {"Blue": "Salt, Pepper", "Green": "crème brûlée", "Red": "null", "Yellow": "007"}
NAMES = [*STRANGE, *(f"A class with a name, number {number}" for number in range(1000 - len(STRANGE)))]
PAGE_BYTES = 500_000


class Chain(NamedTuple):
    """Two versions of a thousand classes, and what evaluate and gate printed."""

    workspace: Workspace
    registry: Registry
    printed: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    registry = registry_of(open_store(Settings(store_url="memory://")))
    photos = [replace(photo, label=COLOUR_OF[photo.label]) for photo in PHOTOS]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setenv("ORCHARD_DATASET", "fruits")
        for taken_for in ({**COLOUR_OF, "Red": STRANGE[4]}, COLOUR_OF):
            root = tmp_path_factory.mktemp("made")
            workspace = write_workspace(root, photos, classes=NAMES, taken_for=taken_for)
            patch.chdir(root)
            (root / "data" / "schema.yaml").write_text("{}")
            validation.write(validation.validate(Path("data/fruits")))
            assert main(["evaluate"]) == 0
            assert main(["gate", "--override-reason", "the first"]) == 0
            publish(workspace, registry, "canary", "anna@bench")
        yield Chain(workspace, registry, printed.getvalue())


def test_strange_names_are_whole_in_predictions_figures_versions_and_cards(chain: Chain):
    red = next(photo.image for photo in PHOTOS if photo.label == "Red")
    with open_model(chain.workspace.candidate / "saved_model") as session:
        assert session.predict([red]).labels == ("null",)
    figures = json.loads((chain.workspace.evaluation / "evaluation.json").read_text())["figures"]["turntable"][
        "classes"
    ]
    assert {label for label, item in figures.items() if item["n"]} == {"Salt, Pepper", "crème brûlée", "null"}
    with (chain.workspace.evaluation / "confusion.csv").open(encoding="utf-8", newline="") as file:
        assert {row["predicted"] for row in csv.DictReader(file)} == {"Salt, Pepper", "crème brûlée", "null"}
    shown = describe_version(Reporter(), read_version(chain.registry, 2), None)
    assert "Salt, Pepper" in shown
    assert "null" in shown
    card = read_card(chain.registry.store, chain.registry.model, 2)
    assert card is not None
    assert "crème brûlée" in card.html.decode()
    assert "crème brûlée" in card.markdown.decode()
    found = compare_versions(chain.registry, 1, 2)
    assert ("null", "yes") in {(one.label, one.guess) for one in found.confusion or ()}
    assert "null, turntable: not one of 6 photos is right" in chain.printed


def test_strange_names_are_served(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    red = next(photo.image for photo in PHOTOS if photo.label == "Red")
    (tmp_path / "red.png").write_bytes(red)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "1").symlink_to((chain.workspace.candidate / "saved_model").absolute())
    config = tmp_path / "models.config"
    config.write_text(render([ModelConfig("own", str(tmp_path / "own"), labels={"stable": 1})]))
    with Serve(config, tmp_path / "log", ENVIRONMENT) as server:
        answer = server.predict("own", {"instances": [{"b64": base64.b64encode(red).decode()}]}).json["predictions"]
        monkeypatch.setenv("ORCHARD_SERVER_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("ORCHARD_MODEL", "own")
        assert main(["predict", str(tmp_path / "red.png")]) == 0

    assert answer[0]["label"] == "null"
    assert re.search(r"red\.png.*\bnull\b", capsys.readouterr().out)


def test_pages_of_a_thousand_classes_are_small_and_say_what_they_leave_out(chain: Chain):
    write_diff(Path("diff.html"), chain.registry, compare_versions(chain.registry, 1, 2))
    for path in (*(chain.workspace.root / page for page in pages.WORKSPACE_PAGES), Path("diff.html")):
        assert path.stat().st_size < PAGE_BYTES, path
    text = (chain.workspace.evaluation / "page.html").read_text(encoding="utf-8")
    assert f"{DRAWN_CLASSES} of 1\N{NARROW NO-BREAK SPACE}000 classes are drawn" in text
    assert f"The first {pages.MOST_ROWS} of 1\N{NARROW NO-BREAK SPACE}000" in text
    assert len(chain.printed.splitlines()) < 150
    for name in ("evaluation.json", "metrics.json"):
        assert (chain.workspace.evaluation / name).stat().st_size < MAX_BYTES


def answers_of(classes: list[str], sources: int) -> list[ScoredPhoto]:
    """Two photos of each class from each source: one right, one taken for the class after it."""
    return [
        ScoredPhoto(
            source=f"source {source}",
            label=label,
            path=f"{number}.jpg",
            sha256=f"{number:064x}",
            guess=guess,
            probability=0.5,
            truth_probability=0.5,
            truth_rank=1,
            unsure=None,
        )
        for source in range(sources)
        for number, label in enumerate(classes)
        for guess in (label, classes[(number + 1) % len(classes)])
    ]


def test_confusion_grows_with_the_photos_and_draws_the_most_frequent_mistakes():
    answers = answers_of(NAMES, sources=10)
    confusion = count_confusions([*answers, *[answers[-1]] * 5], NAMES)

    assert len(json.dumps(confusion)) < MAX_BYTES
    drawn = heat_map(confusion["labels"], confusion["pairs"]["source 9"])
    assert (len(drawn.labels), drawn.left_out, drawn.right, drawn.wrong) == (60, 940, 1000, 1005)
    assert {NAMES[-1], NAMES[0]} <= {*drawn.labels}
    assert max(cell.n for cell in drawn.cells) == 6
    assert drawn.unseen == drawn.wrong - sum(cell.n for cell in drawn.cells if cell.row != cell.column) > 0


def evaluation_of(right: int, model: str) -> dict[str, Any]:
    part = {
        "n": 4 * len(NAMES),
        "correct": right * len(NAMES),
        "accuracy": right / 4,
        "classes": {label: {"n": 4, "correct": right} for label in NAMES},
    }
    data = {"name": "own", "digest": "d"}
    return {
        "format": 1,
        "dataset": data,
        "model": {"sha256": model},
        "slices": {"phone": part, "shop": part, "all": part},
    }


def test_verdict_with_checks_of_each_class_of_two_sources_is_read_again(tmp_path: Path):
    by_class = {"phone": 0.5, "shop": 0.5}
    thresholds = gate.GateThresholds(accuracy={"all": 0.5}, worst_class=by_class, class_drop=by_class)
    verdict = gate.decide(evaluation_of(2, "new"), evaluation_of(4, "served"), thresholds)
    (tmp_path / "verdict.json").write_text(json.dumps(verdict.document(), indent=1))

    document, _ = read_verdict(tmp_path)

    assert (tmp_path / "verdict.json").stat().st_size > MAX_BYTES
    assert len(document["checks"]) == 4001


def test_index_of_a_hundred_thousand_large_photos_is_read_and_committed(memory):
    shards = tuple(
        Shard(f"{number:04d}-{number:012x}.parquet", f"{number:032x}", f"{number:012x}{0:052x}", 32_000_000, 10)
        for number in range(10_000)
    )
    counts = {split: dict.fromkeys(NAMES, 50) for split in ("train", "test")}
    index = Index(1, "own", tuple(sorted(NAMES)), shards, counts)

    assert parse_index(index.text.encode(), "index.json") == index
    Dataset(memory, "own").commit(index.document, "outs: []\n", parent=None, created_by="me")
    current = Dataset(memory, "own").current()
    assert current is not None
    assert current.index == index.document


def test_strange_names_of_a_label_file_are_whole_in_the_dataset_its_corrections_and_its_metadata(
    workspace, monkeypatch, capsys
):
    monkeypatch.setenv("ORCHARD_DATASET", "own")
    (workspace / "photos").mkdir()
    with (workspace / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label"])
        for number, label in enumerate(2 * STRANGE):
            (workspace / "photos" / f"{number}.jpg").write_bytes(photo_files.jpeg(number=number))
            table.writerow([f"{number}.jpg", label])
    options = ["--labels", "labels.csv", "--test-share", "0.5", "--no-push"]

    assert main(["ingest", "photos", *options]) == 0
    index = parse_index((workspace / "data/own/index.json").read_bytes(), "index.json")
    assert index.counts == {split: dict.fromkeys(sorted(STRANGE), 1) for split in ("train", "test")}
    digest = digest_of(workspace, "null")
    for name in ("a/b", "a\tb", "a\u0007b"):
        capsys.readouterr()
        assert main(["data", "relabel", digest, "--label", name, "--new-class", "--no-push"]) == 4
        assert "is not a valid name of a class" in capsys.readouterr().err
    (workspace / "data/schema.yaml").write_text(
        yaml.safe_dump({"datasets": {"own": {"classes": STRANGE, "photos": {"train": 1}}}}, allow_unicode=True)
    )
    assert main(["validate", "--dataset", "own", "--no-near-duplicates"]) == 0
    assert main(["data", "croissant", "--no-store"]) == 0
    text = (workspace / "data/own.croissant.json").read_text(encoding="utf-8")
    names = next(part for part in json.loads(text)["recordSet"] if part["@id"] == "classes")["data"]
    assert sorted(row["classes/name"] for row in names) == sorted(STRANGE)

    assert main(["data", "relabel", digest, "--label", "Salt, Pepper", "--no-push", "--json"]) == 0
    index = parse_index((workspace / "data/own/index.json").read_bytes(), "index.json")
    assert sum(index.counts[split]["Salt, Pepper"] for split in index.counts) == 3


def digest_of(workspace: Path, label: str) -> str:
    """The digest of a photo of a class."""
    batches = iterate(workspace / "data/own", columns=("sha256", "label"))
    return next(row["sha256"] for batch in batches for row in batch.to_pylist() if row["label"] == label)
