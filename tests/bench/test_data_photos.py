"""The photos of `bench.data`: its own ingest accepts them, whatever they are."""

from __future__ import annotations

import tarfile

import pytest

from bench.data import DataBench, ingest, unpack
from bench.stack import make_bucket
from tests import photo_files


@pytest.fixture
def archives(tmp_path):
    """A folder of archives as in shared/data: one with splits and a licence, and one of another project without splits."""
    folder = tmp_path / "archives"
    folder.mkdir()
    photo_files.fill(tmp_path / "fruits", photo_files.CLASSES[:2], train=4, test=1)
    (tmp_path / "fruits/LICENSE").write_text("free")
    photo_files.fill(tmp_path / "signs", photo_files.CLASSES[2:3], train=4, test=1)
    for name, content in (("fruits", tmp_path / "fruits"), ("signs", tmp_path / "signs/train")):
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(content, name)
    return folder


@pytest.mark.parametrize("real", [True, False])
def test_ingest_accepts_every_photo_of_the_benchmark(tmp_path, archives, embedded_store, real):
    source, workspace = tmp_path / "photos", tmp_path / "workspace"
    workspace.mkdir()
    photos = unpack(archives if real else tmp_path / "nowhere", source, None if real else 160)
    bench = DataBench(tmp_path, embedded_store)

    result = ingest(bench, workspace, make_bucket(embedded_store)[0], source)

    assert len(photos) == (10 if real else 160)
    assert (result["added"], result["refused"]) == (len(photos), 0)
