"""The loop by Luigi, against the real store; each task is a process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchard.runs.records import ended_step
from orchard.settings import Settings
from orchard.store import open_store
from tests import photo_files
from tests.orchard.version_fixtures import registry_of
from tests.training.stepping import CHECKOUT, StepSite, small_params

pytestmark = pytest.mark.timeout(900)  # seven processes, each with a neural network


@pytest.fixture(scope="module")
def site(embedded_store, tmp_path_factory):
    """A store with a dataset in one version, and a project that trains in a moment."""
    embedded_store.create_bucket("luigi")
    environment = {**embedded_store.environment, "ORCHARD_STORE_URL": "s3://luigi"}
    settings = Settings(**{name.removeprefix("ORCHARD_").lower(): value for name, value in environment.items()})
    site = StepSite(tmp_path_factory.mktemp("luigi"), open_store(settings), environment)
    assert site.run(None, "ingest", str(photo_files.fill(site.root / "photos", train=16, test=4))).code == 0
    return site


def luigi(site, *arguments):
    """Run Luigi's command; returns its exit code and its output."""
    command = [sys.executable, "-m", "luigi", "--module", "orchestration.luigi.pipeline", *arguments]
    options = ["--local-scheduler", "--retcode-task-failed=30"]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, **site.environment, **site.extra, "PATH": path}
    ran = subprocess.run(
        [*command, *options], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


def count(output, kind):
    """Return the number of a kind of tasks in Luigi's summary."""
    match = re.search(rf"\* (\d+) {kind}", output)
    return int(match[1]) if match else 0


@pytest.mark.long
def test_a_retraining_publishes_once_and_a_second_run_of_it_does_nothing(site):
    site.write_params(small_params(train={"epochs": 1}))
    command = ["Retrain", "--name", "nightly", "--project", str(site.root / "project")]

    code, output = luigi(site, *command)
    assert code == 0, output
    assert count(output, "ran successfully") == 6

    code, output = luigi(site, *command)
    assert code == 0, output
    assert count(output, "complete ones were encountered") == 1
    assert count(output, "ran successfully") == 0
    assert registry_of(site.store, model="own").versions() == [1]


def test_a_step_that_fails_stops_what_comes_after(site):
    code, output = luigi(site, "Retrain", "--name", "failing", "--dataset-version", "99")

    assert code == 30, output
    assert count(output, "failed") == 1
    assert re.search(r"validate of failing ended with exit code [1-9]", output)
    assert ended_step(site.store, "failing", "validate") is None
    assert ended_step(site.store, "failing", "train") is None


def test_a_day_without_a_version_is_not_complete(site, monkeypatch):
    day = ["Daily", "--day", "2026-11-24", "--project", str(site.root / "project")]
    monkeypatch.setitem(site.extra, "ORCHARD_MODEL", "unknown")

    for _ in range(2):
        code, output = luigi(site, *day)
        assert code == 0, output
        assert count(output, "complete ones were encountered") == 0, "it is repeated"
        assert ended_step(site.store, "batch-2026-11-24", "batch").outcome == "skipped"
