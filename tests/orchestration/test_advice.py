"""One table from exit codes and reasons to advice; each entry is tried with its cause, by real verbs where a process can have it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchard import layout
from orchard.cli import main
from orchard.dataset import Dataset
from orchard.runs import records
from orchard.runs.records import Run, StepRecord
from orchestration import pod_status
from orchestration.pod_status import PodResult, read
from tests.small_disk import SmallDisk

README = Path(__file__).resolve().parents[2] / "orchestration" / "airflow" / "dags" / "README.md"
WHEN = "2026-11-24T00:00:00.000+00:00"


def pod(code: int, message: str = "", reason: str = "Error", **status: Any) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    status["containerStatuses"] = [{"name": "base", "state": state}]
    return {"spec": {"containers": [{"name": "base"}]}, "status": {"phase": "Failed", **status}}


class Verb:
    """Runs verbs as a pod does: the exit code, and the summary or else the tail of the log, are all that is known."""

    def __init__(self, summary: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.summary, self.capsys = summary, capsys

    def __call__(self, *arguments: str) -> PodResult:
        self.summary.unlink(missing_ok=True)
        code = main([*arguments])
        log = self.capsys.readouterr().err
        return read(pod(code, self.summary.read_text() if self.summary.exists() else log))


@pytest.fixture
def verb(seaweed, workspace, monkeypatch, capsys) -> Verb:
    project = workspace / "project"
    (project / "data").mkdir(parents=True)
    checkout = README.parents[3]
    for name in ("params.yaml", "data/schema.yaml"):
        (project / name).write_text((checkout / name).read_text())
    for name, value in {"RUN_ID": "one", "DATASET": "own", "MODEL": "own", "STEP_SUMMARY": "summary.json"}.items():
        monkeypatch.setenv(f"ORCHARD_{name}", value)
    Dataset(seaweed, "own").commit(
        {"format": 1, "shards": []}, "outs: []", parent=None, created_by="a test", run_id="one"
    )
    return Verb(workspace / "summary.json", capsys)


def step(name: str, *options: str) -> list[str]:
    return ["step", name, "--project", "project", *options]


def begin(store: Any, kind: str) -> None:
    records.begin(store, Run(1, "one", kind, None, "own", "stable", None, WHEN, "a test"))


def unknown_version(store: Any, patch: pytest.MonkeyPatch) -> list[str]:
    return step("validate", "--dataset-version", "999")


def wrong_option(store: Any, patch: pytest.MonkeyPatch) -> list[str]:
    return step("validate", "--dataset-version", "newest")


def unknown_option(store: Any, patch: pytest.MonkeyPatch) -> list[str]:
    return step("validate", "--colour", "red")


def unknown_setting(store: Any, patch: pytest.MonkeyPatch) -> list[str]:
    patch.setenv("ORCHARD_STORE_ENDPONT", "http://127.0.0.1")
    return step("validate")


def refused_before(store: Any, patch: pytest.MonkeyPatch) -> list[str]:
    begin(store, "retrain")
    for name in ("train", "evaluate", "gate"):
        outcome, reason = ("refused", "0.91 is under 0.97") if name == "gate" else ("done", "")
        records.end_step(store, "one", name, StepRecord(outcome, reason, WHEN, WHEN, 1.0, {}, None, ()))
    patch.setenv("ORCHARD_TRUSTED_KEYS_FILE", "keys.pem")
    patch.setenv("ORCHARD_SIGNING_KEY_FILE", "key.pem")
    return step("publish")


def silent_store(store: Any, patch: pytest.MonkeyPatch) -> list[str]:
    patch.setenv("ORCHARD_STORE_ENDPOINT", "http://127.0.0.1:1")
    return step("validate")


def other_run(store: Any, patch: pytest.MonkeyPatch) -> list[str]:
    begin(store, "ingest")
    return step("validate")


def damaged_document(store: Any, patch: pytest.MonkeyPatch) -> list[str]:
    store.put(layout.dataset_version("own", 2), b"{")
    return step("validate", "--dataset-version", "2")


def no_server(store: Any, patch: pytest.MonkeyPatch) -> list[str]:
    Image.new("RGB", (64, 64), "red").save("photo.jpg")
    patch.setenv("ORCHARD_SERVER_URL", "http://127.0.0.1:1")
    return ["predict", "photo.jpg"]


CAUSES: list[tuple[int, Callable[..., list[str]], str, str]] = [
    (2, wrong_option, "neither a version's number nor latest", "a value that the verb does not take"),
    (2, unknown_option, "No such option", "from different releases"),
    (3, unknown_setting, "did you mean ORCHARD_STORE_ENDPOINT", "`orchard settings` lists every setting"),
    (4, unknown_version, "has no version 999", "name one of its versions, 1 to 1"),
    (5, refused_before, "0.91 is under 0.97", "the gate's page shows which threshold was missed"),
    (6, silent_store, "did not answer", "is the store running"),
    (7, other_run, "the run one", "ORCHARD_RUN_ID"),
    (8, damaged_document, "datasets/own/versions", "inspect the named object before anything is published"),
    (9, no_server, "127.0.0.1:1", "orchard serve"),
]


@pytest.mark.parametrize(
    ("code", "cause", "message", "advice"), CAUSES, ids=lambda item: getattr(item, "__name__", None)
)
def test_the_advice_fits_the_cause(verb, seaweed, monkeypatch, code, cause, message, advice):
    result = verb(*cause(seaweed, monkeypatch))

    assert result.code == code
    assert message in result.message
    assert advice in result.advice
    assert "photo" not in str(result).replace("photo.jpg", "")  # nobody gave any
    assert result.final is (code in pod_status.FINAL)


def test_a_full_disk_is_retried_with_its_own_advice(verb, workspace, monkeypatch):
    small = SmallDisk(workspace / "small")
    try:
        with monkeypatch.context() as patch:
            patch.chdir(small.folder)
            patch.setenv("ORCHARD_STEP_SUMMARY", str(workspace / "summary.json"))
            code = main(["step", "validate", "--project", str(workspace / "project")])
        result = read(pod(code, verb.summary.read_text() if small.is_real else verb.capsys.readouterr().err))
    finally:
        small.remove()

    assert (code, result.final) == (1, False)
    assert "no space is left" in result.message
    assert result.advice


def test_a_verb_whose_packages_the_image_lacks():
    command = "import sys; sys.modules['obstore'] = None; from orchard.cli import main; sys.exit(main())"

    ended = subprocess.run(
        [sys.executable, "-c", command, "step", "validate"], capture_output=True, text=True, check=False
    )
    result = read(pod(ended.returncode, ended.stderr))

    assert (result.code, result.final) == (10, True)
    assert "needs the Python package 'obstore'" in result.message


@pytest.mark.parametrize("code", sorted(pod_status.CODES))
def test_every_code_has_advice_for_an_end_without_a_word_and_a_row_in_the_documentation(code):
    result = read(pod(code))

    assert result.advice == pod_status.CODES[code]
    rows = re.findall(r"^\| exit code ([\d, ]+)", README.read_text(), re.MULTILINE)
    assert code in {int(number) for row in rows for number in row.split(",") if number.strip()}


@pytest.mark.parametrize("reason", sorted(pod_status.REASONS))
def test_every_reason_of_the_cluster_has_its_advice_however_it_is_reported(reason):
    waiting = {"spec": {"containers": [{"name": "base"}]}, "status": {"phase": "Pending"}}

    assert read(waiting, warning=f"{reason}: no").advice == pod_status.REASONS[reason]
    ended = read(pod(137, "epoch 3", reason))
    assert (ended.advice, ended.final) == (pod_status.REASONS[reason], False)


def test_the_first_words_of_an_error_are_not_lost_in_its_summary(tmp_path):
    summary = json.dumps({"said": "what → do this", "links": {}})

    assert read(pod(4, summary)).advice == "do this"
