"""The folder of DVC's cache: a pull uses the one that DVC's configuration names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchard.errors import SettingsError
from tests.training.tracked_folders import FILES, dvc, origin, pushed, read
from training.data import dvc_project, dvc_tracking

__all__ = ["origin", "pushed"]


@pytest.mark.parametrize(
    ("file", "cache"),
    [
        ("config", "{tmp}/absolute"),
        ("config", "../../beside"),
        ("config.local", "shared/cache"),
        ("config.local", "~/cache of mine"),
        ("global", "{tmp}/user"),
    ],
)
def test_cache_that_the_configuration_names_is_used_by_pull_and_by_dvc(pushed, tmp_path, monkeypatch, file, cache):
    store, text, there = pushed
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user-config"))
    project = there.parents[1]
    dvc_project.init(project)
    configuration = tmp_path / "user-config/config" if file == "global" else project / ".dvc" / file
    configuration.parent.mkdir(exist_ok=True)
    with configuration.open("a") as lines:
        lines.write(f"[cache]\n    dir = {cache.format(tmp=tmp_path)}\n")
    before = dvc(project, "cache", "dir").strip()

    assert dvc_tracking.pull(there, text) == len(FILES) + 1

    assert dvc(project, "cache", "dir").strip() == before
    cached = [path for path in Path(before).rglob("*") if path.is_file() and path.suffix != ".dir"]
    assert {path.read_bytes() for path in cached} == set(FILES.values())
    assert not (project / ".dvc/cache").exists()
    assert dvc_tracking.track(there) == text
    shutil.rmtree(there)
    for stat in store.list("dvc"):
        store.delete(stat.key)
    dvc(project, "checkout", "data/fruits.dvc")  # from that cache: the store is empty
    assert read(there) == FILES


@pytest.mark.parametrize("line", ["dir = s3://bucket/cache", "dir"])
def test_cache_that_is_not_a_folder_is_an_error(pushed, line):
    _, text, there = pushed
    dvc_project.init(there.parents[1])
    with (there.parents[1] / ".dvc/config").open("a") as lines:
        lines.write(f"[cache]\n    {line}\n")

    with pytest.raises(SettingsError, match=r"s3://bucket/cache is not a folder|malformed"):
        dvc_tracking.pull(there, text)
    assert read(there) == {}
