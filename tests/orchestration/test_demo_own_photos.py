"""`make demo DATA=` on somebody's own photos: which photos count, what a refusal leads to, whose changes are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Container, Sequence
from pathlib import Path

import pytest
import yaml

from orchard.errors import DataError, ParamsError
from orchestration.local import demo_workspace, sample_data
from orchestration.local.commands import CommandRunner
from orchestration.local.demo_messages import describe_refusal
from orchestration.local.release_steps import release_candidate
from orchestration.local.unseen_photos import choose_unseen
from tests import drawn_photos
from tests.photo_sets import accuracy
from training.data import synthetic

ROOT = Path(__file__).resolve().parents[2]
OWN = sample_data.SampleData("own-1", "your photos", (), test_share=0.2)


def add_mac_files(folder: Path) -> Path:
    """Add the file that a Mac writes beside each photo of a share; returns the folder."""
    for path in sorted(folder.glob("*/*.jpg")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7" + bytes(100))
    return folder


def demo(*options: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchard", "demo", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """<class>/<photo> without splits, with what a Mac adds to a share."""
    synthetic.generate(tmp_path / "drawn", count=2, photos=60, seed=1)
    folder = tmp_path / "my photos"
    for path in sorted((tmp_path / "drawn").glob("*/*/*.jpg")):
        target = folder / path.parent.name / f"{path.parents[1].name}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return add_mac_files(folder)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_refused_demo_of_photos_with_a_top_ends_with_a_good_model_a_prediction_and_the_verdict(tmp_path):
    photos = add_mac_files(drawn_photos.fill(tmp_path / "my photos", "arrows", 60))
    (tmp_path / "strict.yaml").write_text("gate: {photos: {all: 100000}}\n")

    ended = demo("--data", "my photos", "--dir", "demo", "--params", "strict.yaml", "--json", cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr[-4000:]
    document = json.loads(ended.stdout)
    workspace = Path(document["workspace"])
    assert document["gate"]["verdict"] == "refused"
    assert document["gate"]["params"] == f"demo/{workspace.name}/params.yaml"
    assert (tmp_path / document["gate"]["page"]).is_file()
    (prediction,) = document["predictions"]
    photo = Path(prediction["path"])
    assert photo.read_bytes() in [path.read_bytes() for path in (photos / prediction["truth"]).glob("[!.]*")]
    assert accuracy(workspace) >= 0.95


class RecordingRunner(CommandRunner):
    """Runs nothing: keeps each command, and the gate refuses."""

    def __init__(self, folder: Path, served: int | None) -> None:
        super().__init__(folder, {}, folder / "logs")
        self.served = served
        self.commands: list[str] = []

    def command(self, name: str, command: Sequence[str], also: Container[int] = ()) -> tuple[bytes, float]:
        self.commands.append(" ".join(command[3:5]))
        verdict = {"verdict": "refused", "reason": "too bad", "comparison": {"version": self.served}}
        return json.dumps(verdict).encode(), 0.0


def test_a_refused_candidate_never_replaces_the_version_that_is_served(tmp_path):
    runner = RecordingRunner(tmp_path, served=3)

    outcome = release_candidate(runner)

    assert runner.commands == ["gate --json"]
    assert (outcome.refused, outcome.served) == (True, 3)
    assert any("Version 3 answered" in line for line in describe_refusal(outcome, "make demo"))


def test_a_refusal_names_the_file_to_change_from_where_the_user_stands(tmp_path, monkeypatch):
    runner = RecordingRunner(tmp_path / "deep" / "demo", served=None)
    monkeypatch.chdir(tmp_path)

    outcome = release_candidate(runner)
    text = "\n".join(describe_refusal(outcome, "make demo DATA=photos"))

    assert runner.commands == ["gate --json", "gate --override-reason", "publish", "promote latest"]
    assert "The gate refused the model: too bad" in text
    assert "sections gate and train of deep/demo/params.yaml" in text
    assert "deep/demo/artifacts/gate/page.html" in text
    assert "make demo DATA=photos PARAMS=FILE" in text


def ingest_own(folder: Path, photos: Path, *options: str) -> None:
    """Ingest photos as the dataset `own` of a project."""
    command = [sys.executable, "-m", "orchard", "ingest", str(photos), "--dataset", "own", "--no-push", *options]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)


def test_unseen_photos_are_chosen_among_what_ingest_took(tmp_path, photos):
    (tmp_path / "data").mkdir()
    ingest_own(tmp_path, photos, "--test-share", "0.1")

    (chosen,) = choose_unseen(tmp_path / "data" / "own")

    assert chosen.source == "my photos"
    assert chosen.body in [path.read_bytes() for path in (photos / chosen.label).glob("[!.]*")]
    assert chosen.file_name.endswith(".jpg")


def test_no_prediction_is_an_error_and_not_an_empty_result(tmp_path, photos):
    ingest_own(tmp_path, photos, "--split", "train")

    with pytest.raises(DataError, match="no test photos"):
        choose_unseen(tmp_path / "data" / "own")


@pytest.mark.parametrize("name", ["params.yaml", "data/schema.yaml"])
def test_a_change_by_hand_in_the_workspace_is_kept_and_reported(tmp_path, name):
    assert demo_workspace.prepare(tmp_path, OWN) == ()
    path = tmp_path / name
    path.write_text(path.read_text() + "# changed\n")

    assert demo_workspace.prepare(tmp_path, OWN) == (path,)

    assert path.read_text().endswith("# changed\n")
    path.unlink()
    assert demo_workspace.prepare(tmp_path, OWN) == ()
    assert path.exists()


def test_what_the_demo_wrote_before_follows_the_checkout(tmp_path, monkeypatch):
    demo_workspace.prepare(tmp_path, OWN)
    monkeypatch.setattr(demo_workspace, "DRAWN", {"train": {"batch_size": 16}})

    assert demo_workspace.prepare(tmp_path, OWN) == ()

    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["train"]["batch_size"] == 16


def test_parameters_of_a_file_replace_the_demo_s_and_its_gate_as_a_whole(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("train: {epochs: 3}\ngate: {accuracy: {all: 0.5}}\n")

    demo_workspace.prepare(tmp_path / "demo", OWN, own)

    params = yaml.safe_load((tmp_path / "demo" / "params.yaml").read_text())
    assert params["train"]["epochs"] == 3
    assert params["train"]["augmentation"]["flip"] is False  # of the profile for photos
    assert params["gate"] == {"accuracy": {"all": 0.5}}
    assert params["data"]["name"] == "own-1"


@pytest.mark.parametrize(
    "text", ["train: {epoch: 3}\n", "trains: {epochs: 3}\n", "train: 3\n", "- a list\n", "train: ["]
)
def test_a_wrong_parameter_is_an_error_before_the_photos_are_read(tmp_path, text):
    own = tmp_path / "own.yaml"
    own.write_text(text)

    with pytest.raises(ParamsError, match=r"own\.yaml"):
        demo_workspace.prepare(tmp_path / "demo", OWN, own)

    assert not (tmp_path / "demo").exists()


def test_parameters_of_a_file_and_changes_by_hand_contradict_each_other(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("train: {epochs: 3}\n")
    demo_workspace.prepare(tmp_path / "demo", OWN)
    changed = tmp_path / "demo" / "params.yaml"
    changed.write_text(changed.read_text() + "# changed\n")

    with pytest.raises(ParamsError, match="only one of them can count"):
        demo_workspace.prepare(tmp_path / "demo", OWN, own)

    assert changed.read_text().endswith("# changed\n")
