"""`orchard pull`: a published dataset is downloaded completely and checked, or not at all."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchard.cli import main
from orchard.layout import dataset_version
from tests import photo_files
from training.data.shards import read_index

SCHEMA = Path(__file__).parents[2] / "data" / "schema.yaml"


ARGUMENTS = {"synthetic": (), "more": ("--classes", photo_files.CLASSES[2])}


def run(capsys, *args: str) -> tuple[int, dict]:
    code = main([*args, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    photo_files.fill(folder / "synthetic", photo_files.CLASSES[:2], train=3, test=1)
    photo_files.fill(folder / "more", photo_files.CLASSES[2:3], train=3, test=1)
    return folder


@pytest.fixture
def published(seaweed, sources, workspace, monkeypatch, capsys):
    """Two versions of a dataset, ingested in one folder; the test runs in another, empty one."""
    here, there = workspace / "here", workspace / "there"
    (here / "data").mkdir(parents=True)
    there.mkdir()
    shutil.copy(SCHEMA, here / "data")
    monkeypatch.setenv("ORCHARD_DATASET", "own")
    monkeypatch.chdir(here)
    versions = [run(capsys, "ingest", str(sources / name), *more)[1] for name, more in ARGUMENTS.items()]
    assert [version.get("version") for version in versions] == [1, 2], versions
    monkeypatch.chdir(there)
    return seaweed, here, versions


def test_current_and_older_versions_are_pulled_exactly(published, capsys):
    _, here, (first, second) = published

    code, pulled = run(capsys, "pull")
    assert (code, pulled["version"], pulled["digest"], pulled["photos"]) == (0, 2, second["digest"], 12)
    assert Path("data/own.dvc").read_text() == (here / "data/own.dvc").read_text()
    for path in (here / "data/own").iterdir():
        assert (Path("data/own") / path.name).read_bytes() == path.read_bytes()

    code, again = run(capsys, "pull")
    assert (code, again["fetched"]) == (0, 0)

    code, older = run(capsys, "pull", "--version", "1")
    assert (code, older["version"], older["digest"]) == (0, 1, first["digest"])
    assert read_index(Path("data/own")).digest == first["digest"]
    assert len(list(Path("data/own").iterdir())) == 2


def test_unpublished_files_are_not_lost(published, capsys):
    assert run(capsys, "pull", "--version", "1")[0] == 0
    Path("data/own/notes.txt").write_text("mine")
    code, refused = run(capsys, "pull")
    assert code == 4
    assert "notes.txt" in refused["error"]["message"]
    Path("data/own/notes.txt").unlink()

    only_here = Path("data/own/0007-0123456789ab.parquet")
    only_here.write_bytes(b"ingested with --no-push")
    code, refused = run(capsys, "pull")
    assert code == 4
    assert "no version" in refused["error"]["message"]
    assert only_here.read_bytes() == b"ingested with --no-push"
    only_here.unlink()

    assert run(capsys, "pull")[0] == 0


def test_shard_that_rotted_in_the_store_is_refused(published, capsys):
    store, here, _ = published
    shard = next((here / "data/own").glob("0001-*"))
    (key,) = [stat.key for stat in store.list("dvc") if stat.size == shard.stat().st_size]
    body = bytearray(store.get(key).body)
    body[100] ^= 1
    store.put(key, bytes(body))

    code, refused = run(capsys, "pull")

    assert code == 8
    assert shard.name in refused["error"]["message"]
    assert not Path("data/own").exists()
    assert not Path("data/own.dvc").exists()


def test_version_whose_text_names_other_files_than_its_index_is_refused(published, capsys):
    store, _, _ = published
    key = dataset_version("own", 2)
    document = json.loads(store.get(key).body)
    document["dvc"] = json.loads(store.get(dataset_version("own", 1)).body)["dvc"]
    store.put(key, json.dumps(document).encode())

    code, refused = run(capsys, "pull")

    assert code == 8
    assert "names other files than its index" in refused["error"]["message"]
    assert not Path("data/own").exists()


def test_missing_dataset_and_version_are_named(seaweed, workspace, capsys):
    code, refused = run(capsys, "pull", "--dataset", "nothing")
    assert code == 4
    assert "'nothing'" in refused["error"]["message"]
    code, refused = run(capsys, "pull", "--version", "3")
    assert code == 4
    assert "no version 3" in refused["error"]["message"]
    code, _ = run(capsys, "pull", "--dataset", "../etc")
    assert code == 4


def test_killed_pull_is_finished_by_the_next(published, capsys):
    _, here, (_, second) = published
    command = [sys.executable, "-m", "orchard", "pull"]
    whole = {path.name: path.read_bytes() for path in (here / "data/own").iterdir()}
    for sign in (Path(".dvc/cache"), Path("data/own")):  # while it downloads, while it moves files into place
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as pulling:
            deadline = time.monotonic() + 30
            while not sign.exists() and pulling.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            pulling.send_signal(signal.SIGKILL)
        for path in Path("data/own").glob("*"):
            assert path.name not in whole or path.read_bytes() == whole[path.name]

    code, pulled = run(capsys, "pull")

    assert (code, pulled["digest"]) == (0, second["digest"])
    assert {path.name: path.read_bytes() for path in Path("data/own").iterdir()} == whole


WITHOUT_DVC = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"dvc", "dvc_data", "dvc_objects", "dvc_s3"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from orchard.cli import main
sys.exit(main(["pull", "--json"]))
"""


def test_pull_needs_no_dvc(published):
    _, here, (_, second) = published

    done = subprocess.run([sys.executable, "-c", WITHOUT_DVC], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["digest"] == second["digest"]
    assert Path("data/own.dvc").read_text() == (here / "data/own.dvc").read_text()
    whole = {path.name: path.read_bytes() for path in (here / "data/own").iterdir()}
    assert {path.name: path.read_bytes() for path in Path("data/own").iterdir()} == whole
    assert [path.name for path in Path("data").iterdir() if path.name.startswith(".")] == []
