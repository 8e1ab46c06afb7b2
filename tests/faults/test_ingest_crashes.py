"""An ingest that is killed, runs out of disk, races another or loses the store: the dataset is the old or the new one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchard.cli import main
from orchard.dataset import Dataset
from orchard.errors import ConflictError
from orchard.reporter import Reporter
from orchard.store.embedded import EmbeddedStore
from tests import photo_files
from training.data import shards, staging
from training.data.ingest import shard_writer

ROOT = Path(__file__).resolve().parents[2]
SHARD_BYTES = 30_000
KIWI = photo_files.CLASSES[0]

# Runs `orchard …` and kills or limits itself at the nth call of one function.
DRIVER = f"""
import importlib, os, resource, signal, sys
target, number, action, *arguments = sys.argv[1:]
module, _, name = target.partition(":")
owner = importlib.import_module(module)
*path, name = name.split(".")
for part in path:
    owner = getattr(owner, part)
original, calls = getattr(owner, name), 0
def wrapped(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(number):
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        size = int(action)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return original(*args, **kwargs)
setattr(owner, name, wrapped)
from training.data.ingest import shard_writer
shard_writer.SHARD_BYTES = {SHARD_BYTES}
from orchard.cli import main
sys.exit(main(arguments))
"""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", SHARD_BYTES)


@pytest.fixture
def farm(workspace):
    return photo_files.fill(workspace / "farm")


@pytest.fixture
def more(workspace):
    """20 new photos of a known class."""
    return make_photos(workspace / "more", KIWI)


def make_photos(folder, label):
    (folder / "train" / label).mkdir(parents=True)
    for number in range(20):
        (folder / "train" / label / f"{number}_100.jpg").write_bytes(photo_files.jpeg(label, 110 + number, lying=True))
    return folder


def command(*source, push=False):
    return ["ingest", *map(str, source), "--dataset", "farm", *([] if push else ["--no-push"]), "--json"]


def drive(target, number, action, *arguments):
    process = subprocess.run(
        [sys.executable, "-c", DRIVER, target, str(number), str(action), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def digest(workspace):
    """The digest of the dataset, of which every byte is read and checked; None: there is no dataset."""
    folder = workspace / "data" / "farm"
    if not (folder / shards.INDEX).exists():
        return None
    index = shards.read_index(folder)
    assert sum(batch.num_rows for batch in shards.iterate(folder, check=True)) == index.rows
    return index.digest


STEPS = {
    "while photos are decoded": ("training.data.ingest.decode:_photo", 20),
    "before the first shard": ("training.data.ingest.ingest:write_shards", 1),
    "in the middle of the shards": ("training.data.ingest.shard_writer:sha256_of", 2),
    "before the index is written": ("training.data.staging:write_synced", 1),
    "before anything is moved": ("pathlib:Path.replace", 2),
    "when one shard is moved": ("pathlib:Path.replace", 3),
    "when all shards are moved": ("training.data.staging:fsync_directory", 1),
    "when the index is moved": ("training.data.staging:fsync_directory", 2),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_ingest_leaves_the_old_or_the_new_dataset_and_the_next_one_completes_it(
    workspace, farm, more, capsys, step
):
    assert main(command(farm)) == 0
    old = digest(workspace)

    assert drive(*STEPS[step], "kill", *command(more))[0] == -signal.SIGKILL
    after_kill = digest(workspace)
    capsys.readouterr()
    assert main(command(more)) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["photos"] == 52
    assert after_kill == (result["digest"] if step == "when the index is moved" else old)
    assert digest(workspace) == result["digest"]
    index = shards.read_index(workspace / "data/farm")
    assert set(contents(workspace / "data/farm")) == {shards.INDEX, *(shard.path for shard in index.shards)}
    assert [path.name for path in (workspace / "data").iterdir()] == ["farm"], (
        "leftovers of the killed ingest are removed"
    )


def test_shards_of_a_killed_ingest_are_removed_by_the_next_one(workspace, farm, more):
    assert main(command(farm)) == 0
    before = set(contents(workspace / "data/farm"))
    assert drive("training.data.staging:fsync_directory", 1, "kill", *command(more))[0] == -signal.SIGKILL
    assert set(contents(workspace / "data/farm")) > before

    assert main(command(make_photos(workspace / "still more", photo_files.CLASSES[1]))) == 0
    index = shards.read_index(workspace / "data/farm")
    assert set(contents(workspace / "data/farm")) == {shards.INDEX, *(shard.path for shard in index.shards)}


def test_first_ingest_killed_between_its_shards_and_its_index_starts_again(workspace, farm, capsys):
    assert drive("training.data.staging:fsync_directory", 1, "kill", *command(farm))[0] == -signal.SIGKILL
    assert digest(workspace) is None
    assert list((workspace / "data/farm").glob("*.parquet"))

    assert main(command(farm)) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 32


@pytest.mark.parametrize(
    ("when", "size"),
    [
        ("training.data.ingest.ingest:scan", 20_000),
        ("training.data.ingest.ingest:write_shards", 10_000),
        ("training.data.staging:install", 10),
    ],
)
def test_full_disk_is_reported_and_leaves_the_dataset_unchanged(workspace, farm, more, when, size):
    assert main(command(farm)) == 0
    before = contents(workspace / "data/farm")

    code, printed = drive(when, 1, size, *command(more))
    error = json.loads(printed)["error"]
    assert (code, error["kind"]) == (1, "DiskError")
    assert "no space is left" in error["message"]
    assert contents(workspace / "data/farm") == before
    assert [path.name for path in (workspace / "data").iterdir()] == ["farm"]


def test_two_ingests_at_once_wait_for_each_other_and_both_count(workspace, farm, more):
    assert main(command(farm)) == 0
    still_more = make_photos(workspace / "still more", photo_files.CLASSES[1])
    with staging.locked(workspace / "data", Reporter.silent()):
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "orchard", *command(source)[:-1]],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
            for source in (more, still_more)
        ]
        lines = [process.stderr.readline() for process in running]
        assert all("waiting for it to end" in line for line in lines)
        assert shards.read_index(workspace / "data/farm").rows == 32
    for process in running:
        process.communicate(timeout=60)
    assert [process.returncode for process in running] == [0, 0]
    assert shards.read_index(workspace / "data/farm").rows == 72
    assert digest(workspace)


def test_lock_that_is_not_released_is_a_conflict(workspace):
    with (
        staging.locked(workspace / "data", Reporter.silent()),
        pytest.raises(ConflictError, match="has been writing"),
        staging.locked(workspace / "data", Reporter.silent(), wait=0.0),
    ):
        pass
    with staging.locked(workspace / "data", Reporter.silent(), wait=0.0):
        pass


def test_pushed_dataset_is_a_version_and_the_same_dataset_makes_no_other(workspace, farm, more, seaweed, capsys):
    results = []
    for source in (farm, farm, more):
        assert main(command(source, push=True)) == 0
        results.append(json.loads(capsys.readouterr().out))
    first, again, second = results

    assert (first["version"], first["version_created"]) == (1, True)
    assert (again["version"], again["version_created"], again["digest"]) == (1, False, first["digest"])
    assert (second["version"], second["shards_added"] > 0) == (2, True)
    current = Dataset(seaweed, "farm").current()
    assert (current.version, current.parent, current.digest) == (2, 1, second["digest"])
    assert current.dvc == (workspace / "data/farm.dvc").read_text()
    assert current.index == shards.read_index(workspace / "data/farm").document


@pytest.mark.parametrize("step", ["training.data.dvc_tracking:push", "orchard.dataset:Dataset._advance"])
def test_ingest_killed_during_the_push_is_completed_by_the_same_command(workspace, farm, seaweed, capsys, step):
    assert drive(step, 1, "kill", *command(farm, push=True))[0] == -signal.SIGKILL
    assert Dataset(seaweed, "farm").current() is None
    local = digest(workspace)

    assert main(command(farm, push=True)) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["version"], result["digest"], result["added"]) == (1, local, 0)
    assert Dataset(seaweed, "farm").current().digest == local
    assert Dataset(seaweed, "farm").versions() == [1]


def test_store_that_is_down_is_reported_at_once(workspace, farm, capsys, monkeypatch, tmp_path_factory):
    with EmbeddedStore(tmp_path_factory.mktemp("own")) as store:
        environment = dict(store.environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    begin = time.monotonic()
    assert main(command(farm, push=True)) == 6
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], time.monotonic() - begin < 60) == ("StoreUnavailable", True)
    assert digest(workspace) is None, "the store is checked before the work"


def test_store_that_is_lost_during_an_ingest_leaves_a_complete_local_dataset(
    workspace, farm, capsys, seaweed, monkeypatch
):
    endpoint = os.environ["ORCHARD_STORE_ENDPOINT"]
    from training.data.ingest import commit

    def lose_store(*args):
        monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", "http://127.0.0.1:9")
        from orchard import settings

        return original(settings.load(), *args[1:])

    original = commit.commit
    monkeypatch.setattr(commit, "commit", lose_store)
    assert main(command(farm, push=True)) == 6
    local = digest(workspace)
    assert local

    monkeypatch.setattr(commit, "commit", original)
    monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", endpoint)
    capsys.readouterr()
    assert main(command(farm, push=True)) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == local


def test_machine_without_the_published_photos_must_pull_first(workspace, farm, more, seaweed, capsys):
    assert main(command(farm, push=True)) == 0
    (workspace / "data/farm").rename(workspace / "moved")
    capsys.readouterr()

    assert main(command(more, push=True)) == 7
    error = json.loads(capsys.readouterr().out)["error"]
    assert "orchard pull" in error["hint"]
    assert not (workspace / "data/farm").exists()
    assert Dataset(seaweed, "farm").current().version == 1
