"""Files of keys and of certificate authorities as beginners write them: refused with what is expected, before a request."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchard.errors import SettingsError, StoreError
from orchard.store import open_store
from tests.orchard.answering_store import ACCESS, SECRET, settings_for

pytestmark = pytest.mark.usefixtures("impatient_store")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "its profiles: none"),
        (
            "[work]\naws_access_key_id = a\naws_secret_access_key = b\n",
            "with the profile [default]; its profiles: work",
        ),
        ("[default]\naws_access_key_id = a\n", "lacks aws_secret_access_key"),
        (
            "[default]\naws_access_key_id =\naws_secret_access_key =\n",
            "lacks aws_access_key_id and aws_secret_access_key",
        ),
        ('[default]\naws_access_key_id = "a"\naws_secret_access_key = b\n', "aws_access_key_id .* is in quotes"),
        ("[default]\naws_access_key_id = a\naws_secret_access_key = b c # mine\n", "has white space"),
        ("[default]\naws_access_key_id = a\naws_secret_access_key = b\n  c\n", "has white space"),
        ("[default]\naws_access_key_id = ä\naws_secret_access_key = b\n", "has a letter that no key has"),
        ("aws_access_key_id = a\naws_secret_access_key = hidden\n", "is not a credentials file"),
        ("W2RlZmF1bHRd", "is not a credentials file"),
        (b"\xff\xfe[\x00d\x00", "is not a credentials file"),
    ],
)
def test_a_file_of_keys_that_cannot_be_right_is_refused_before_a_request(keys, there, text, sentence):
    keys.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(SettingsError) as caught:
        open_store(settings_for(keys, there.port))

    assert caught.match(sentence.replace("[default]", r"\[default\]"))
    assert str(keys) in caught.value.message
    assert "aws_secret_access_key = …" in caught.value.hint
    assert "hidden" not in caught.value.message
    assert not there.requests


def test_windows_line_ends_and_empty_lines_are_no_part_of_a_key(keys, there):
    text = f"\ufeff\r\n[default]\r\naws_access_key_id = {ACCESS}  \r\naws_secret_access_key={SECRET}\r\n\r\n"
    keys.write_bytes(text.encode())
    there.answer(200, b"x", ETag='"0"', Last_Modified="Tue, 24 Nov 2026 00:00:00 GMT")

    assert open_store(settings_for(keys, there.port)).get("key").body == b"x"


def test_without_any_credentials_the_way_to_give_some_is_named(there, monkeypatch):
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    settings = settings_for(None, there.port)
    with pytest.raises(StoreError) as caught:
        open_store(settings).get("key")
    assert caught.value.code == "NoCredentials"
    assert "ORCHARD_STORE_CREDENTIALS_FILE" in caught.value.hint

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half")
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not"):
        open_store(settings)
    assert not there.requests


def test_keys_that_are_being_written_leave_those_before_in_use(keys, there, monkeypatch):
    from orchard.store import credentials

    monkeypatch.setattr(credentials, "CREDENTIALS_TTL", timedelta())
    there.answer(200, b"x", ETag='"0"', Last_Modified="Tue, 24 Nov 2026 00:00:00 GMT")
    store = open_store(settings_for(keys, there.port))
    assert store.get("key").body == b"x"

    keys.write_text("[defau")

    assert store.get("key").body == b"x"


@pytest.mark.parametrize(
    ("body", "sentence", "hint"),
    [
        (None, "cannot be read", "name the PEM file"),
        (b"", "no certificate", "BEGIN CERTIFICATE"),
        (b"\x30\x82\x01", "no certificate", "-inform der"),
        (b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n", "no certificate", "private key"),
        (b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "damaged", "openssl"),
        (b"-----BEGIN CERTIFICATE-----\nhalf", "damaged", "openssl"),
    ],
)
def test_a_file_of_authorities_that_cannot_be_right_is_refused(keys, tmp_path, body, sentence, hint, monkeypatch):
    path = tmp_path / "ca.pem"
    if body is not None:
        path.write_bytes(body)
    with pytest.raises(SettingsError, match=sentence) as caught:
        open_store(settings_for(keys, 1, "https", store_ca_file=path))
    assert "ORCHARD_STORE_CA_FILE" in caught.value.message
    assert str(path) in caught.value.message
    assert hint in caught.value.hint

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with pytest.raises(SettingsError, match=rf"REQUESTS_CA_BUNDLE.*{sentence}"):
        open_store(settings_for(keys, 1, "https"))
    open_store(settings_for(keys, 1))  # without TLS, it matters to nobody
