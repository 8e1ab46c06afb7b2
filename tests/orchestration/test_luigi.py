"""The loop by Luigi, against the real store: each task a process of its own."""

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

pytestmark = [pytest.mark.xdist_group("luigi"), pytest.mark.timeout(900)]  # seven programs, each with a network


@pytest.fixture(scope="module")
def site(embedded_store, tmp_path_factory):
    """A store with a dataset in one version, and a project that trains in a moment."""
    embedded_store.create_bucket("luigi")
    environment = {**embedded_store.environment, "ORCHARD_STORE_URL": "s3://luigi"}
    settings = Settings(**{name.removeprefix("ORCHARD_").lower(): value for name, value in environment.items()})
    made = StepSite(tmp_path_factory.mktemp("luigi"), open_store(settings), environment)
    assert made.run(None, "ingest", str(photo_files.fill(made.root / "photos", train=16, test=4))).code == 0
    return made


def luigi(site, *arguments):
    """Run Luigi's command; returns its exit code and what it said."""
    command = [sys.executable, "-m", "luigi", "--module", "orchestration.luigi.pipeline", *arguments]
    options = ["--local-scheduler", "--retcode-task-failed=30"]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, **site.environment, **site.extra, "PATH": path}
    ran = subprocess.run(
        [*command, *options], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


def counted(said, what):
    """How many tasks the summary says that there were of a kind."""
    found = re.search(rf"\* (\d+) {what}", said)
    return int(found[1]) if found else 0


def test_a_retraining_publishes_once_and_a_second_run_of_it_does_nothing(site):
    site.write_params(small_params(train={"epochs": 1}))
    wanted = ["Retrain", "--name", "nightly", "--project", str(site.root / "project")]

    code, said = luigi(site, *wanted)
    assert code == 0, said
    assert counted(said, "ran successfully") == 6

    code, said = luigi(site, *wanted)
    assert code == 0, said
    assert counted(said, "complete ones were encountered") == 1
    assert counted(said, "ran successfully") == 0
    assert registry_of(site.store, model="own").versions() == [1]


def test_a_step_that_fails_stops_what_comes_after(site):
    code, said = luigi(site, "Retrain", "--name", "failing", "--dataset-version", "99")

    assert code == 30, said
    assert counted(said, "failed") == 1
    assert re.search(r"validate of failing ended with exit code [1-9]", said)
    assert ended_step(site.store, "failing", "validate") is None
    assert ended_step(site.store, "failing", "train") is None


def test_a_day_that_found_no_version_to_ask_is_not_complete(site, monkeypatch):
    day = ["Daily", "--day", "2026-11-24", "--project", str(site.root / "project")]
    monkeypatch.setitem(site.extra, "ORCHARD_MODEL", "nobodys")

    for _ in range(2):
        code, said = luigi(site, *day)
        assert code == 0, said
        assert counted(said, "complete ones were encountered") == 0, "it comes again"
        assert ended_step(site.store, "batch-2026-11-24", "batch").outcome == "skipped"
