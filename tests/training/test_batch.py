"""A day's photos are predicted once, by the verified version, even if attempts are killed."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from orchard import layout
from orchard.cli import main
from orchard.errors import IntegrityError
from orchard.gate import GateThresholds
from orchard.registry.channels import ChangeIntent
from orchard.registry.registry import Registry
from orchard.reporter import Reporter
from orchard.runs import records
from orchard.settings import Settings, load
from orchard.signing import create_pair, load_key
from orchard.store import s3
from tests import photo_files
from tests.faults.crashing_store import CrashingStore, Killed
from tests.orchard.version_fixtures import registry_of
from tests.training.candidates import THRESHOLDS, draw, judge, write_workspace
from training.batch.batch_plan import NoVersion
from training.batch.daily_batch import predict_day
from training.data.schema import SchemaRules, SideLimits
from training.model.golden_variants import lying
from training.model.photo_rules import write_rules
from training.release.gate_candidate import gate
from training.release.publish_candidate import publish

REPORTER = Reporter.silent()
DAY = "2026-11-24"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return create_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    """Two evaluated candidates: one is right, and one takes red for blue."""
    made = []
    for wrong in ({}, {"Red": "Blue"}):
        workspace = write_workspace(tmp_path_factory.mktemp("candidate"), taken_for=wrong)
        judge(workspace)
        gate(workspace, GateThresholds(**THRESHOLDS), None, REPORTER, override_reason="for a test")
        made.append(workspace)
    return made


@pytest.fixture
def served(memory, keys, candidates, monkeypatch):
    """A store where version 1 is live; `predict_day` opens it."""
    key = load_key(keys.private)
    registry = registry_of(memory, key)
    publish(candidates[0], registry, "stable", "tester")
    registry.channel("stable").promote(1, ChangeIntent("tester", "first"), override_reason="for a test")
    opens(monkeypatch, registry)
    return memory


def opens(monkeypatch, registry):
    monkeypatch.setattr(Registry, "open", lambda settings: registry)


@pytest.fixture
def settings(keys):
    return Settings(store_url="memory://", trusted_keys_file=keys.public, actor="tester")


def fill(store, day=DAY):
    for label in ("Blue", "Green", "Red", "Yellow"):
        store.put(f"{layout.batch_input(day)}/shelf/{label}-1.jpg", draw(label, 7))
    return 4


def table(store, day=DAY):
    return pq.read_table(io.BytesIO(store.get(layout.batch_output(day, "predictions.parquet")).body)).to_pylist()


def everything(store):
    return {stat.key: store.get(stat.key).body for stat in store.list("batch/out")}


def test_every_photo_is_a_row_and_a_file_that_is_not_a_photo_is_one_with_its_reason(served, settings):
    fill(served)
    bad = {"broken.jpg": photo_files.truncated(), "empty.jpg": b"", "notes.txt": b"bananas", "=cmd.jpg": b"x"}
    for name, body in bad.items():
        served.put(f"{layout.batch_input(DAY)}/{name}", body)

    done = predict_day(settings, DAY, REPORTER).done

    rows = table(served)
    assert [row["photo"] for row in rows] == sorted(
        [*bad, *(f"shelf/{c}-1.jpg" for c in ("Blue", "Green", "Red", "Yellow"))]
    )
    answered = [row for row in rows if row["error"] is None]
    assert all(row["photo"] == f"shelf/{row['label']}-1.jpg" for row in answered), answered
    assert all(0.5 < row["probability"] <= 1 and row["second"] != row["label"] for row in answered)
    assert {row["photo"]: row["error"] for row in rows if row["error"]} == {
        "broken.jpg": "truncated",
        "empty.jpg": "empty file",
        "notes.txt": "not an image",
        "=cmd.jpg": "not an image",
    }
    assert (done["photos"], done["predicted"], done["refused"], done["version"]) == (8, 4, 4, 1)
    assert done["counts"] == {"Blue": 1, "Green": 1, "Red": 1, "Yellow": 1}
    listed = list(csv.DictReader(io.StringIO(served.get(layout.batch_output(DAY, "predictions.csv")).body.decode())))
    assert [row["label"] for row in listed] == [row["label"] or "" for row in rows]
    assert listed[0]["photo"] == "'=cmd.jpg", "no formula for a spreadsheet"
    page = served.get(layout.batch_output(DAY, "index.html")).body.decode()
    assert all(text in page for text in ("4 of 8 photos have a prediction", "broken.jpg", "truncated", "By label"))


def test_a_day_that_is_done_is_not_done_again(served, settings):
    fill(served)
    first = predict_day(settings, DAY, REPORTER)
    before = everything(served)
    served.put(f"{layout.batch_input(DAY)}/late.jpg", draw("Red", 9))

    again = predict_day(settings, DAY, REPORTER)

    assert (first.before, again.before, again.done) == (False, True, first.done)
    assert everything(served) == before


def test_a_day_without_photos_is_done_with_no_rows_and_one_without_a_model_is_not(
    served, settings, memory, monkeypatch
):
    done = predict_day(settings, DAY, REPORTER).done
    assert (done["photos"], table(served)) == (0, [])
    assert b"There were no photos" in served.get(layout.batch_output(DAY, "index.html")).body

    with pytest.raises(NoVersion, match="no version of fruits is on canary yet"):
        predict_day(settings.model_copy(update={"channel": "canary"}), "2026-11-25", REPORTER)
    assert not memory.exists(layout.batch_output("2026-11-25", "plan.json"))


def test_after_a_kill_at_any_store_call_the_next_attempt_has_the_same_result(served, settings, monkeypatch):
    fill(served)
    true = Registry.open(settings)
    calm = CrashingStore(served)
    opens(monkeypatch, registry_of(calm, true.key))
    predict_day(settings, DAY, REPORTER)
    calls = [call for call in calm.calls if not call.startswith("stream batch")]  # several at a time, in any order
    expected = {row["photo"]: row["label"] for row in table(served)}

    for at in [0, 1, *range(3, len(calls), 2), len(calls) - 1]:
        day = f"2026-10-{at + 1:02d}"
        fill(served, day)
        crashing = CrashingStore(served, at, "killed after")
        opens(monkeypatch, registry_of(crashing, true.key))
        with pytest.raises(Killed):
            predict_day(settings, day, REPORTER)
        opens(monkeypatch, true)
        left = served.exists(layout.batch_output(day, "done.json"))
        assert predict_day(settings, day, REPORTER).before == left
        assert {row["photo"]: row["label"] for row in table(served, day)} == expected


def test_a_retry_uses_the_version_and_the_photos_of_the_first_attempt(served, settings, keys, candidates, monkeypatch):
    fill(served)
    true = Registry.open(settings)
    monkeypatch.setattr("training.batch.daily_batch.write_outputs", lambda *args: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        predict_day(settings, DAY, REPORTER)
    monkeypatch.undo()
    opens(monkeypatch, true)
    stable = true.channel("stable")
    gate(candidates[1], GateThresholds(**THRESHOLDS), stable, REPORTER, override_reason="for a test")
    publish(candidates[1], true, "stable", "tester")
    stable.promote(2, ChangeIntent("tester", "second"), override_reason="for a test")
    served.put(f"{layout.batch_input(DAY)}/late.jpg", draw("Red", 9))

    done = predict_day(settings, DAY, REPORTER).done

    assert (done["version"], done["photos"], done["counts"]["Red"]) == (1, 4, 1)
    fill(served, "2026-11-25")
    after = predict_day(settings, "2026-11-25", REPORTER).done
    assert (after["version"], after["counts"].get("Red"), after["counts"]["Blue"]) == (2, None, 2)


def test_a_version_that_was_tampered_with_predicts_nothing(served, settings, keys):
    fill(served)
    manifest = registry_of(served, load_key(keys.private)).manifest(1)
    graph = next(file for file in manifest.files if file.path == "saved_model.pb")
    body = bytearray(served.get(layout.blob("fruits", graph.sha256)).body)
    body[len(body) // 2] ^= 1
    served.put(layout.blob("fruits", graph.sha256), bytes(body))

    with pytest.raises(IntegrityError, match="another SHA-256"):
        predict_day(settings, DAY, REPORTER)
    assert not served.exists(layout.batch_output(DAY, "done.json"))


def go_live(store, keys, candidates, workspace, monkeypatch):
    """A first version on stable, and a day's photos."""
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(keys.public))
    monkeypatch.setenv("ORCHARD_SIGNING_KEY_FILE", str(keys.private))
    shutil.copytree(candidates[0].root, workspace, dirs_exist_ok=True)
    assert main(["publish"]) == 0
    assert main(["promote", "1", "--why", "first"]) == 0
    fill(store)


