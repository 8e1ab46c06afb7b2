"""`orchard init`: a project from any photos, or a refusal that says what to do; whole or not at all."""

from __future__ import annotations

import json
import subprocess

import pytest

from orchard import env_files, settings
from orchard.cli import main
from tests import photo_files
from training.data import dvc_project
from training.project import photo_survey

FIRST, SECOND = photo_files.CLASSES[:2]


@pytest.fixture
def run(workspace, capsys):
    """Run `orchard init … --json`; return the exit code and the printed document."""

    def call(*arguments):
        code = main(["init", *map(str, arguments), "--json"])
        return code, json.loads(capsys.readouterr().out or "{}")

    return call


def put(folder, *numbers, name=None):
    """Write a photo for each number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / (name or f"{number}.jpg")).write_bytes(photo_files.jpeg(number=number, side=40))


@pytest.fixture
def photos(workspace):
    """<class>/<photo>: twelve photos of each of two classes."""
    for label, first in ((FIRST, 0), (SECOND, 100)):
        put(workspace / "photos" / label, *range(first, first + 12))
    return workspace / "photos"


def everything(folder):
    return sorted(path for path in folder.rglob("*") if ".git" not in path.parts)


def test_project_has_all_that_the_verbs_need(workspace, photos, run):
    before = everything(photos)

    code, document = run("my-signs", "--photos", "photos", "--network")

    project = workspace / "my-signs"
    assert (code, document["name"], document["classes"]) == (0, "my-signs", sorted([FIRST, SECOND]))
    assert (document["photos"], document["splits"], document["git"]) == (24, [], True)
    assert all((project / name).is_file() for name in document["files"])
    assert {"README.md", "params.yaml", "data/schema.yaml", "dvc.yaml", "model.py", "Dockerfile"} <= {
        *document["files"]
    }
    assert (project / ".dvc/config").exists()
    assert (project / ".dvcignore").exists()
    assert everything(photos) == before
    assert sorted(path.name for path in workspace.iterdir()) == ["my-signs", "photos"]


def test_a_sample_of_many_photos_is_decoded_and_all_are_counted(photos, run, monkeypatch):
    assert run("signs", "--photos", "photos")[1]["decoded"] == 2 * photo_survey.OF_A_CLASS
    monkeypatch.setattr(photo_survey, "OF_ALL", 3)

    _, document = run("again", "--photos", "photos")

    assert (document["photos"], document["decoded"]) == (24, 4)  # three of the first class, one of the second


def test_readme_has_the_commands_that_are_printed(workspace, photos, run):
    _, document = run("signs", "--photos", "photos")

    text = (workspace / "signs" / "README.md").read_text()
    assert document["next"][:2] == ["orchard run", "orchard sync --serve"]
    assert all(f"    {command}\n" in text for command in document["next"][:2])
    assert "    orchard ingest\n    dvc repro\n" in text


@pytest.mark.parametrize("name", ["photos", "my photos", "it's 5 $HOME \\ photos"])
def test_project_knows_where_its_photos_are_and_no_committed_file_does(name, workspace, photos, run, monkeypatch):
    photos.rename(workspace / name)
    run("signs", "--photos", workspace / name)
    project = workspace / "signs"
    monkeypatch.chdir(project)
    monkeypatch.delenv(env_files.VARIABLE)

    assert settings.load().photos == workspace / name
    added = subprocess.run(["git", "add", "--all", "--verbose"], check=True, capture_output=True, text=True).stdout
    assert "README.md" in added
    assert ".env'" not in added
    committed = [path for path in everything(project) if path.is_file() and f"'{path.relative_to(project)}'" in added]
    assert not [path for path in committed if str(workspace) in path.read_text()]


def test_relative_path_of_photos_is_relative_to_the_project(workspace, photos, run):
    run("work/signs", "--photos", "photos")

    assert "ORCHARD_PHOTOS='../../photos'" in (workspace / "work/signs/.env").read_text()


def test_photos_in_splits_are_not_split_again(workspace, run):
    photo_files.fill(workspace / "photos", train=12, test=2, splits=("Training", "Test"), side=40)

    _, document = run("signs", "--photos", "photos")

    assert document["splits"] == ["test", "train"]
    assert "No folder names a split" not in (workspace / "signs" / "README.md").read_text()


def test_settings_above_a_project_in_a_repository_are_not_hidden(workspace, photos, run):
    subprocess.run(["git", "init", "--quiet", workspace], check=True)
    (workspace / ".env").write_text("ORCHARD_STORE_URL=s3://ours\n")

    _, document = run("signs", "--photos", "photos")

    assert not (workspace / "signs" / ".env").exists()
    assert document["next"][0] == "orchard run --photos ../photos"


def test_project_in_a_repository_is_a_part_of_it(workspace, photos, run):
    subprocess.run(["git", "init", "--quiet", workspace], check=True)

    assert run("signs", "--photos", "photos")[1]["git"] is False
    assert not (workspace / "signs" / ".git").exists()


def test_repeated_command_changes_nothing_and_says_what_to_do(workspace, photos, run):
    run("signs", "--photos", "photos")
    (workspace / "signs" / "params.yaml").write_text("mine\n")

    code, document = run("signs", "--photos", "photos")

    assert code == 4
    assert "is a project already" in document["error"]["message"]
    assert "README.md" in document["error"]["hint"]
    assert (workspace / "signs" / "params.yaml").read_text() == "mine\n"


@pytest.mark.parametrize("kind", ["full folder", "file", "link"])
def test_what_is_there_is_never_replaced(kind, workspace, photos, run):
    path = workspace / "signs"
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        (workspace / "other").mkdir()
        path.symlink_to("other")
    else:
        put(path, 1)
    before = everything(workspace)

    code, document = run("signs", "--photos", "photos")

    assert code == 4
    assert "is not an empty folder" in document["error"]["message"]
    assert everything(workspace) == before


def test_empty_folder_becomes_the_project(workspace, photos, run):
    (workspace / "signs").mkdir()

    assert run("signs", "--photos", "photos")[0] == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_init_leaves_nothing(error, workspace, photos, run, monkeypatch):
    def fail(folder):
        raise error

    monkeypatch.setattr(dvc_project, "init", fail)
    assert run("signs", "--photos", "photos")[0] in {1, 130}
    assert [path.name for path in workspace.iterdir()] == ["photos"]


def test_what_a_killed_init_has_left_is_removed_by_the_next(workspace, photos, run):
    put(workspace / ".signs.01234567.tmp", 1)
    put(workspace / ".signs.keep.tmp", 1)

    assert run("signs", "--photos", "photos")[0] == 0
    assert sorted(path.name for path in workspace.iterdir()) == [".signs.keep.tmp", "photos", "signs"]


REFUSALS = {
    "nothing there": (lambda folder: None, "there is no photos", "--photos names a folder"),
    "no photo": (lambda folder: (folder / "a").mkdir(parents=True), "there is no photo in photos", "<class>/<photo>"),
    "no class": (
        lambda folder: put(folder, 1, 2),
        "none of the 2 photos in photos is in the folder of a class",
        "<class>/<photo>",
    ),
    "one class": (lambda folder: put(folder / "a", 1, 2), "are of one class, 'a'", "add a folder"),
    "one photo of each": (
        lambda folder: [put(folder / label, number) for number, label in enumerate("abc")],
        "each of the 3 classes in photos has a single photo",
        "put more photos",
    ),
    "unreadable": (
        lambda folder: [
            put(folder / label, 1) or (folder / label / "1.jpg").write_bytes(b"no photo") for label in "ab"
        ],
        "none of 2 that were tried can be read",
        "JPEG or PNG",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_photos_that_make_no_dataset_are_refused_with_what_to_do(kind, workspace, run):
    make, message, hint = REFUSALS[kind]
    make(workspace / "photos")

    code, document = run("signs", "--photos", "photos")

    assert code == 4
    assert message in document["error"]["message"]
    assert hint in document["error"]["hint"]
    assert not (workspace / "signs").exists()


WARNINGS = {
    "few": (lambda folder: put(folder / FIRST, *range(12, 16)), "fewer than 10 photos to learn from"),
    "damaged": (lambda folder: (folder / FIRST / "0.jpg").write_bytes(photo_files.truncated()), "will reject 1 of"),
    "loose": (lambda folder: put(folder, 30), "no folder names its split"),
    "split and none": (lambda folder: put(folder / "train" / FIRST, 30), "are in no split and others are"),
    "few tests": (lambda folder: None, "the gate asks for 20"),
}


@pytest.mark.parametrize("kind", WARNINGS)
def test_what_will_be_a_problem_later_is_said_now(kind, photos, run):
    make, sentence = WARNINGS[kind]
    if kind == "few":
        for path in sorted((photos / FIRST).iterdir()):
            path.unlink()
    make(photos)

    code, document = run("signs", "--photos", "photos")

    assert code == 0
    assert any(sentence in warning for warning in document["warnings"])


def test_only_training_photos_are_a_warning_with_both_ways_out(workspace, photos, run):
    (workspace / "train").mkdir()
    photos.rename(workspace / "train" / "train")

    _, document = run("signs", "--photos", "train")

    (warning,) = [text for text in document["warnings"] if "no test photos" in text]
    assert "name the folder train/ itself" in warning


@pytest.mark.parametrize(("name", "hint"), [("My Signs", "orchard init my-signs"), ("___", "orchard init signs")])
def test_name_that_no_dataset_can_have_is_refused_with_a_near_one(name, hint, photos, run):
    code, document = run(name, "--photos", "photos")

    assert code == 3
    assert hint in document["error"]["hint"]
