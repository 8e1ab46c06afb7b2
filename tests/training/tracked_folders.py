"""A dataset folder that was pushed to a store, and another project to pull it into."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from orchard import settings
from orchard.store import open_store
from training.data import dvc_tracking

__all__ = ["FILES", "dvc", "origin", "pushed", "read", "write"]

FILES = {f"{i:04d}.parquet": bytes([i]) * (4000 + i) for i in range(4)}


def write(folder: Path, files=FILES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def dvc(folder: Path, *command: str) -> str:
    whole = [sys.executable, "-m", "dvc", *command]
    return subprocess.run(whole, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def origin(embedded_store, tmp_path_factory):
    """A pushed dataset folder: its project, its `.dvc` text, and the objects in the store."""
    folder = write(tmp_path_factory.mktemp("origin") / "data/fruits")
    bucket = f"t{uuid.uuid4().hex[:16]}"
    embedded_store.create_bucket(bucket)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**embedded_store.environment, "ORCHARD_STORE_URL": f"s3://{bucket}"}.items():
            patch.setenv(name, value)
        text = dvc_tracking.track(folder)
        assert dvc_tracking.push(folder) == len(FILES) + 1
        store = open_store(settings.load())
        bodies = {stat.key: store.get(stat.key).body for stat in store.list("dvc")}
    return folder.parents[1], text, bodies


@pytest.fixture
def pushed(origin, seaweed, tmp_path):
    """The same in its own bucket, with its `.dvc` text and another project to pull it into."""
    folder, text, bodies = origin
    shutil.copytree(folder, tmp_path / "here")
    for key, body in bodies.items():
        seaweed.put(key, body)
    return seaweed, text, tmp_path / "there/data/fruits"
