"""Settings in `.env`: which file is read, what wins, what is refused, and who has them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchard import env_files, settings
from orchard.cli import main
from orchard.cli.registry import _print_change
from orchard.cli.verb import verb
from orchard.errors import SettingsError
from orchard.reporter import Reporter
from orchestration.local.photo_steps import step_environment


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout, the working directory, in which `.env` is read."""
    monkeypatch.delenv(env_files.VARIABLE)
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "data").mkdir()
    monkeypatch.chdir(folder)
    yield folder
    env_files.apply(env_files.EnvFiles(), (), ())  # forgets what the test has put into the environment


def refused(text: str | bytes, name: str = ".env") -> str:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    return caught.value.message


def test_what_is_not_in_the_environment_is_read_from_the_file(project, monkeypatch):
    Path(".env").write_text(
        "ORCHARD_MODEL=pears\nexport ORCHARD_DATASET='plums' # ripe\n\nORCHARD_ACTOR=file\nORCHARD_CHANNEL=canary\n"
    )
    monkeypatch.setenv("ORCHARD_ACTOR", "environment")
    monkeypatch.setenv("ORCHARD_CHANNEL", "")

    loaded = settings.load()

    assert (loaded.model, loaded.dataset, loaded.actor) == ("pears", "plums", "environment")
    assert loaded.channel == "stable", "an empty variable of the environment unsets the file's"


def test_the_nearest_file_is_read_up_to_the_first_checkout(project, monkeypatch):
    (project.parent / ".env").write_text("ORCHARD_MODEL=outside\n")
    monkeypatch.chdir(project / "data")
    assert settings.load().model == "fruits"

    (project / ".env").write_text(
        "ORCHARD_MODEL=inside\nORCHARD_STORE_CREDENTIALS_FILE=keys/mine\nORCHARD_SIGNING_KEY_FILE=~/key.pem"
    )
    loaded = settings.load()
    assert loaded.model == "inside"
    assert loaded.store_credentials_file == project / "keys/mine", "a path in a file is relative to the file"
    assert loaded.signing_key_file == Path("~/key.pem").expanduser()

    (project / "data/.env").mkdir()  # as of `python -m venv .env`
    assert settings.load().model == "inside"
    (project / ".git").rmdir()
    (project / ".env").unlink()
    assert settings.load().model == "outside"


def test_a_link_is_followed_and_one_to_nowhere_is_an_error(project):
    Path("real").write_text("ORCHARD_MODEL=linked\n")
    Path(".env").symlink_to("real")
    assert settings.load().model == "linked"

    Path("real").unlink()
    with pytest.raises(SettingsError, match="a link to real, and there is no such file"):
        settings.load()


