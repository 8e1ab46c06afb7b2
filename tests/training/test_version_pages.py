"""The pages about a candidate and its version: one rounding, one frame, links that lead somewhere; two versions compared."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchard.cli import main
from orchard.cli.version_text import describe_version, row
from orchard.registry.annotations import Annotations
from orchard.registry.cards import read_card
from orchard.registry.channels import ChangeIntent
from orchard.registry.comparison import compare_versions
from orchard.registry.registry import Registry
from orchard.registry.version_overview import read_version, summarize_versions
from orchard.registry.version_report import read_report
from orchard.reporter import Reporter
from orchard.runs import run_pages
from orchard.settings import Settings
from orchard.store import open_store
from orchestration.local.demo_messages import evaluation_summary
from tests.orchard.version_fixtures import registry_of
from tests.training.candidates import write_workspace
from training.cli.diff import diff
from training.code_version import describe_code
from training.data.validation import validate as validation
from training.pages import WORKSPACE_PAGES
from training.release.diff_page import write_diff
from training.release.publish_candidate import publish
from training.workspace import Workspace


class Published(NamedTuple):
    """Two versions: the first is wrong on every red photo. `printed`: what evaluate and gate printed about it."""

    workspace: Workspace
    registry: Registry
    printed: str


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    registry = registry_of(open_store(Settings(store_url="memory://")))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setenv("ORCHARD_ACTOR", "anna@bench")
        patch.setenv("ORCHARD_DATASET", "fruits")
        for options in ({"taken_for": {"Red": "Blue"}}, {}):
            workspace = write_workspace(tmp_path_factory.mktemp("made"), **options)
            patch.chdir(workspace.root)
            (workspace.root / "data" / "schema.yaml").write_text("{}")
            validation.write(validation.validate(Path("data/fruits")))
            assert main(["evaluate"]) == 0
            assert main(["gate", "--override-reason", "Red is sold out"]) == 0
            publish(workspace, registry, "canary", "anna@bench")
            if options:
                first, text = workspace, printed.getvalue()
                registry.channel("stable").promote(1, ChangeIntent("anna", "first"))
        yield Published(first, registry, text)


class _Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs).get("href") or "")


def test_one_figure_has_the_same_digits_wherever_it_is_written(two: Published):
    """3 of 7 shop photos are 42.857 %: written as 42.8 %, and never as 42.85 %, 42.86 % or 42.9 %."""
    workspace, registry, printed = two
    (summary, _) = summarize_versions(registry, [1, 2], [])
    card = read_card(registry.store, registry.model, 1)
    assert card is not None
    texts = {
        "evaluate and gate": printed,
        "demo": evaluation_summary(workspace.root),
        "versions": str(row(summary)),
        "versions 1": describe_version(Reporter(), read_version(registry, 1), None),
        "card.html": card.html.decode(),
        "card.md": card.markdown.decode(),
    }
    for text in texts.values():
        assert "42.8 % (15.8–75.0)" in text
    for folder in (workspace.evaluation, workspace.gate):
        texts[folder.name] = (folder / "page.html").read_text()
        assert ">42.8 %<" in texts[folder.name]
        assert "95 %: 15.8–75.0" in texts[folder.name]
    for name, text in texts.items():
        assert not re.search(r"42\.(?!8 %)\d+ %", text), name


def test_every_page_says_when_by_whom_and_from_what_it_was_made(two: Published):
    for path in WORKSPACE_PAGES:
        page = (two.workspace.root / path).read_text()
        footer = page[page.index("<footer>") :]
        assert re.search(r"<dt>made</dt><dd>\d{4}-\d\d-\d\d \d\d:\d\d UTC</dd>", footer), path
        assert "<dt>by</dt><dd>anna@bench</dd>" in footer, path
        assert f"<dt>code</dt><dd>{describe_code()}</dd>" in footer, path
    card = read_card(two.registry.store, two.registry.model, 2)
    assert card is not None
    assert "stable: version 1, when it was published" in card.html.decode()
    assert "channels: stable: version 1, when it was published" in card.markdown.decode()
    assert "dataset: fruits not in the store" in card.markdown.decode()


def test_pages_of_a_workspace_link_to_each_other(two: Published):
    for path in WORKSPACE_PAGES:
        own = two.workspace.root / path
        links = _Links(own.read_text()).found
        assert len(links) == len(WORKSPACE_PAGES) - 1
        assert {(own.parent / link).resolve() for link in links} == {
            two.workspace.root / other for other in WORKSPACE_PAGES if other != path
        }
        assert all((own.parent / link).is_file() for link in links)


def test_pages_of_a_run_link_to_the_pages_beside_them_in_the_store(two: Published, tmp_path: Path):
    uploaded = {}
    for path, name in run_pages.RUN_PAGES.items():
        source = two.workspace.root / "artifacts" / path
        with run_pages.relinked(source) as file:
            uploaded[name] = file.read_text()
        assert [entry.name for entry in source.parent.iterdir() if entry.name.startswith(".run-")] == []

    for name, page in uploaded.items():
        assert set(_Links(page).found) == set(uploaded) - {name}


def test_a_card_in_the_registry_has_no_links(two: Published):
    card = read_card(two.registry.store, two.registry.model, 1)

    assert card is not None
    assert _Links(card.html.decode()).found == []


def test_publish_keeps_a_signed_report(two: Published):
    report = read_report(two.registry, two.registry.manifest(1))

    assert report is not None
    assert report.params == {"train": {"seed": 7, "epochs": 2}}
    assert report.slices["shop"].classes == {"Blue": (0, 0, 4), "Green": (3, 3, 3), "Red": (4, 0, 0)}
    assert report.slices["shop"].confusion == (("Red", "Blue", 4),)
    assert report.photos is not None
    assert report.photos["test"]["Red"] == {"shop": 4, "turntable": 6}
    assert report.gate is not None
    assert any("Red, turntable: 0.0 %" in sentence for sentence in report.gate.failed)
    text = describe_version(Reporter(), read_version(two.registry, 1), 1)
    assert "✗ Red, turntable: 0.0 %" in text
    assert "! warning: Red, shop: not one of 4 photos is right" in text
    assert "better classes are left out" in text


def test_two_versions_side_by_side_on_one_page(two: Published, tmp_path: Path):
    Annotations(two.registry, 2).add_note("<b>better</b> on red", ChangeIntent("bert", ""))
    found = compare_versions(two.registry, 1, 2)

    cards = write_diff(tmp_path / "new" / "diff.html", two.registry, found)

    page = (tmp_path / "new" / "diff.html").read_text()
    assert [card.name for card in cards] == ["diff-card-1.html", "diff-card-2.html"]
    assert _Links(page).found == ["diff-card-1.html", "diff-card-2.html"]
    assert all(card.read_text().startswith("<!doctype html>") for card in cards)
    assert '<b>shop:</b> 42.8 % (15.8–75.0) → 100.0 % (64.5–100.0), +57.1 points: <b class="better">better</b>' in page
    assert '<th scope="row">Red</th><td>shop</td><td class="number">0 of 4</td><td class="number">4 of 4</td>' in page
    assert (
        '<th scope="row">Red</th><td>Blue</td><td>shop</td><td class="number">4</td><td class="number">–</td>' in page
    )
    assert "bert: &lt;b&gt;better&lt;/b&gt; on red" in page
    assert "<dt>by</dt>" in page
    assert not re.search(r"""(?:src|url)\s*[=(]\s*["']?(?!data:|#)[a-z/.]""", page)


def typed(command: Any, *args: str) -> str:
    with redirect_stdout(io.StringIO()) as printed:
        assert main(list(args), command) == 0
    return printed.getvalue()


def test_diff_as_somebody_types_it(two: Published, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("training.cli.diff.open_to_read", lambda: two.registry)
    monkeypatch.chdir(tmp_path)

    text = typed(diff, "stable", "latest", "--top", "1")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "fruits 1 → 2"
    assert f"code {describe_code()}" in lines
    assert "parameters the same" in lines
    assert any(line.startswith("shop accuracy 42.8 % (15.8–75.0) 100.0 % (64.5–100.0) +57.1") for line in lines), text
    assert "− turntable: Red taken for Blue 6×" in lines
    assert sum(line.startswith("and 1 more") for line in lines) >= 1

    document = json.loads(typed(diff, "1", "2", "--json", "--html", "out/diff.html"))
    assert (document["before"]["version"], document["after"]["version"]) == (1, 2)
    assert document["cards"] == ["out/diff-card-1.html", "out/diff-card-2.html"]
    assert all(Path(path).is_file() for path in (document["page"], *document["cards"]))
    assert {item["judgement"] for item in document["figures"] if item["name"] == "accuracy"} == {"better"}
