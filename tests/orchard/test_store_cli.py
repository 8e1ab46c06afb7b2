"""What the command reports of a store: the embedded one with a wrong key, bucket and clock, for people and for programs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from orchard.cli.command import main
from orchard.errors import StoreDenied
from orchard.settings import load
from orchard.signing import create_pair
from orchard.store.clouds import bucket_of
from orchard.store.s3 import send_request


@pytest.fixture
def stored(seaweed_environment, monkeypatch, tmp_path):
    pair = create_pair(tmp_path / "pair")
    keys = {"ORCHARD_TRUSTED_KEYS_FILE": str(pair.public), "ORCHARD_SIGNING_KEY_FILE": str(pair.private)}
    for name, value in {**seaweed_environment, **keys}.items():
        monkeypatch.setenv(name, value)


def report(capsys, *arguments) -> dict[str, str]:
    assert main([*arguments, "--json"]) == 6, capsys.readouterr().out
    return json.loads(capsys.readouterr().out)["error"]


VERBS = (("store", "status"), ("versions",), ("history",), ("promote", "1", "--why", "x"))


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_key_bucket_or_address_has_its_code_in_json(stored, monkeypatch, tmp_path, capsys, verb):
    wrong = tmp_path / "wrong"
    wrong.write_text("[default]\naws_access_key_id = nobody-here\naws_secret_access_key = nothing\n")
    with monkeypatch.context() as changed:
        changed.setenv("ORCHARD_STORE_CREDENTIALS_FILE", str(wrong))
        error = report(capsys, *verb)
        assert (error["kind"], error["code"]) == ("StoreDenied", "InvalidAccessKeyId")
        assert "does not know the access key" in error["hint"]
        assert "nobody-here" not in json.dumps(error)
    with monkeypatch.context() as changed:
        changed.setenv("ORCHARD_STORE_URL", "s3://nowhere-at-all")
        assert report(capsys, *verb)["code"] == "NoSuchBucket"
    with monkeypatch.context() as changed:
        changed.setenv("ORCHARD_STORE_ENDPOINT", "http://127.0.0.1:1")
        assert report(capsys, *verb)["code"] == "ConnectionRefused"


def test_a_clock_that_is_wrong_is_named(stored, monkeypatch):
    """The store's answer is real; the client is the one whose clock a test can shift."""
    import botocore.auth

    right = botocore.auth.get_current_datetime
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *args, **more: right(*args, **more) + timedelta(minutes=20)
    )

    with pytest.raises(StoreDenied) as caught:
        send_request(load(), "look", lambda s3: s3.list_objects_v2(Bucket=bucket_of(load())))

    assert caught.value.code == "RequestTimeTooSkewed"
    assert "RequestTimeTooSkewed: " in caught.value.message
    assert "date -u" in caught.value.hint
