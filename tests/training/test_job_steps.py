"""A training Job in the cluster is a run like any other: `orchard runs` lists it with its steps, verdict and version."""

from __future__ import annotations

import os

import pytest

from orchard.errors import StoreDenied
from orchard.reporter import Reporter
from orchard.runs.summary import read_entries
from orchard.settings import Settings
from orchard.store import open_store
from training.pipeline import job_step
from training.pipeline.runner import FinishedVerb

PULLED = {"dataset": "fruits", "version": 3, "digest": "d" * 64}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The folder of a Job after its steps without keys; `job(verb, code, document)` runs one that holds a key."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(store_url="memory://", run_id="deploy-1", actor="ada")
    store = open_store(settings)
    monkeypatch.setattr(job_step, "open_store", lambda _: store)
    calls: list[tuple[str, ...]] = []

    def run(verb, code=0, document=None, lines=()):
        def finished(runner, *arguments):
            calls.append(arguments)
            return FinishedVerb(code, lines, document or {}, 2.0)

        monkeypatch.setattr(job_step.VerbRunner, "run", finished)
        return job_step.run_in_job(verb, settings, Reporter())

    run.store, run.calls = store, calls
    (tmp_path / ".done").mkdir()
    for number, name in enumerate(("prepare", "pull", "validate", "train", "evaluate")):
        path = tmp_path / ".done" / name
        path.touch()
        os.utime(path, (1000 + 10 * number, 1000 + 10 * number))
    return run


def entry(job):
    (found,) = read_entries(job.store, 20)
    return found


def test_a_job_is_listed_from_its_first_step(job):
    assert job("pull", document=PULLED) == 0

    assert entry(job).state == "at validate"
    assert entry(job).run.dataset.version == 3
    assert entry(job).run.by == "ada"


def test_a_whole_job_is_done_with_verdict_and_version(job):
    job("pull", document=PULLED)
    job("gate", document={"verdict": "accepted"})
    job("publish", document={"version": 7})
    job("promote")

    found = entry(job)
    assert (found.state, found.verdict, found.version) == ("done", "accepted", 7)
    assert found.steps["train"].seconds == 10.0
    assert found.steps["train"].ended.startswith("1970-01-01T00:17:10")


def test_a_job_that_the_gate_refused_says_why(job):
    job("pull", document=PULLED)
    code = job("gate", 5, {"verdict": "refused", "reason": "0.6 is under 0.9"})

    assert code == 5
    assert (entry(job).state, entry(job).reason) == ("refused at gate", "0.6 is under 0.9")


def test_a_job_whose_step_failed_says_why(job):
    job("pull", document=PULLED)
    job("gate", document={"verdict": "accepted"})
    code = job("publish", 6, lines=("error: the store is down",))

    assert code == 6
    assert (entry(job).state, entry(job).reason) == ("failed at publish", "error: the store is down")


def test_a_later_pod_pulls_the_version_that_the_first_one_pulled(job):
    job("pull", document=PULLED)
    job("pull", document=PULLED)

    assert job.calls == [("pull",), ("pull", "--version", "3")]


def test_a_store_that_refuses_the_record_does_not_fail_the_job(job, capsys, monkeypatch):
    def denied(*_):
        raise StoreDenied("this key may not write runs/")

    monkeypatch.setattr(job_step.records, "begin", denied)

    assert job("pull", document=PULLED) == 0
    assert "this key may not write runs/" in capsys.readouterr().err
