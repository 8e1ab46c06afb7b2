from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.stack import is_up
from orchard.client import ModelServer
from orchard.errors import DataError
from orchard.processes import ChildProcess
from orchestration.local import demo_workspace, sample_data
from tests.free_ports import free_ports
from training.data import synthetic

ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition, seconds, child):
    deadline = time.monotonic() + seconds
    while not condition():
        assert child.running(), child.tail(40)
        assert time.monotonic() < deadline, child.tail(40)
        time.sleep(0.05)


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that use the folder, by argument, environment or working directory."""
    commands = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            data = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(folder).encode() in data + str((process / "cwd").readlink()).encode():
                commands.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, ProcessLookupError):
            continue
    return commands


def served_again(home: Path, log: Path) -> str:
    """Return the label that `make serve` predicts for the demo's first photo."""
    server, store = free_ports(), free_ports()
    environment = {**os.environ, "ORCHARD_SERVER_URL": f"http://127.0.0.1:{server}"}
    command = [str(ROOT / "scripts/serve"), str(home), "--port", str(store)]
    photo = next(home.glob("*/unseen/*"))
    with (
        ChildProcess(command, environment=environment, log=log, cwd=ROOT) as child,
        ModelServer(environment["ORCHARD_SERVER_URL"]) as client,
    ):
        wait_for(lambda: is_up(f"{client.url}/readyz/fruits"), 120, child)
        (answer,) = client.predict([photo.read_bytes()], "fruits")
        os.kill(child.pid, signal.SIGINT)
        child.wait()
    return answer.label


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    folder = tmp_path / "drawn"
    synthetic.generate(folder, count=3, photos=240, seed=1)
    return folder


@pytest.mark.long
@pytest.mark.timeout(600)
def test_interrupted_demo_leaves_no_process_and_the_next_run_ends_with_predictions(tmp_path, drawn):
    home = tmp_path / "demo"
    command = [sys.executable, "-m", "orchard", "demo", "--data", str(drawn), "--dir", str(home), "--json"]
    log = tmp_path / "first.log"

    with ChildProcess(command, log=log, cwd=ROOT) as first:
        wait_for(lambda: any("train" in line for line in processes_of(home)), 180, first)
        os.kill(first.pid, signal.SIGINT)
        assert first.wait() == 130, first.tail(40)
    assert processes_of(home) == []

    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert second.returncode == 0, second.stderr[-4000:]
    document = json.loads(second.stdout)
    assert [answer["truth"] in answer["photo"] for answer in document["predictions"]] == [True]
    assert 0 < document["predictions"][0]["probability"] <= 1
    assert processes_of(home) == []

    first_again = served_again(home, tmp_path / "serve.log")
    assert first_again == document["predictions"][0]["label"]
    assert processes_of(home) == []


def test_a_failing_step_ends_the_demo_with_its_exit_code_and_output(tmp_path):
    folder = tmp_path / "photos"
    (folder / "train" / "Lemon").mkdir(parents=True)
    (folder / "train" / "Lemon" / "note.jpg").write_text("no photo")

    ended = subprocess.run(
        [sys.executable, "-m", "orchard", "demo", "--data", str(folder), "--dir", str(tmp_path / "demo")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 4
    assert "'ingest' ended with exit code 4" in ended.stderr
    assert "note.jpg" in ended.stderr or "refused" in ended.stderr
    assert processes_of(tmp_path) == []


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        sample_data.find(str(tmp_path / "nowhere"))


def test_without_real_photos_the_demo_draws_some(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_data, "SHARED", tmp_path)

    drawn = sample_data.find(None)

    assert drawn.name == "synthetic"
    assert "there are no real ones" in drawn.title


@pytest.mark.parametrize("real", [True, False])
def test_synthetic_photos_on_request_say_nothing_of_real_ones(tmp_path, monkeypatch, real):
    monkeypatch.setattr(sample_data, "SHARED", tmp_path)
    if real:
        for name in ("fruits.tar.gz", "shop.tar.gz"):
            (tmp_path / name).touch()

    assert sample_data.find("synthetic").title == "synthetic photos"


def test_two_folders_are_two_datasets(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()

    assert sample_data.find(str(first)).name != sample_data.find(str(second)).name


def test_preparing_the_workspace_again_changes_nothing(tmp_path):
    source = sample_data.SampleData("synthetic", "drawn", ())
    demo_workspace.prepare(tmp_path, source)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    demo_workspace.prepare(tmp_path, source)

    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
