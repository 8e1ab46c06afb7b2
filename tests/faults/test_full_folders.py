"""Whatever folder is full, read-only or out of inodes: a sentence that names it, at once, and nothing is lost.

Each case is a verb and one of the folders that it writes. After the folder has room again, the same command succeeds.
DVC alone tries for minutes on a full disk: then the limit of a test's time is exceeded.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchard import disk
from orchard.cli import main
from orchard.errors import DiskError
from orchard.settings import Settings
from orchard.signing import create_pair
from orchard.store.answers import StoreAnswer
from orchard.store.failures import FailedRequest
from orchestration.local.sample_data import find
from tests import photo_files
from tests.small_disk import DiskFault, SmallDisk
from tests.training.candidates import judge, write_workspace
from tests.training.stepping import small_params

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def disks() -> Iterator[Callable[..., SmallDisk]]:
    made: list[SmallDisk] = []

    def make(folder: Path, fault: DiskFault = "full") -> SmallDisk:
        made.append(SmallDisk(folder, fault))
        return made[-1]

    try:
        yield make
    finally:
        for small in made:
            small.remove()


@dataclass
class Project:
    """A project with a dataset in the store, in the working directory; `photos` are its source."""

    photos: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code = main([*arguments, "--json"])
        return code, json.loads(self.capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def project(seaweed, workspace, monkeypatch, capsys) -> Project:
    (workspace / "data").mkdir()
    shutil.copy(ROOT / "data" / "schema.yaml", workspace / "data")
    params = small_params(train={"epochs": 1}, data={"name": "own"})
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.setenv("ORCHARD_DATASET", "own")
    pair = create_pair(workspace / "keys")
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))
    monkeypatch.setenv("ORCHARD_SIGNING_KEY_FILE", str(pair.private))
    return Project(photo_files.fill(workspace / "photos", photo_files.CLASSES[:2], train=12), capsys)


def ingest(project: Project) -> list[str]:
    return ["ingest", str(project.photos)]


def pull(project: Project) -> list[str]:
    assert project.run(*ingest(project))[0] == 0
    shutil.rmtree("data/own")
    shutil.rmtree(".dvc")
    return ["pull"]


def trained(project: Project) -> list[str]:
    assert project.run("ingest", str(project.photos), "--no-push")[0] == 0
    return ["train"]


def validated(project: Project) -> list[str]:
    trained(project)
    return ["validate"]


def judged(project: Project) -> list[str]:
    write_workspace(Path())
    return ["evaluate"]


def gated(project: Project) -> list[str]:
    judge(write_workspace(Path()))
    return ["gate", "--override-reason", "for a test"]


def drawn(project: Project) -> list[str]:
    return ["synthetic", "drawn/photos", "--classes", "2", "--photos", "40"]


def keys(project: Project) -> list[str]:
    return ["keys", "create", "pair"]


CASES = [
    (ingest, "data"),
    (ingest, "artifacts/ingest"),
    (ingest, ".dvc"),
    (ingest, ".dvc/tmp"),
    (ingest, ".dvc/cache"),
    (pull, "data"),
    (pull, ".dvc"),
    (pull, ".dvc/cache"),
    (trained, "artifacts"),
    (trained, ".orchard"),
    (validated, "artifacts"),
    (judged, "artifacts/evaluation"),
    (judged, ".orchard"),
    (gated, "artifacts/gate"),
    (gated, "artifacts/card"),
    (drawn, "drawn"),
    (keys, "pair"),
]


def assert_explained(project: Project, small: SmallDisk, folder: str, arguments: list[str], *words: str) -> None:
    code, document = project.run(*arguments)
    error = document["error"]
    assert (code, error["kind"]) == (DiskError.exit_code, "DiskError"), error
    assert error["hint"]
    if small.is_real:  # a limit on files has no folder
        assert f"{folder}/" in error["message"]
        assert any(word in error["message"] for word in words), error["message"]


@pytest.mark.parametrize(("prepare", "folder"), CASES, ids=lambda item: getattr(item, "__name__", item))
def test_disk_full_is_explained_for_every_folder_that_a_verb_writes(project, disks, prepare, folder):
    arguments = prepare(project)
    small = disks(Path(folder))

    assert_explained(project, small, folder, arguments, "MB free")

    small.release()
    code, document = project.run(*arguments)
    assert code == 0, document


SIBLINGS = [
    (ingest, "data", "read-only", "it is read-only"),
    (ingest, ".dvc", "read-only", "it is read-only"),
    (ingest, "artifacts/ingest", "read-only", "it is read-only"),
    (pull, ".dvc/cache", "read-only", "it is read-only"),
    (ingest, "data", "out of inodes", "no inode left"),
    (ingest, ".dvc", "out of inodes", "no inode left"),
    (keys, "pair", "out of inodes", "no inode left"),
]


@pytest.mark.parametrize(("prepare", "folder", "fault", "words"), SIBLINGS)
def test_read_only_folders_and_folders_without_inodes_are_explained_too(project, disks, prepare, folder, fault, words):
    arguments = prepare(project)
    small = disks(Path(folder), fault)

    assert_explained(project, small, folder, arguments, words)

    small.release()
    assert project.run(*arguments)[0] == 0


def test_a_published_version_reaches_a_serving_folder_that_was_full(project, disks, monkeypatch):
    assert project.run(*gated(project))[0] == 0
    small = disks(Path("artifacts"))  # publish and promote write only to the store
    small.remove()
    for arguments in (["publish"], ["promote", "latest", "--why", "a test"]):
        assert project.run(*arguments)[0] == 0
    small = disks(Path("served"))
    monkeypatch.setenv("ORCHARD_SERVING_DIR", str(small.folder))

    code, document = project.run("sync", "--once", "--no-engine")
    assert code == DiskError.exit_code
    if small.is_real:
        assert str(small.folder) in document["error"]["message"] + document["error"]["hint"]

    small.release()
    code, document = project.run("sync", "--once", "--no-engine")
    assert (code, document["state"]) == (0, "downloaded")


def test_a_step_names_its_folder_and_the_one_for_temporary_files(project, disks, monkeypatch):
    assert project.run(*ingest(project))[0] == 0
    shutil.copytree("data", "project/data")
    shutil.copy("params.yaml", "project")
    monkeypatch.setenv("ORCHARD_RUN_ID", "one")
    arguments = ["step", "validate", "--project", str(Path("project").absolute())]
    for place in ("own", "temporary"):
        small = disks(Path(place))
        (Path("fresh") / place).mkdir(parents=True)
        with monkeypatch.context() as patch:
            patch.chdir(small.folder if place == "own" else Path("fresh") / place)
            patch.setattr(tempfile, "tempdir", str(small.folder) if place == "temporary" else None)
            code, document = project.run(*arguments)
        assert code == DiskError.exit_code, document
        if small.is_real:
            assert f"/{place}/" in document["error"]["message"]
        small.release()


def test_the_embedded_store_names_its_own_folder(workspace, disks):
    small = disks(workspace / "store")

    command = [sys.executable, "-m", "orchard", "store", "run", "--dir", str(small.folder), "--port", "1", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == DiskError.exit_code, ended
    if small.is_real:
        assert "no space is left in store/" in json.loads(ended.stdout)["error"]["message"]


def test_an_internal_error_of_the_embedded_store_is_explained_by_its_full_disk(workspace, disks):
    small = disks(workspace / "store")
    small.release()
    for name in ("running.json", "identities.json", "credentials"):
        (small.folder / name).write_text("{}")
    settings = Settings(store_url="s3://orchard", store_credentials_file=small.folder / "credentials")
    answer = StoreAnswer(500, "InternalError", "We encountered an internal error, please try again.")
    request = FailedRequest("for 'a'", "s3://orchard", settings)

    assert "its disk full?" in request.refused(answer).hint
    if small.is_real:
        with suppress(OSError):
            (small.folder / ".ballast1").write_bytes(bytes(300 << 20))
        assert f"make room on the disk of {small.folder}, which has 0.0 MB free" in request.refused(answer).hint


@pytest.mark.parametrize("place", ["", ".dvc", "store", "logs"])
def test_the_demo_looks_at_every_folder_before_the_work(workspace, disks, place):
    photos = photo_files.fill(workspace / "photos", photo_files.CLASSES[:2])
    home = workspace / "demo" / find(str(photos)).name
    small = disks(home / place)

    command = [
        sys.executable,
        "-m",
        "orchard",
        "demo",
        "--data",
        str(photos),
        "--dir",
        str(workspace / "demo"),
        "--json",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    assert ended.returncode == DiskError.exit_code, ended
    if small.is_real:
        assert f"{home.name}/{place}".rstrip("/") in json.loads(ended.stdout)["error"]["message"]


def test_a_result_that_cannot_be_printed_is_a_sentence(workspace):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "orchard", "settings", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert ended.returncode == DiskError.exit_code
    assert ended.stderr.startswith("error: no space is left")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "/somewhere/file"), "Permission denied for the user"),
        (NotADirectoryError(20, "Not a directory", "/dev/null/home"), "/dev/null is a file, and must be a folder"),
        (OSError(122, "Disk quota exceeded", "/somewhere/file"), "the quota is used up"),
        (OSError(5, "Input/output error", "/somewhere/file"), "Input/output error"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "no temporary file can be made"),
        (RuntimeError("write failed: No space left on device"), "no space is left"),
    ],
)
def test_other_errors_of_folders_are_sentences(error, words):
    problem = disk.explain(error)

    assert problem is not None
    assert words in problem.message
    assert problem.hint


def test_an_error_that_is_none_of_a_folder_stays_one():
    assert disk.explain(ValueError("wrong")) is None
    assert disk.explain(FileNotFoundError(2, "No such file or directory", "/x")) is None
