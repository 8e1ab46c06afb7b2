"""The notebooks run, each in a kernel of its own, on short data; text and notebook agree; nothing that they printed is stored."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import course
import jupytext
import lime_map
import nbformat
import numpy as np
import pytest

from serving.models_config import ModelConfig, render
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve
from tests.training.candidates import COLOURS, rows, write_dataset, write_model

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted((ROOT / "notebooks").glob("[0-9]_*.py"))
SHOWN = {
    "1": "32 photos, mean brightness",
    "2": "the largest difference of their predictions: 0.0",
    "3": "outside training the layers change nothing: True",
    "4": "features of 32 photos",
    "5": "mean of the map + bias",
    "6": "sum of the probabilities: 1.0",
}
"""What each notebook prints, by its number."""

SHORT = (
    *rows(dict.fromkeys(COLOURS, 6), split="train"),
    *rows(dict.fromkeys(COLOURS, 2), first=20),
    *rows(dict.fromkeys(COLOURS, 8), split="train", source="shop", first=40),
    *rows(dict.fromkeys(COLOURS, 2), source="shop", first=60),
)
"""72 photos of four classes."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short") / "short"
    write_dataset(folder, SHORT)
    return folder


def execute(target: Path, name: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a notebook as `make notebooks EXECUTE=1` does."""
    environment = {**ENVIRONMENT, "NOTEBOOK_EPOCHS": "1", **{key: str(value) for key, value in variables.items()}}
    command = [sys.executable, str(ROOT / "scripts/notebooks"), "execute", "--to", str(target), name]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def printed(path: Path) -> tuple[str, int]:
    """The text that an executed notebook shows, and the number of its pictures."""
    outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    return text, sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a model server of our own, for the notebook that asks one; the others get none."""
    if not request.node.callspec.id.startswith("6"):
        yield "http://127.0.0.1:9"
        return
    write_model(tmp_path / "fruits" / "1")
    config = tmp_path / "models.config"
    config.write_text(render([ModelConfig("fruits", str(tmp_path / "fruits"))]))
    with Serve(config, tmp_path / "serve.log", ENVIRONMENT) as running:
        yield f"http://127.0.0.1:{running.port}"


@pytest.mark.parametrize(
    "text",
    [pytest.param(path, marks=[pytest.mark.long] if path.stem[0] in "234" else []) for path in TEXTS],
    ids=lambda path: path.stem,
)
def test_notebook_runs_on_short_data(text, dataset, server, tmp_path):
    done = execute(tmp_path / "out", text.stem, NOTEBOOK_DATASET=dataset, ORCHARD_SERVER_URL=server)

    assert done.returncode == 0, done.stdout + done.stderr
    shown, pictures = printed(tmp_path / "out" / f"{text.stem}.ipynb")
    assert SHOWN[text.stem[0]] in shown
    assert pictures >= 2


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_notebook_and_text_agree_and_no_output_is_stored(text):
    source, notebook = jupytext.read(text), nbformat.read(text.with_suffix(".ipynb"), 4)

    nbformat.validate(notebook)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ], "run `scripts/notebooks pair`"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_notebook_asks_the_reader_and_has_an_exercise(text):
    body = text.read_text()

    assert "**Question.**" in body
    assert "## Exercise" in body


def test_there_are_six_and_the_readme_lists_each():
    listed = (ROOT / "notebooks/README.md").read_text()

    assert [text.stem[0] for text in TEXTS] == list("123456")
    assert all(f"({text.stem}.ipynb)" in listed for text in TEXTS)


def test_failed_notebook_is_reported_with_what_to_do(tmp_path):
    done = execute(tmp_path, "1", NOTEBOOK_DATASET=tmp_path / "nowhere")

    assert done.returncode == 1
    assert "there is no dataset in" in done.stdout
    assert "make demo" in done.stdout
    assert (tmp_path / "1_look_at_the_photos.ipynb").exists()


def test_unknown_notebook_is_refused_with_the_known_ones(tmp_path):
    done = execute(tmp_path, "9")

    assert done.returncode != 0
    assert "6_ask_the_served_model" in done.stderr


def test_jupyterlab_listens_on_loopback_with_its_token_and_stores_no_outputs():
    class Section(dict):
        def __getattr__(self, name):
            return self.setdefault(name, Section())

        __setattr__ = dict.__setitem__

    settings = Section()
    path = ROOT / "notebooks/jupyter_server_config.py"
    exec(compile(path.read_text(), str(path), "exec"), {"get_config": lambda: settings, "__file__": str(path)})  # noqa: S102
    cell = {"cell_type": "code", "outputs": [{"text": "a photo"}], "execution_count": 3, "source": "1"}
    model = {"type": "notebook", "content": {"cells": [cell, {"cell_type": "markdown", "source": "text"}]}}
    settings["ContentsManager"]["pre_save_hook"](model=model, path="1.ipynb", contents_manager=None)

    assert settings["ServerApp"]["ip"] == "127.0.0.1"
    assert not set(settings) & {"IdentityProvider"}
    assert not set(settings["ServerApp"]) & {"token", "password", "allow_origin", "disable_check_xsrf"}
    assert (cell["outputs"], cell["execution_count"], cell["source"]) == ([], None, "1")


def test_lime_finds_the_part_that_decides():
    photo = np.full((64, 64, 3), 40, np.uint8)
    photo[8:24, 40:56] = (220, 30, 30)

    def predict(photos):
        red = photos[:, 8:24, 40:56, 0].mean(axis=(1, 2)) / 255
        return np.stack([1 - red, red], axis=1)

    effects = lime_map.explain(photo, predict, 1)

    inside = effects[8:24, 40:56].mean()
    outside = np.delete(effects, np.s_[30:60], axis=1)
    assert inside > 0.05
    assert np.abs(outside).max() < inside / 5
    assert np.array_equal(effects, lime_map.explain(photo, predict, 1))


def test_superpixels_cover_the_photo_and_keep_an_edge():
    photo = np.zeros((60, 60, 3), np.uint8)
    photo[:, 33:] = 255
    patches = lime_map.superpixels(photo)

    assert patches.shape == (60, 60)
    assert sorted(np.unique(patches)) == list(range(patches.max() + 1))
    assert 20 <= patches.max() + 1 <= 60
    assert not set(patches[:, :31].ravel()) & set(patches[:, 35:].ravel())  # blurred over two pixels


def test_near_copies_are_held_out_together():
    random = np.random.default_rng(3)
    bursts = random.integers(0, 255, (8, 16, 16, 3))
    pixels = np.repeat(bursts, 5, axis=0) + random.integers(0, 6, (40, 16, 16, 3))
    labels = np.repeat([0, 1], 20).astype(np.int32)

    held = course.hold_out_look_alikes(pixels.clip(0, 255).astype(np.uint8), labels)

    assert [set(burst) for burst in held.reshape(8, 5).tolist()].count({True, False}) == 0
    assert [held[labels == label].sum() for label in (0, 1)] == [5, 5]


def test_the_same_photos_are_read_again(dataset, monkeypatch):
    monkeypatch.setenv("NOTEBOOK_DATASET", str(dataset))

    photos = course.read_photos("train", "shop", per_class=3, only=["Blue", "Red"])

    assert [photo.label for photo in photos] == ["Blue"] * 3 + ["Red"] * 3
    assert photos == course.read_photos("train", "shop", per_class=3, only=["Red", "Blue"])
    assert course.sources() == ("turntable", "shop")
    assert os.environ["NOTEBOOK_DATASET"] == str(dataset)
