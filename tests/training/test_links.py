"""A folder is what its name says, whatever is behind a link: a project is not looked for there, nor a class."""

from __future__ import annotations

import pytest

from orchard.cli import main
from tests import photo_files
from training.data.ingest.placement import PhotoPlacement, SourceFile
from training.data.ingest.sources import walk
from training.data.shards import read_index


@pytest.mark.parametrize("link", ["data", "data/own"])
@pytest.mark.parametrize("verb", ["ingest", "pull"])
def test_dataset_behind_a_link_works_or_is_refused_before_anything_is_written(
    workspace, seaweed, tmp_path, monkeypatch, capsys, link, verb
):
    photo_files.fill(tmp_path / "own", photo_files.CLASSES[:1], train=2, test=1)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    assert main(["ingest", "../own", "--dataset", "own"]) == 0
    project, behind = tmp_path / "project", tmp_path / "elsewhere"
    (project / link).parent.mkdir(parents=True)
    behind.mkdir()
    (project / link).symlink_to(behind)
    monkeypatch.chdir(project)
    capsys.readouterr()

    code = main([verb, *(["../own"] if verb == "ingest" else []), "--dataset", "own"])
    if (verb, link) == ("pull", "data"):
        assert (code, read_index(project / "data/own").rows) == (0, 3)
        assert sorted(path.name for path in behind.iterdir()) == ["own", "own.dvc"]
    else:
        assert (code, "is a link to" in capsys.readouterr().err) == (4, True)
        assert [path for path in (*project.rglob("*"), *behind.rglob("*")) if not path.is_symlink()] == (
            [project / "data"] if link == "data/own" else []
        )
    assert not (tmp_path / ".dvc").exists()


@pytest.mark.parametrize("name", ["shop", "shop/.", "here/.."])
def test_source_that_is_a_link_has_the_name_that_the_user_wrote(tmp_path, monkeypatch, name):
    real = tmp_path / "disk/volume-7/export"
    (real / "train/Kiwi").mkdir(parents=True)
    (real / "train/Kiwi/1.jpg").write_bytes(b"photo")
    (tmp_path / "shop").symlink_to(real)
    (tmp_path / "here").symlink_to(real / "train")
    (tmp_path / "Test").symlink_to(real / "train")
    monkeypatch.chdir(tmp_path)

    (photo,) = [
        entry for entry in walk(tmp_path / name, PhotoPlacement(None, None, 99)) if isinstance(entry, SourceFile)
    ]
    assert (photo.folder, photo.split, photo.label) == ("export" if ".." in name[-2:] else "shop", "train", "Kiwi")
    (photo,) = [
        entry for entry in walk(tmp_path / "Test", PhotoPlacement(None, None, 99)) if isinstance(entry, SourceFile)
    ]
    assert photo.split == "test"