KILLED_LATE = """
import os, signal, sys
from training.batch import outputs
outputs.create_once = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
from orchard.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_verb_on_the_real_store_survives_kill_9(seaweed, keys, candidates, workspace, monkeypatch, capsys):
    go_live(seaweed, keys, candidates, workspace, monkeypatch)

    command = [sys.executable, "-c", KILLED_LATE, "batch", "--day", DAY]
    killed = subprocess.run(command, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not seaweed.exists(layout.batch_output(DAY, "done.json"))
    left = seaweed.get(layout.batch_output(DAY, "predictions.parquet")).body
    capsys.readouterr()

    assert main(["batch", "--day", f"{DAY}T03:00:00+00:00", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["batch", "--day", DAY, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (first["before"], again["before"], first["photos"]) == (False, True, 4)
    assert seaweed.get(layout.batch_output(DAY, "predictions.parquet")).body == left
    assert load().store_url.startswith("s3://")
    assert main(["batch", "--day", "yesterday"]) == 2


def test_before_the_first_version_a_day_is_skipped_with_the_reason_and_done_when_it_is_requested_again(
    seaweed, keys, candidates, workspace, monkeypatch, capsys
):
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(keys.public))
    monkeypatch.setenv("ORCHARD_SIGNING_KEY_FILE", str(keys.private))
    monkeypatch.setenv("ORCHARD_STEP_SUMMARY", str(workspace / "word"))
    monkeypatch.setenv("ORCHARD_RUN_ID", "batch-first")
    fill(seaweed)
    reason = "no version of fruits is on stable yet: run retrain first; the day is not marked done, run it again then"

    def step(folder):
        (workspace / folder).mkdir()
        monkeypatch.chdir(workspace / folder)
        capsys.readouterr()
        code = main(["step", "batch", "--day", DAY, "--skip-code", "99", "--json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out), printed.err.rstrip()

    assert main(["batch", "--day", DAY]) == 4, "who asks for it by hand gets none"
    assert "no version of fruits is on stable yet" in capsys.readouterr().err
    code, skipped, output = step("first")
    assert (code, skipped["outcome"], skipped["reason"]) == (99, "skipped", reason)
    assert output.splitlines()[-1] == reason
    assert "error:" not in output
    assert json.loads((workspace / "word").read_text()) | {"links": {}} == {
        "verb": "batch", "exit_code": 99, "said": reason, "links": {},
    }  # fmt: skip
    assert everything(seaweed) == {}, "the day is not done"
    assert step("again")[1]["reason"] == reason

    shutil.copytree(candidates[0].root, workspace / "candidate")
    monkeypatch.chdir(workspace / "candidate")
    assert main(["publish"]) == 0
    assert main(["promote", "1", "--why", "first"]) == 0
    code, done, _ = step("then")
    assert (code, done["outcome"], done["result"]["photos"], done["before"]) == (0, "done", 4, False)
    assert records.ended_step(seaweed, "batch-first", "batch").outcome == "done"
    assert step("after")[1]["before"] is True


def test_a_photo_whose_name_fits_no_request_is_a_row_with_its_reason_and_the_others_are_predicted(
    seaweed, keys, candidates, workspace, monkeypatch
):
    go_live(seaweed, keys, candidates, workspace, monkeypatch)
    for name in ("shelf/new\nline.jpg", "tab\t.jpg"):
        with s3.client(seaweed.settings) as client:
            client.put_object(
                Bucket=seaweed.settings.store_url.removeprefix("s3://"),
                Key=f"{layout.batch_input(DAY)}/{name}",
                Body=draw("Red", 7),
            )

    assert main(["batch", "--day", DAY]) == 0
    assert main(["batch", "--day", DAY]) == 0

    done = json.loads(seaweed.get(layout.batch_output(DAY, "done.json")).body)
    assert (done["photos"], done["predicted"], done["refused"]) == (6, 4, 2)
    rows = {row["photo"]: row for row in table(seaweed)}
    assert {name: (row["error"], row["detail"], row["label"]) for name, row in rows.items() if row["error"]} == {
        r"shelf/new\nline.jpg": (
            "unreadable", "its name has a control character (U+000A): upload it under another name", None,
        ),
        r"tab\t.jpg": (
            "unreadable", "its name has a control character (U+0009): upload it under another name", None,
        ),
    }  # fmt: skip
    assert {name for name, row in rows.items() if row["label"]} == {
        f"shelf/{label}-1.jpg" for label in ("Blue", "Green", "Red", "Yellow")
    }
    assert r"shelf/new\nline.jpg" in seaweed.get(layout.batch_output(DAY, "index.html")).body.decode()


def test_batch_has_the_rules_of_the_schema_that_the_version_was_trained_with(
    memory, keys, tmp_path, monkeypatch, settings
):
    workspace = write_workspace(tmp_path / "candidate")
    write_rules(workspace.candidate / "saved_model", SchemaRules(side=SideLimits(min=16)))
    judge(workspace)
    gate(workspace, GateThresholds(**THRESHOLDS), None, REPORTER, override_reason="for a test")
    registry = registry_of(memory, load_key(keys.private))
    publish(workspace, registry, "stable", "tester")
    registry.channel("stable").promote(1, ChangeIntent("tester", "first"), override_reason="for a test")
    opens(monkeypatch, registry)
    for number, side in enumerate((15, 16, 28)):
        memory.put(f"{layout.batch_input(DAY)}/{number}.jpg", draw("Red", 1, side))

    done = predict_day(settings, DAY, REPORTER).done

    assert [(row["label"], row["error"]) for row in table(memory)] == [
        (None, "too small"),
        ("Red", None),
        ("Red", None),
    ]
    assert (done["predicted"], done["reasons"]) == (2, {"too small": 1})


def test_exit_code_tells_that_not_one_photo_was_predicted(served, capsys, keys, monkeypatch):
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(keys.public))
    for number in range(6):
        served.put(f"{layout.batch_input(DAY)}/{number}.jpg", draw("Red", number, 28))

    for _ in range(2):
        assert main(["batch", "--day", DAY, "--json"]) == 4
        error = json.loads(capsys.readouterr().out)["error"]
        assert "none of 6 photos could be predicted: 6 too small" in error["message"]
        assert "(side.min): change data/schema.yaml, then train and promote again" in error["hint"]
    assert served.exists(layout.batch_output(DAY, "done.json"))


def test_version_from_before_graphs_turned_photos_gets_them_upright(served, settings):
    upright, half = draw("Red", 1), photo_files.encoded(photo_files.photo().crop((0, 0, 100, 60)))
    served.put(f"{layout.batch_input(DAY)}/a.jpg", lying(upright))
    served.put(f"{layout.batch_input(DAY)}/b.jpg", lying(half))

    predict_day(settings, DAY, REPORTER)

    assert [(row["label"] is not None, row["width"], row["height"]) for row in table(served)] == [
        (True, 32, 32),
        (True, 60, 100),
    ]
