"""The model card: written with every verdict, kept with every version, and nothing on it is invented."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchard import layout
from orchard.gate import GateThresholds
from orchard.registry.cards import MAX_CARD, ModelCard, list_cards, read_card
from orchard.registry.pruning import PruneOptions
from orchard.reporter import Reporter
from orchard.store import ObjectStore
from tests.faults.crashing_store import CrashingStore, Fault, Killed
from tests.orchard.version_fixtures import registry_of
from tests.training.candidates import THRESHOLDS, judge, write_workspace
from training.evaluation.report import read_evaluation, read_pictures
from training.model.candidate import Candidate, read_candidate
from training.pages import link
from training.release.gate_candidate import gate, read_verdict
from training.release.model_card import make_card
from training.release.publish_candidate import publish
from training.workspace import Workspace

CARDS = """
cards:
  fruits:
    purpose: "tells <b>colours</b> apart"
    sources: {shop: {title: Some | photos, by: "A [person](x)", licence: MIT}}
    limits: ["only & always round ones"]
    model_licence: Apache-2.0
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A candidate that is wrong on every red photo, evaluated and overridden."""
    workspace = write_workspace(tmp_path_factory.mktemp("made"), taken_for={"Red": "Blue"})
    (workspace.root / "data" / "schema.yaml").write_text(CARDS)
    judge(workspace, baseline=True)
    thresholds = GateThresholds(**THRESHOLDS)
    gate(workspace, thresholds, None, Reporter.silent(), override_reason="Red is <sold> out | until *May*")
    return workspace


@pytest.fixture
def own(made: Workspace, tmp_path: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(made.root, tmp_path / "own")))


def front_matter(markdown: str) -> dict[str, Any]:
    return dict(yaml.safe_load(markdown.split("---\n")[1]))


def texts(workspace: Workspace) -> tuple[str, str]:
    return (workspace.card / "card.html").read_text(), (workspace.card / "card.md").read_text()


def linked(card: ModelCard) -> str:
    """The card as it is in a workspace: with links to the other pages."""
    return link(card.html.decode(), "artifacts/card/card.html")


def card_of(workspace: Workspace, change: Callable[[Candidate, dict[str, Any]], Candidate]) -> tuple[str, str]:
    """The card of a changed candidate and evaluation."""
    evaluation = read_evaluation(workspace.evaluation)
    candidate = change(read_candidate(workspace.candidate), evaluation)
    verdict, _ = read_verdict(workspace.gate)
    card = make_card(candidate, evaluation, verdict, read_pictures(workspace.evaluation))
    assert len(card.html) <= MAX_CARD
    return card.html.decode(), card.markdown.decode()


def test_gate_writes_a_card_that_loads_nothing_and_shows_the_misses(made: Workspace):
    html, markdown = texts(made)

    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|#|\.\./\w+/\w+\.html")[a-z/.]""", html)
    assert html.count('src="data:image/jpeg;base64,') == 10
    for text in (html, markdown):
        assert "66.6 % (43.7–83.8)" in text  # the turntable
        assert "42.8 % (15.8–75.0)" in text  # the shop
        assert "Red taken for Blue 6×" in text
        assert "The 1st model looked at these test photos" in text
        assert "No test photo from shop of: Blue, Yellow" in text


def test_a_class_without_one_right_photo_cannot_be_overlooked(made: Workspace):
    sentences = [f"Red, {name}: not one of {n} photos is right" for name, n in (("shop", 4), ("turntable", 6))]
    verdict = json.loads((made.gate / "verdict.json").read_text())
    pages = [(folder / "page.html").read_text() for folder in (made.gate, made.evaluation)]

    assert verdict["warnings"] == sentences
    html, markdown = texts(made)
    for text, first in (*((page, "<h2>") for page in (*pages, html)), (markdown, "## ")):
        assert "2 warnings" in text[: text.index(first)], "above everything else"
        for sentence in sentences:
            assert sentence in text[: text.index(first)]


def test_names_and_reasons_are_text_on_the_card_not_markup(made: Workspace):
    html, markdown = texts(made)

    assert "Red is &lt;sold&gt; out | until *May*" in html
    assert "tells &lt;b&gt;colours&lt;/b&gt; apart" in html
    assert r"Red is \<sold\> out \| until \*May\*" in markdown
    assert r"| shop | Some \| photos | A \[person\](x) | MIT | not stated |" in markdown
    assert "only &amp; always round ones" in markdown


def test_front_matter_is_that_of_hugging_face(made: Workspace):
    found, figures = front_matter(texts(made)[1]), read_evaluation(made.evaluation)["figures"]

    assert (found["license"], found["pipeline_tag"], found["datasets"]) == (
        "apache-2.0", "image-classification", ["fruits"],
    )  # fmt: skip
    assert found["metrics"] == ["accuracy", "f1"]
    (model,) = found["model-index"]
    for result in model["results"]:
        own = figures[result["dataset"]["config"]]
        assert result["task"]["type"] == "image-classification"
        assert result["dataset"]["split"] == "test"
        assert [(item["type"], item["value"]) for item in result["metrics"]] == [
            ("accuracy", own["accuracy"]["value"]),
            ("f1", own["macro_f1"]["value"]),
            ("accuracy", own["top3"]["value"]),
        ]
    assert [result["dataset"]["config"] for result in model["results"]] == ["turntable", "shop"]


