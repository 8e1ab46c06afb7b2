"""A day's photos in the store become a dataset version once, from any folder, also after retries."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard import layout
from orchard.cli import main
from orchard.dataset import Dataset
from orchard.store import s3
from tests import photo_files
from training.data.rejections import escaped
from training.data.shards import iterate

CHECKOUT = Path(__file__).resolve().parents[2]
GREEN, ORANGE = photo_files.CLASSES[:2]
DAY = "2026-11-24"

KILLED = """
import importlib, os, signal, sys
module, name = sys.argv[1].split(":")
owner = importlib.import_module(module)
*path, name = name.split(".")
for part in path:
    owner = getattr(owner, part)
setattr(owner, name, lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
from orchard.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def own(seaweed, workspace, monkeypatch):
    """An empty store and an empty folder, for the dataset `own`."""
    monkeypatch.setenv("ORCHARD_DATASET", "own")
    return seaweed


def fill(store, day, label, count, first=0, name="own"):
    for number in range(count):
        store.put(
            f"{layout.incoming(name, day)}/{label}/{number}.jpg",
            photo_files.jpeg(ORANGE if label == ORANGE else GREEN, first + 3 * number),
        )


def ingest(capsys, day=DAY, *options, run_id=None, monkeypatch=None):
    if run_id is not None:
        monkeypatch.setenv("ORCHARD_RUN_ID", run_id)
    capsys.readouterr()
    code = main(["ingest", "--day", day, "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def fresh(workspace, monkeypatch, name):
    folder = workspace / name
    folder.mkdir()
    monkeypatch.chdir(folder)


def test_a_day_becomes_a_version_and_its_broken_files_are_in_the_report(own, workspace, monkeypatch, capsys):
    fill(own, DAY, GREEN, 4)
    fill(own, DAY, ORANGE, 4)
    own.put(f"{layout.incoming('own', DAY)}/test/{ORANGE}/one.jpg", photo_files.jpeg(ORANGE, 222))
    own.put(f"{layout.incoming('own', DAY)}/{GREEN}/broken.jpg", photo_files.truncated())
    own.put(f"{layout.incoming('own', DAY)}/stray.jpg", photo_files.jpeg(GREEN, 98))
    own.put(f"{layout.incoming('own', DAY)}/.hidden", b"x")

    code, first = ingest(capsys)

    assert (code, first["version"], first["version_created"], first["nothing_new"]) == (0, 1, True, None)
    assert first["counts"] == {"train": {GREEN: 4, ORANGE: 4}, "test": {GREEN: 0, ORANGE: 1}}
    refused = {
        item["path"].split("/")[-1]: item["reason"] for item in json.loads(Path(first["report"]).read_text())["refused"]
    }
    assert refused == {"broken.jpg": "truncated", "stray.jpg": "misplaced"}
    sources = [row for batch in iterate(Path("data/own"), columns=["source"]) for row in batch["source"].to_pylist()]
    assert set(sources) == {"daily"}

    fresh(workspace, monkeypatch, "second")
    fill(own, "2026-11-25", GREEN, 3, first=100)
    code, second = ingest(capsys, "2026-11-25")
    assert (code, second["version"], second["photos"], second["added"]) == (0, 2, 12, 3)
    assert Dataset(own, "own").version(2).parent == 1


def test_the_same_day_twice_and_an_empty_day_have_nothing_new(own, workspace, monkeypatch, capsys):
    fill(own, DAY, GREEN, 3)
    assert ingest(capsys)[0] == 0
    fresh(workspace, monkeypatch, "again")

    code, again = ingest(capsys, DAY, "--skip-code", "99")
    assert (code, again["version"], again["version_created"]) == (99, 1, False)
    assert "3 photos are in version 1 already" in again["nothing_new"]
    assert ingest(capsys, DAY)[0] == 0, "without --skip-code it is not an error"
    code, empty = ingest(capsys, "2026-11-30", "--skip-code=99")
    assert (code, "no photos for 2026-11-30" in empty["nothing_new"]) == (99, True)
    assert Dataset(own, "own").versions() == [1]

    own.put(f"{layout.incoming('own', DAY)}/{GREEN}/late.jpg", photo_files.jpeg(GREEN, 300))
    code, late = ingest(capsys, DAY, "--skip-code=99")
    assert (code, late["version"], late["added"]) == (0, 2, 1)


def test_an_unknown_class_and_a_day_of_broken_files_are_refused_with_reasons(own, workspace, monkeypatch, capsys):
    monkeypatch.setenv("ORCHARD_DATASET", "fruits")
    (workspace / "data").mkdir()
    shutil.copy(CHECKOUT / "data" / "schema.yaml", workspace / "data")
    fill(own, DAY, "Bananna", 3, name="fruits")
    code, unknown = ingest(capsys)
    assert code == 4
    assert "did you mean 'Banana'?" in unknown["error"]["message"]
    assert Dataset(own, "fruits").versions() == []

    monkeypatch.setenv("ORCHARD_DATASET", "own")
    fill(own, DAY, GREEN, 2)
    for number in range(3):
        own.put(f"{layout.incoming('own', DAY)}/{GREEN}/bad-{number}.jpg", photo_files.truncated())
    code, rubbish = ingest(capsys)
    assert (code, "more than the allowed 50.0%" in rubbish["error"]["message"]) == (4, True)
    assert Dataset(own, "own").versions() == []
    assert ingest(capsys, DAY, "--max-refused", "0.8")[0] == 0


@pytest.mark.parametrize(
    "where",
    ["training.data.dvc_tracking:push", "orchard.dataset:Dataset._advance", "training.cli.ingest:_print"],
)
def test_killed_anywhere_a_retry_of_the_run_makes_or_finds_the_one_version(own, workspace, monkeypatch, capsys, where):
    fill(own, DAY, GREEN, 3)
    fill(own, DAY, ORANGE, 3)
    fresh(workspace, monkeypatch, "killed")
    command = [sys.executable, "-c", KILLED, where, "ingest", "--day", DAY]
    died = subprocess.run(command, env={**os.environ, "ORCHARD_RUN_ID": "daily-1"}, check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr

    fresh(workspace, monkeypatch, "retry")
    code, retry = ingest(capsys, DAY, "--skip-code=99", run_id="daily-1", monkeypatch=monkeypatch)
    assert (code, retry["version"], retry["version_created"], retry["nothing_new"]) == (0, 1, True, None)
    fresh(workspace, monkeypatch, "other")
    assert ingest(capsys, DAY, "--skip-code=99", run_id="daily-2", monkeypatch=monkeypatch)[0] == 99
    assert Dataset(own, "own").versions() == [1]
    assert Dataset(own, "own").current().run_id == "daily-1"


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["photos", "--day", DAY],
        ["--day", "24.11.2026"],
        ["--day", DAY, "--no-push"],
        ["photos", "--skip-code", "99"],
    ],
)
def test_wrong_command_lines_are_refused_before_anything_happens(own, workspace, capsys, wrong):
    assert main(["ingest", *wrong]) == 2
    assert not (workspace / "data").exists()


def test_a_photo_whose_name_cannot_be_in_a_request_is_rejected_and_the_others_are_ingested(own, capsys):
    fill(own, DAY, GREEN, 4)
    for name in (f"{GREEN}/new\nline.jpg", "Pl\tum/1.jpg"):
        with s3.client(own.settings) as client:
            client.put_object(
                Bucket=own.settings.store_url.removeprefix("s3://"),
                Key=f"{layout.incoming('own', DAY)}/{name}",
                Body=photo_files.jpeg(GREEN, 99),
            )

    code, done = ingest(capsys)

    assert (code, done["version"], done["added"], done["refused"]) == (0, 1, 4, 2)
    detail = "its name has a control character (U+{}): upload it under another name"
    assert json.loads(Path(done["report"]).read_text())["refused"] == [
        {"path": f"{layout.incoming('own', DAY)}/{name}", "reason": "unreadable", "detail": detail.format(code)}
        for name, code in ((rf"{GREEN}/new\nline.jpg", "000A"), (r"Pl\tum/1.jpg", "0009"))
    ]


@given(st.text())
def test_an_escaped_name_is_printable_and_can_be_decoded(name):
    shown = escaped(name)

    assert shown.isprintable()
    assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == name
