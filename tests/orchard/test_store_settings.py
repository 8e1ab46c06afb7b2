"""Addresses and buckets as beginners write them: the setting says what is wrong before any request."""

from __future__ import annotations

import pytest

from orchard import settings
from orchard.errors import SettingsError


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"STORE_URL": "orchard"}, "expected s3://BUCKET"),
        ({"STORE_URL": "s3://orchard/models"}, "without a folder"),
        ({"STORE_URL": "https://orchard.s3.amazonaws.com"}, "expected s3://BUCKET"),
        ({"STORE_URL": "s3://key:pass-word@orchard"}, "keys belong in a file"),
        ({"STORE_URL": "s3://my bucket"}, "letters, digits"),
        ({"STORE_URL": "gs://orchard/models"}, "expected gs://BUCKET: a whole bucket, without a folder"),
        ({"STORE_URL": "az://account/orchard"}, "expected az://CONTAINER: a whole bucket, without a folder"),
        ({"STORE_URL": "abfs://orchard"}, "expected s3://BUCKET, gs://BUCKET, az://CONTAINER"),
        ({"STORE_URL": "az://orchard", "STORE_CREDENTIALS_FILE": "keys"}, "Azure has no such file"),
        ({"STORE_ENDPOINT": "127.0.0.1:8333"}, "http:// or https:// is missing"),
        ({"STORE_ENDPOINT": "store.example"}, "http:// or https:// is missing"),
        ({"STORE_ENDPOINT": "s3://store"}, "expected http"),
        ({"STORE_ENDPOINT": "http://key:pass-word@store:1"}, "without a name and a password"),
        ({"STORE_ENDPOINT": "http://sto re:1"}, "without white space"),
        ({"STORE_ENDPOINT": "http://store:99999"}, "Port out of range"),
        ({"STORE_ENDPOINT": "http://store:0"}, "port"),
        ({"STORE_ENDPOINT": "http://store:port"}, "Port"),
        ({"STORE_ENDPOINT": "http://store:1?x=1"}, "expected http"),
        ({"STORE_ENDPOINT": "http://store:1/orchard", "STORE_URL": "s3://orchard"}, "names the bucket orchard too"),
        ({"STORE_ENDPOINT": "http://store:1/s3/orchard/", "STORE_URL": "s3://orchard"}, "names the bucket orchard too"),
        (
            {"STORE_ENDPOINT": "https://orchard.s3.eu-west-1.amazonaws.com", "STORE_URL": "s3://orchard"},
            "names the bucket orchard too",
        ),
        ({"STORE_ENDPOINT": "http://store:1", "STORE_CA_FILE": "ca.pem"}, "is for a store with TLS"),
    ],
)
def test_an_address_that_cannot_be_right_is_refused_with_what_is_expected(monkeypatch, variables, sentence):
    for name, value in variables.items():
        monkeypatch.setenv(f"ORCHARD_{name}", value)

    with pytest.raises(SettingsError, match=sentence) as caught:
        settings.load()

    assert "pass-word" not in caught.value.message


@pytest.mark.parametrize("address", ["http://store:8333", "http://store:8333/", " http://store:8333\n"])
def test_a_slash_and_white_space_around_an_address_are_no_part_of_it(monkeypatch, address):
    monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", address)
    monkeypatch.setenv("ORCHARD_STORE_URL", "s3://orchard/\n")
    monkeypatch.setenv("ORCHARD_STORE_REGION", " eu-west-1 ")

    loaded = settings.load()

    assert (loaded.store_endpoint, loaded.store_url, loaded.store_region) == (
        "http://store:8333",
        "s3://orchard",
        "eu-west-1",
    )


@pytest.mark.parametrize(
    "address", ["https://project.example/storage/v1/s3", "http://orchard.example:9000", "http://[::1]:1"]
)
def test_addresses_that_can_be_right_are_accepted(monkeypatch, address):
    monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", address)
    monkeypatch.setenv("ORCHARD_STORE_URL", "s3://orchard")

    assert settings.load().store_endpoint == address