def test_what_is_not_known_is_left_out_or_named_unknown(made: Workspace):
    def without(candidate: Candidate, evaluation: dict[str, Any]) -> Candidate:
        evaluation |= {"data": {"photos": {"train": 1, "test": 1}, "card": None}, "baseline": None}
        return replace(candidate, training={"classes": candidate.training["classes"]})

    def with_more(candidate: Candidate, evaluation: dict[str, Any]) -> Candidate:
        more = {
            "cross_validation": {"folds": 5, "accuracy": {"mean": 0.842}},
            "unsure": {"threshold": 0.37, "coverage": 0.9},
            "pretrained": {"name": "mobilenet_v2", "licence": "BSD-3-Clause"},
        }
        return replace(candidate, training={**candidate.training, **more})

    html, markdown = card_of(made, without)
    for text in (html, markdown):
        assert "No cross-validation is recorded" in text
        assert "Licence of the model: not stated" in text
        assert "data/schema.yaml has no card of this dataset" in text
        assert "It always answers with one of its classes" in text
        assert "architecture" not in text
        assert "Unsure" not in text
    assert front_matter(markdown)["license"] == "unknown"
    html, markdown = card_of(made, with_more)
    for text in (html, markdown):
        assert "accuracy.mean" in text
        assert "0.37" in text
        assert "mobilenet" in text
        assert "It can answer that it is unsure" in text
        assert "No cross-validation is recorded" not in text


def test_a_card_is_small_whatever_the_data(made: Workspace):
    names = [f"{n:04d} " + "long name " * 12 for n in range(1500)]

    def large(candidate: Candidate, evaluation: dict[str, Any]) -> Candidate:
        for part in (*evaluation["figures"].values(), *evaluation["slices"].values()):
            (some, *_) = part["classes"].values()
            part["classes"] = dict.fromkeys(names, some)
        params = {f"key {n}": "value " * 1000 for n in range(300)}
        return replace(candidate, classes=tuple(names), training={**candidate.training, "params": params})

    html, markdown = card_of(made, large)

    assert "better ones are left out" in html
    assert len(markdown) <= MAX_CARD


def test_the_card_is_kept_with_the_version_and_never_changes(memory: ObjectStore, own: Workspace):
    registry = registry_of(memory)
    record = publish(own, registry, "stable", "tester", "nightly").record
    assert record["card"] == layout.card("fruits", 1) == list_cards(memory, "fruits")[1]
    first = read_card(memory, "fruits", 1)
    assert first is not None
    assert b"fruits 1" in first.html
    assert b"signed manifest has the same digests. This card is not signed" in first.html
    assert linked(first) == texts(own)[0]
    judge(own)  # another latency, no baseline
    shutil.rmtree(own.card)

    publish(own, registry, "stable", "tester", "nightly")  # a retry of the run finds its record
    assert texts(own)[0] == linked(first)
    publish(own, registry, "stable", "somebody else")
    assert read_card(memory, "fruits", 1) == first

    registry.prune(PruneOptions(keep=1, delete=True))
    assert read_card(memory, "fruits", 1) == first
    assert registry.versions() == [1]


@pytest.mark.parametrize(
    ("fault", "suffix"), [("killed before", ".md"), ("killed after", ".md"), ("killed before", ".html")]
)
def test_a_publish_that_dies_at_the_card_is_completed_by_the_next(
    memory: ObjectStore, own: Workspace, fault: Fault, suffix: str
):
    recording = CrashingStore(memory)
    publish(own, registry_of(recording), "stable", "tester")
    at = recording.calls.index(f"create {layout.card('fruits', 1, suffix)}")
    for stat in list(memory.list("models")):
        memory.delete(stat.key)
    with pytest.raises(Killed):
        publish(own, registry_of(CrashingStore(memory, at, fault)), "stable", "tester")
    assert registry_of(memory).versions() == [1]

    result = publish(own, registry_of(memory), "stable", "tester", "nightly")

    assert (result.record["version"], result.created) == (1, False)
    card = read_card(memory, "fruits", 1)
    assert card is not None
    assert texts(own)[0] == linked(card)


def test_looks_that_the_registry_knows_count_too(memory: ObjectStore, made: Workspace, own: Workspace):
    registry = registry_of(memory)
    publish(own, registry, "stable", "tester")
    params = json.loads((own.candidate / "training.json").read_text())
    (own.candidate / "training.json").write_text(json.dumps({**params, "params_digest": "6" * 64}))
    (own.candidate / "saved_model" / "assets.extra" / "note.txt").write_text("another model on the same photos")
    shutil.rmtree(own.looks)  # a fresh workspace, as in a pod
    judge(own)
    gate(own, GateThresholds(**THRESHOLDS), None, Reporter.silent(), override_reason="for a test")

    publish(own, registry, "stable", "tester")

    card = read_card(memory, "fruits", 2)
    assert card is not None
    for text in (card.html.decode(), card.markdown.decode()):
        assert "with the versions of the registry 2 are known to have looked. Who chooses" in text
        assert "evaluated on the same photos: 1." in text
