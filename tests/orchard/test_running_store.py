"""The embedded store that runs in a folder is found there by every verb, unless the environment names another one."""

from __future__ import annotations

import os

import pytest

from orchard import env_files, running_store, settings
from orchard.store import open_store
from orchard.store.project_store import store_of_project


@pytest.fixture
def here(workspace, monkeypatch):
    """A working folder in which settings are looked for."""
    monkeypatch.delenv(env_files.VARIABLE)
    return workspace


def test_store_of_a_project_is_started_found_by_others_and_stopped(here):
    notes = []
    with store_of_project(notes.append) as started:
        assert os.environ["ORCHARD_STORE_ENDPOINT"] == started.endpoint
        child = {name: value for name, value in os.environ.items() if not name.startswith("ORCHARD_")}
        found = running_store.found_here(child)  # another terminal
        assert found["ORCHARD_STORE_ENDPOINT"] == started.endpoint
        assert {"ORCHARD_SIGNING_KEY_FILE", "ORCHARD_TRUSTED_KEYS_FILE"} <= set(found)
        open_store(settings.load()).put("a", b"kept")
        with store_of_project(notes.append) as second:
            assert second is None, "the one that runs is used"
        assert os.environ["ORCHARD_STORE_ENDPOINT"] == started.endpoint
    assert len(notes) == 1
    assert not [name for name in os.environ if name.startswith("ORCHARD_")]
    assert settings.load().store_url is None

    with store_of_project(notes.append):
        assert open_store(settings.load()).get("a").body == b"kept"


def test_running_store_is_used_for_the_time_of_a_command_that_did_not_start_it(here, embedded_store, monkeypatch):
    (here / ".orchard").mkdir()
    (here / running_store.DIRECTORY).symlink_to(embedded_store.directory)

    with store_of_project(lambda text: None) as started:
        assert started is None
        assert os.environ["ORCHARD_STORE_ENDPOINT"] == embedded_store.endpoint

    assert "ORCHARD_STORE_ENDPOINT" not in os.environ
    assert settings.load().store_endpoint == embedded_store.endpoint


@pytest.mark.parametrize(
    ("name", "value"), [("ORCHARD_STORE_URL", "s3://ours"), ("ORCHARD_ENV_FILE", "none"), ("ORCHARD_STORE_REGION", "x")]
)
def test_environment_that_names_a_store_or_no_file_wins(name, value, here, embedded_store, monkeypatch):
    (here / ".orchard").mkdir()
    (here / running_store.DIRECTORY).symlink_to(embedded_store.directory)
    monkeypatch.setenv(name, value)

    assert settings.load().store_endpoint is None


def test_store_of_another_user_and_a_damaged_file_are_passed_over(here, embedded_store, monkeypatch):
    folder = here / running_store.DIRECTORY
    folder.mkdir(parents=True)
    (folder / "running.json").write_text("no JSON")
    assert settings.load().store_endpoint is None

    (folder / "running.json").write_bytes((embedded_store.directory / "running.json").read_bytes())
    assert settings.load().store_endpoint == embedded_store.endpoint
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr(running_store, "TRUSTED", (12345,))
    assert settings.load().store_endpoint is None
