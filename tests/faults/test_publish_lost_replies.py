"""The real store behind a proxy that loses replies, and publishers killed by SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchard import settings
from orchard.dataset import Dataset
from orchard.store import open_store
from tests.faults.invariants import InvariantWitness
from tests.faults.proxy import Fault, proxy
from tests.orchard.version_fixtures import BECAUSE, MODEL, facts, registry_of, saved_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def behind(seaweed_environment, seaweed, monkeypatch):
    """Open the bucket behind a proxy with a fault."""

    @contextmanager
    def behind(*faults):
        port = urlsplit(seaweed_environment["ORCHARD_STORE_ENDPOINT"]).port
        with proxy(port, *faults) as running:
            monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", f"http://127.0.0.1:{running.port}")
            yield running, open_store(settings.load())

    return behind


def test_lost_replies_of_commits_are_recognised_on_the_real_store(behind, seaweed, tmp_path):
    witness = InvariantWitness(seaweed)
    bucket = seaweed.name.split("/")[2].split(" ")[0]
    lines = [
        f"PUT /{bucket}/models/{MODEL}/publishes/",
        f"PUT /{bucket}/models/{MODEL}/versions/",
        f"PUT /{bucket}/models/{MODEL}/channels/",
        f"PUT /{bucket}/models/{MODEL}/history/",
        f"PUT /{bucket}/datasets/{MODEL}/versions/",
        f"PUT /{bucket}/datasets/{MODEL}/current.json",
    ]
    for number, line in enumerate(lines, start=1):
        folder = saved_model(tmp_path / str(number), number)
        with behind(Fault("drop", line.encode())) as (running, store):
            published = registry_of(store).publish(folder, facts())
            change = registry_of(store).channel("stable").promote(published.version, BECAUSE)
            committed = Dataset(store, MODEL).commit({"n": number}, "dvc", parent=number - 1 or None, created_by="anna")

            assert running.faults[0].times == 0, f"{line} was never requested"
        assert (published.version, published.created) == (number, True)
        assert (change.pointer.generation, change.changed) == (number, True)
        assert (committed.version.version, committed.created) == (number, True)
        witness.check()
        witness.claims()


PUBLISHER = """
import sys
import time
from pathlib import Path
from orchard import settings
from orchard.store import open_store
from tests.orchard.version_fixtures import facts, registry_of, saved_model

store = open_store(settings.load())
for number in range(int(sys.argv[2])):
    folder = saved_model(Path(sys.argv[1]) / str(number), number)
    print(registry_of(store).publish(folder, facts()).version, flush=True)
"""
"""Publishes one content after the other; the same ones in every run."""


def publisher(folder, contents):
    command = [sys.executable, "-c", PUBLISHER, str(folder), str(contents)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def count(store, folder):
    return sum(1 for _ in store.list(f"models/{MODEL}/{folder}"))


@pytest.mark.parametrize("folder", ["blobs", "publishes"])
def test_publisher_killed_by_sigkill_publishes_every_content_once(seaweed, tmp_path, folder):
    witness = InvariantWitness(seaweed)
    contents = 8

    killed = publisher(tmp_path, contents)
    deadline = time.monotonic() + 60
    while count(seaweed, folder) < 3:
        assert killed.poll() is None
        assert time.monotonic() < deadline
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    witness.check()
    assert count(seaweed, "versions") < contents

    again = publisher(tmp_path, contents)
    printed, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert sorted(map(int, printed.split())) == list(range(1, contents + 1))
    witness.check()
    witness.claims()
