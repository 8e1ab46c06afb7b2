"""A project's name is written once, in its params.yaml: dataset and model have it, unless the environment says otherwise."""

from __future__ import annotations

import pytest

from orchard import settings
from orchard.errors import ParamsError


def names():
    loaded = settings.load()
    return loaded.dataset, loaded.model


@pytest.fixture
def project(workspace):
    (workspace / "params.yaml").write_text("data: {name: signs}\n")
    return workspace


def test_dataset_and_model_have_the_name_of_the_project(project):
    assert names() == ("signs", "signs")


def test_folders_of_the_project_belong_to_it(project, monkeypatch):
    (project / "photos" / "new").mkdir(parents=True)
    monkeypatch.chdir(project / "photos" / "new")

    assert names() == ("signs", "signs")


def test_environment_wins_for_each_name_alone(project, monkeypatch):
    monkeypatch.setenv("ORCHARD_MODEL", "hands")
    assert names() == ("signs", "hands")
    monkeypatch.setenv("ORCHARD_DATASET", "fingers")
    assert names() == ("fingers", "hands")


def test_empty_variable_is_as_none(project, monkeypatch):
    monkeypatch.setenv("ORCHARD_MODEL", " ")

    assert names() == ("signs", "signs")


@pytest.mark.parametrize("text", ["data: {path: x}\n", "data: 3\n", "- a list\n", ""])
def test_file_of_another_program_names_nothing(workspace, text):
    (workspace / "params.yaml").write_text(text)

    assert names() == ("fruits", "fruits")


@pytest.mark.parametrize(
    "text", ["data: {name: My Signs}\n", "data: {name: 7}\n", "data: {name: [}\n", "data:\n<<<<<<< a\n"]
)
def test_file_that_cannot_be_read_is_no_other_dataset(workspace, monkeypatch, text):
    (workspace / "params.yaml").write_text(text)

    with pytest.raises(ParamsError, match=r"params\.yaml") as caught:
        names()

    assert caught.value.hint
    monkeypatch.setenv("ORCHARD_DATASET", "a")
    monkeypatch.setenv("ORCHARD_MODEL", "b")
    assert names() == ("a", "b")
