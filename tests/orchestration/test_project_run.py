"""`orchard run` in a project: killed and resumed, refused, accepted, and repeated with nothing new; its inputs name it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchard.cli import main
from orchard.errors import ConflictError, ParamsError
from orchard.files import try_lock
from orchard.processes import ChildProcess
from orchard.reporter import Reporter
from orchestration.local import project_run
from orchestration.local.run_inputs import derived_id
from tests import drawn_photos
from tests.first_hour import TINY, edit
from tests.free_ports import free_ports
from tests.orchestration.test_demo import processes_of, wait_for

CODE = (
    "import sys; from orchard.cli import main; from orchestration.cli.run import run; sys.exit(main(sys.argv[1:], run))"
)
RUN = [sys.executable, "-c", CODE]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHARD_", "AWS_"))}
PIPELINE = "stages:\n  train: {cmd: orchard train, deps: [data/x, model.py], params: [train]}\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A new project, whose training takes seconds and whose gate asks for more photos than there are."""
    monkeypatch.chdir(tmp_path)
    drawn_photos.fill(tmp_path / "my photos", "arrows", 14)
    assert main(["init", "arrows", "--photos", "my photos", "--network"]) == 0
    edit(tmp_path / "arrows/params.yaml", TINY)
    monkeypatch.chdir(tmp_path / "arrows")
    return tmp_path / "arrows"


def run(*options):
    done = subprocess.run([*RUN, *options, "--json"], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def runs_of():
    """Return what `orchard runs` lists, with the project's store."""
    store = [sys.executable, "-m", "orchard", "store", "run", "--port", str(free_ports()), "--"]
    listed = [sys.executable, "-m", "orchard", "runs", "--json"]
    return json.loads(subprocess.run([*store, *listed], env=ENVIRONMENT, capture_output=True, check=True).stdout)[
        "runs"
    ]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_run_is_resumed_after_a_kill_refused_by_the_gate_then_published_and_repeated_without_work(project, tmp_path):
    with ChildProcess(RUN, environment=ENVIRONMENT, log=tmp_path / "first.log", cwd=project) as first:
        wait_for(lambda: any("orchard train" in line for line in processes_of(project)), 300, first)
        os.kill(first.pid, signal.SIGTERM)
        assert first.wait() == 128 + signal.SIGTERM, first.tail(40)
    assert processes_of(project) == []

    code, document = run()

    assert code == 5
    assert "12" in document["error"]["message"]
    assert "orchard run --force REASON" in document["error"]["hint"]
    (refused,) = runs_of()
    assert (refused["state"], refused["version"]) == ("refused at gate", None)
    assert list(refused["steps"]) == ["validate", "train", "evaluate", "gate"]

    edit(project / "params.yaml", {"photos: {all: 20}": "photos: {all: 1}"})
    trained = (project / "artifacts/candidate/training.json").stat().st_mtime_ns
    code, document = run()

    assert (code, document["version"], document["verdict"], document["outcome"]) == (0, 1, "accepted", "done")
    assert document["run"] != refused["run_id"]
    assert (project / "artifacts/candidate/training.json").stat().st_mtime_ns == trained, "only the gate has changed"
    assert Path(shlex.split(document["next"][1])[-1]).is_file()

    code, document = run()

    assert code == 0
    assert "nothing new" in document["nothing_new"]
    assert [entry["state"] for entry in runs_of()] == ["done", "refused at gate"]
    assert processes_of(project) == []


def test_folder_that_is_no_project_is_refused_with_the_command_that_makes_one(workspace):
    with pytest.raises(ParamsError, match=r"no params\.yaml and no dvc\.yaml") as caught:
        project_run.run(Reporter.silent(), photos=None, force="")

    assert "orchard init" in caught.value.hint
    assert not (workspace / ".orchard").exists()


def test_two_runs_in_one_folder_are_refused(workspace):
    (workspace / "params.yaml").write_text("data: {name: x}\n")
    (workspace / "dvc.yaml").write_text(PIPELINE)
    project_run.LOCK.parent.mkdir()
    lock = try_lock(project_run.LOCK)

    with pytest.raises(ConflictError, match="another `orchard run`"):
        project_run.run(Reporter.silent(), photos=None, force="")

    assert lock is not None
    os.close(lock)


@pytest.fixture
def inputs(tmp_path):
    (tmp_path / "data/x").mkdir(parents=True)
    for name, text in {
        "params.yaml": "a: 1\n",
        "dvc.yaml": PIPELINE,
        "model.py": "",
        "README.md": "",
        "data/x/a": "",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "model.py"])
def test_what_a_stage_depends_on_is_another_run(inputs, name):
    before = derived_id(inputs, "digest")
    (inputs / name).write_text((inputs / name).read_text() + "# changed\n")

    assert derived_id(inputs, "digest") != before


@pytest.mark.parametrize("name", ["README.md", "data/x/a"])
def test_other_files_are_the_same_run(inputs, name):
    before = derived_id(inputs, "digest")
    (inputs / name).write_text("changed\n")

    assert derived_id(inputs, "digest") == before
    assert derived_id(inputs, "other photos") != before


def test_pipeline_without_stages_is_refused(inputs):
    (inputs / "dvc.yaml").write_text("- a list\n")

    with pytest.raises(ParamsError, match=r"dvc\.yaml has no stages"):
        derived_id(inputs, "digest")