def test_each_wrong_line_is_named_at_once(project):
    text = """FOREIGN LINE 'of another program
ORCHARD_STORE_ULR=s3://a
ORCHARD_MODEL=a
ORCHARD_MODEL=b
ORCHARD_DATASET

ORCHARD_CHANNEL stable
ORCHARD_ACTOR=$USER
orchard_run_id=x
ORCHARD_ENV_FILE=.env.more
ORCHARD_STORE_REGION="eu
"""

    message = refused(text)

    assert message.splitlines() == [
        f"{project}/.env is invalid:",
        "  line 2: ORCHARD_STORE_ULR: no such setting; did you mean ORCHARD_STORE_URL?",
        "  line 4: ORCHARD_MODEL is set in line 3 already",
        "  line 5: ORCHARD_DATASET: expected ORCHARD_DATASET=VALUE",
        "  line 7: expected NAME=VALUE; a value with a quotation mark at its begin needs the same at its end",
        "  line 8: ORCHARD_ACTOR: variables and commands of the shell are not replaced here; write the value itself",
        "  line 9: orchard_run_id: no such setting; did you mean ORCHARD_RUN_ID?",
        "  line 10: ORCHARD_ENV_FILE is for the environment: a file of settings cannot name another one",
        "  line 11: expected NAME=VALUE; a value with a quotation mark at its begin needs the same at its end",
    ]
    assert not any(name in os.environ for name in ("ORCHARD_MODEL", "ORCHARD_STORE_ULR")), "nothing of it is used"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"ORCHARD_MODEL=\xff\xfe", "not text in UTF-8"),
        ('ORCHARD_MODEL="a\nORCHARD_DATASET=b"', "is a quotation mark missing"),
        ("ORCHARD_MODEL=a\0b", "control character"),
        (
            "ORCHARD_STORE_URL=orchard",
            r"expected s3://BUCKET, gs://BUCKET, az://CONTAINER or memory:// \(it is 'orchard', in .env, line 1\)",
        ),
        (
            "\nORCHARD_STORE_ENDPOINT=http://store:1\nORCHARD_STORE_CA_FILE=ca.pem",
            r"(?s)or unset the file\n.*ORCHARD_STORE_CA_FILE is set in .env, line 3; an empty ORCHARD_STORE_CA_FILE",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(project, text, sentence):
    message = refused(text)

    assert re.search(sentence, message), message


def test_a_file_that_cannot_be_read_is_an_error(project, monkeypatch):
    def denied(*args, **options):
        raise PermissionError(13, "Permission denied")

    Path(".env").touch()
    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(SettingsError, match=r"\.env cannot be read: Permission denied"):
        settings.load()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_the_file_of_another_user_is_passed_over_and_settings_says_so(project, capsys):
    Path("data/.env").write_text("ORCHARD_STORE_URL=s3://thief\n")
    os.chown("data/.env", 12345, -1)
    Path(".env").write_text("ORCHARD_MODEL=own\n")
    os.chdir("data")

    assert main(["settings"]) == 0

    out, err = capsys.readouterr()
    assert "data/.env is not read: it belongs to another user" in err
    assert "thief" not in out
    assert "own" in out


def test_another_file_or_none_can_be_named(project, monkeypatch):
    Path(".env").write_text("ORCHARD_MODEL=near\n")
    Path("other").write_text("ORCHARD_MODEL=other\n")
    for value, model in (("other", "other"), ("none", "fruits"), ("", "near")):
        monkeypatch.setenv(env_files.VARIABLE, value)
        assert settings.load().model == model
    monkeypatch.setenv(env_files.VARIABLE, "nowhere")
    with pytest.raises(SettingsError, match=r"names .*/nowhere, and there is no such file"):
        settings.load()


def test_a_changed_file_is_read_anew(project):
    Path(".env").write_text("ORCHARD_MODEL=first\nORCHARD_ACTOR=me\n")
    settings.load()
    Path(".env").write_text("ORCHARD_MODEL=second\n")

    loaded = settings.load()

    assert (loaded.model, loaded.actor) == ("second", None)


def test_settings_shows_where_each_value_comes_from(project, monkeypatch, capsys):
    Path(".env").write_text("AWS_SECRET_ACCESS_KEY=hush\nORCHARD_MODEL=pears\n")
    Path(".env").chmod(0o644)
    monkeypatch.setenv("ORCHARD_DATASET", "plums")

    assert main(["settings"]) == 0
    out, err = capsys.readouterr()
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()}
    assert rows["ORCHARD_MODEL"].startswith("pears .env, line 2 ")
    assert rows["ORCHARD_DATASET"].startswith("plums environment ")
    assert rows["ORCHARD_CHANNEL"].startswith("stable default ")
    assert "AWS_SECRET_ACCESS_KEY of .env is not read: keys belong in ORCHARD_STORE_CREDENTIALS_FILE" in err
    assert "chmod 600" in err
    assert "hush" not in out + err

    assert main(["settings", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == [str(project / ".env")]
    assert document["sources"]["ORCHARD_MODEL"] == ".env, line 2"

    Path(".env").write_text("ORCHARD_MODEL\n")
    assert main(["settings"]) == 3
    assert "line 1: ORCHARD_MODEL: expected" in capsys.readouterr().err
    assert main(["history"]) == 3


def test_children_of_a_verb_have_the_settings_of_its_file(project, tmp_path, capsys):
    @verb(examples="child")
    def child(reporter):
        code = "import os; print(os.environ['ORCHARD_MODEL'])"
        output = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        reporter.result({}, output.stdout)

    Path(".env").write_text("ORCHARD_MODEL=pears\n")

    assert main([], command=child) == 0
    assert "pears" in capsys.readouterr().out


def test_a_file_is_not_read_by_the_steps_of_the_demo(project, monkeypatch):
    (project / ".env").write_text(
        "ORCHARD_STORE_PROFILE=mine\nORCHARD_TRUSTED_KEYS_FILE=mine.pem\nORCHARD_MODEL=mine\n"
    )
    settings.load()

    monkeypatch.setattr(os, "environ", step_environment("drawn"))
    loaded = settings.load()

    assert (loaded.store_profile, loaded.trusted_keys_file, loaded.model) == ("default", None, "fruits")


@pytest.fixture
def stores(project: Path) -> Path:
    """A project with the settings of two stores."""
    Path(".env").write_text("ORCHARD_MODEL=pears\nORCHARD_STORE_REGION=eu-west-1\n")
    Path(".env.laptop").write_text("ORCHARD_STORE_URL=s3://laptop\nORCHARD_STORE_REGION=\n")
    Path(".env.staging").write_text("ORCHARD_STORE_URL=s3://staging\n")
    Path(".env.example").write_text("ORCHARD_STORE_URL=s3://copy-me\n")
    return project


def test_the_values_of_the_chosen_file_win_over_those_of_env(stores, monkeypatch, capsys):
    assert main(["use", "laptop"]) == 0
    assert "laptop: s3://laptop" in capsys.readouterr().out
    monkeypatch.chdir("data")
    loaded = settings.load()
    assert (loaded.store_url, loaded.store_region, loaded.model) == ("s3://laptop", "us-east-1", "pears")
    assert main(["settings"]) == 0
    assert "laptop is in use: `orchard use` chose it" in capsys.readouterr().out

    assert main(["use", "staging"]) == 0
    loaded = settings.load()
    assert (loaded.store_url, loaded.store_region) == ("s3://staging", "eu-west-1")

    assert main(["use", "--none"]) == 0
    assert settings.load().store_url is None
    assert main(["use", "--none"]) == 0, "again changes nothing"


def test_use_lists_the_names_and_marks_the_chosen_one(stores, capsys):
    Path(".env.broken").write_text("ORCHARD_STORE_ULR=s3://x\n")
    assert main(["use", "staging"]) == 0
    capsys.readouterr()

    assert main(["use"]) == 0

    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row.split()[-1] for row in rows] == [".env.broken", ".env.laptop", ".env.staging"]
    assert "did you mean ORCHARD_STORE_URL?" in rows[0]
    assert rows[1:] == ["laptop s3://laptop .env.laptop", "* staging s3://staging .env.staging"]
    assert main(["use", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["chosen"] == "staging"
    assert [item["store"] for item in document["names"]] == [None, "s3://laptop", "s3://staging"]


@pytest.mark.parametrize("name", ["nowhere", "example", "../.env", "broken"])
def test_a_name_that_cannot_be_used_is_refused_and_the_choice_stays(stores, capsys, name):
    Path(".env.broken").write_text("ORCHARD_STORE_ULR=s3://x\n")
    assert main(["use", "staging"]) == 0

    assert main(["use", name]) == 3

    assert "error: " in capsys.readouterr().err
    assert settings.load().store_url == "s3://staging"


def test_a_chosen_file_that_is_missing_is_an_error_of_every_verb_until_another_choice(stores, capsys):
    assert main(["use", "staging"]) == 0
    Path(".env.staging").unlink()

    assert main(["history"]) == 3
    err = capsys.readouterr().err
    assert "`orchard use` chose staging: there is no file" in err
    assert "(laptop), or none with `orchard use --none`" in err
    assert main(["use"]) == 0
    assert "missing" in capsys.readouterr().out
    Path(".orchard/use").write_text("two words\n")
    assert main(["history"]) == 3
    assert main(["use", "--none"]) == 0
    assert settings.load().store_url is None


def test_the_result_of_a_change_names_the_store_in_use_unless_the_environment_names_another(
    stores, monkeypatch, capsys
):
    class Pointer:
        channel, model, previous, version, generation = "stable", "pears", 1, 2, 3

    change = SimpleNamespace(pointer=Pointer(), changed=True)
    monkeypatch.setattr("orchard.documents.encode", lambda pointer: {})
    assert main(["use", "staging"]) == 0
    settings.load()
    capsys.readouterr()

    _print_change(Reporter(), change, "promote")
    assert capsys.readouterr().out.splitlines()[0] == "stable of pears in staging: version 1 → version 2 (generation 3)"

    monkeypatch.setenv("ORCHARD_STORE_URL", "s3://another")
    settings.load()
    _print_change(Reporter(as_json=True), change, "promote")
    assert json.loads(capsys.readouterr().out)["store_name"] is None
    assert main(["use", "staging"]) == 0
    assert "`unset ORCHARD_STORE_URL`" in capsys.readouterr().err
    assert main(["settings"]) == 0
    assert "the environment wins over it: ORCHARD_STORE_URL" in capsys.readouterr().out
