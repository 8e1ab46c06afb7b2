"""A tar through a pipe is read as the same tar in a file is."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading

import pytest

from orchard.cli import main
from tests import photo_files
from training.data.shards import read_index


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_piped_tar_gives_the_dataset_of_the_file(workspace, capsys, mode):
    photo_files.fill(workspace / "farm")
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode=mode) as archive:
        archive.add(workspace / "farm", "farm")
    (workspace / "farm.tar").write_bytes(body.getvalue())
    os.mkfifo(workspace / "pipe")
    writer = threading.Thread(target=(workspace / "pipe").write_bytes, args=[body.getvalue()])
    writer.start()

    results = []
    for name, source in (("own", "pipe"), ("other", "farm.tar")):
        assert main(["ingest", source, "--dataset", name, "--no-push", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out)["counts"])
    writer.join(10)

    assert results[0] == results[1]
    own, other = (read_index(workspace / "data" / name).shards for name in ("own", "other"))
    assert own == other
