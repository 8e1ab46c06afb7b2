"""A base path or a models.config that cannot work is named, with what was found and what to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from serving.models_config import Latest, ModelConfig, render
from serving.server.base_path import list_versions
from serving.server.config_watcher import ConfigWatcher
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, until


def empty(base: Path) -> str:
    base.mkdir()
    return f"no version folder in base_path {base} (it is empty)"


def unnumbered(base: Path) -> str:
    for name in ("v1", "0.1", ".hidden"):
        (base / name).mkdir(parents=True)
    return (
        "(found: 0.1, v1); the name of a version folder is its number, digits alone, not 'v1' or '0.1': put the SavedModel "
        f"into {base / '1'}"
    )


def the_model_itself(base: Path) -> str:
    (base / "variables").mkdir(parents=True)
    (base / "saved_model.pb").touch()
    return f"saved_model.pb is directly in it; move it, with all that belongs to it, to {base / '1'}"


def the_model_as_text(base: Path) -> str:
    base.mkdir()
    (base / "saved_model.pbtxt").touch()
    return f"saved_model.pbtxt is directly in it; move it, with all that belongs to it, to {base / '1'}"


def a_folder_of_models(base: Path) -> str:
    (base / "half_plus_two" / "1").mkdir(parents=True)
    return (
        "half_plus_two in it may be a model with version folders; a base_path is the folder of one model, such as "
        f"{base / 'half_plus_two'}"
    )


def a_file(base: Path) -> str:
    base.touch()
    return f"base_path {base} is a file; it must be the folder with the version folders, such as {base.parent}"


def missing(base: Path) -> str:
    return (
        f"base_path {base} does not exist; it must be a folder with one folder for each version, such as {base / '1'}"
    )


def a_link_to_nothing(base: Path) -> str:
    base.symlink_to("nowhere")
    return f"base_path {base} does not exist"


def a_number_that_is_a_file(base: Path) -> str:
    base.mkdir()
    (base / "1").touch()
    return f"no version folder in base_path {base} (found: 1)"


def a_number_out_of_range(base: Path) -> str:
    (base / "99999999999999999999").mkdir(parents=True)
    return f"no version folder in base_path {base} (found: 99999999999999999999)"


MISTAKES = (
    empty,
    unnumbered,
    the_model_itself,
    the_model_as_text,
    a_folder_of_models,
    a_file,
    missing,
    a_link_to_nothing,
    a_number_that_is_a_file,
    a_number_out_of_range,
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_base_path_without_versions_is_explained(tmp_path, mistake):
    expected = mistake(tmp_path / "m")

    listing = list_versions(str(tmp_path / "m"))

    assert listing.versions == {}
    assert expected in listing.problem


def test_a_version_folder_as_base_path_is_named_with_its_parent(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").touch()

    problem = list_versions(str(tmp_path / "m" / "1")).problem

    assert problem.endswith(
        f"is itself a version folder (saved_model.pb is directly in it); name its parent: {tmp_path / 'm'}"
    )


@pytest.mark.parametrize("path", ["s3://bucket/m", "gs://bucket/m", "hdfs://host/m", "https://host/m", "S3:/bucket/m"])
def test_a_remote_path_is_named_with_the_remedy(path):
    problem = list_versions(path).problem

    assert problem.startswith(f"base_path {path} is a remote path, which the server does not read; `orchard sync`")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "\udcff"])
def test_a_path_that_no_system_takes_is_a_problem_and_no_crash(path):
    assert "base_path" in list_versions(path).problem


def test_a_relative_path_is_named_with_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert f"does not exist in the working directory {tmp_path}" in list_versions("models/m").problem


def test_a_local_file_scheme_is_read(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)

    assert list_versions(f"file://{tmp_path}/m").versions == {1: tmp_path / "m" / "1"}


def test_a_folder_that_cannot_be_read_is_named_with_the_user_that_tried(tmp_path):
    (tmp_path / "m").symlink_to("m")  # root may read every folder, but nobody can follow this one

    problem = list_versions(str(tmp_path / "m")).problem

    assert "cannot be read: " in problem
    assert f"runs as user {os.geteuid()} and group {os.getegid()}" in problem


def test_two_folders_of_one_number_are_named_and_the_plain_one_is_served(tmp_path):
    for name in ("001", "1", "2"):
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "m" / "3").touch()

    listing = list_versions(str(tmp_path / "m"))

    assert listing.versions == {1: tmp_path / "m" / "1", 2: tmp_path / "m" / "2"}
    assert (
        listing.warning
        == f"in base_path {tmp_path / 'm'}: 3 is not a folder, 001 is version 1 too, which is loaded from 1"
    )


def test_the_log_and_readiness_have_the_mistake_until_it_is_mended(zoo, tmp_path):
    config, base = tmp_path / "models.config", tmp_path / "m"
    shutil.copytree(zoo / "half_plus_two" / "123", base)
    models = [ModelConfig("m", str(base), Latest()), ModelConfig("remote", "s3://bucket/m", Latest())]
    config.write_text(render(models))
    with Serve(config, tmp_path / "log", ENVIRONMENT, wait=False) as server:
        until(lambda: f"move it, with all that belongs to it, to {base / '1'}" in server.text, "the log has it")
        until(lambda: "use `orchard sync`" in server.text or "`orchard sync` downloads" in server.text, "and the other")
        reply = server.get("/readyz")
        assert reply.status == 503
        assert any("saved_model.pb is directly in it" in text for text in reply.json["models"]["m"])
        assert any("remote path" in text for text in reply.json["models"]["remote"])
        assert server.predict("n", {"instances": [0.0]}).error == "Servable not found for request: Latest(n)"

        base.rename(tmp_path / "1")
        base.mkdir()
        (tmp_path / "1").rename(base / "1")
        until(lambda: server.get("/readyz/m").status == 200, "it is served")
        assert server.text.count("saved_model.pb is directly in it") == 1  # logged once, however long it lasted


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "does not exist (yet)"),
        (lambda path: path.touch(), "there is no model_config_list in the file, which is empty"),
        (lambda path: path.write_text("model_config_list {}"), "names no model"),
        (lambda path: path.write_text("name: 'm'"), "was not taken over"),
    ],
    ids=["missing", "empty", "no-model", "invalid"],
)
def test_a_models_config_that_names_nothing_is_reported_on_readiness(tmp_path, make, expected):
    path = tmp_path / "models.config"
    make(path)
    with Serve(path, tmp_path / "log", ENVIRONMENT, wait=False) as server:
        until(lambda: expected in server.get("/readyz").json.get("config", ""), "it is reported")
        assert server.get("/readyz").status == 503
        assert expected in server.text


def test_a_models_config_that_could_not_be_read_is_read_when_it_can(tmp_path):
    path, logged = tmp_path / "models.config", []
    path.mkdir()
    watcher = ConfigWatcher(path, logged.append)
    assert watcher.read() is None
    assert watcher.read() is None
    assert len(logged) == 1
    path.rmdir()
    path.write_text(render([ModelConfig("m", "/m")]))
    assert [config.name for config in watcher.read()] == ["m"]
    assert watcher.problem == ""


def test_two_writes_within_one_tick_of_the_clock_are_both_seen(tmp_path):
    path = tmp_path / "models.config"
    watcher = ConfigWatcher(path, lambda text: None)
    for number in range(50):
        path.write_text(render([ModelConfig(f"m{number:02}", "/m")]))  # the same size each time
        found = watcher.read()
        assert found is not None, number
        assert found[0].name == f"m{number:02}"
