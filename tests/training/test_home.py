"""The home folder is none of the project: ingest and DVC write nothing into it, and need none that can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import photo_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("home", ["home", "/dev/null/home"])
def test_ingest_and_dvc_write_only_to_the_project_whatever_the_home_is(seaweed_environment, workspace, home):
    """`/dev/null/home` can be written by nobody, root included."""
    photos, folder = photo_files.fill(workspace / "photos", photo_files.CLASSES[:2]), workspace / home
    (workspace / "home" / ".keras").mkdir(parents=True)
    settings = workspace / "home" / ".keras" / "keras.json"
    settings.touch()
    project, temporary = workspace / "project", workspace / "temporary"
    (project / "data").mkdir(parents=True)
    temporary.mkdir()
    shutil.copy(ROOT / "data" / "schema.yaml", project / "data")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "KERAS_"))}
    environment |= {**seaweed_environment, "HOME": str(folder), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}

    ended = subprocess.run(
        [sys.executable, "-m", "orchard", "ingest", str(photos), "--dataset", "own"],
        cwd=project, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr

    assert [path for path in (workspace / "home").rglob("*") if path.is_file()] == [settings]
    assert folder.is_dir() is (home == "home")
    assert sorted(path.name for path in temporary.iterdir()) == []
    assert sorted(path.name for path in workspace.iterdir()) == ["home", "photos", "project", "temporary"]
