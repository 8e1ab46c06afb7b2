"""Names of channels, and the setting that lists them."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard import layout, settings
from orchard.channel_names import DEFAULT_CHANNELS, RESERVED, channel_name_problem, parse_channels, require_channel_name
from orchard.cli import main
from orchard.errors import DataError, SettingsError

PARTS = (st.sampled_from("az"), st.text("az09-", max_size=30), st.sampled_from("az09"))
NAMES = st.tuples(*PARTS).map("".join).filter(lambda name: name not in RESERVED)


@pytest.mark.parametrize("name", [*DEFAULT_CHANNELS, "a", "staging", "customer-7", "x" * 32, "publish", "true"])
def test_a_name_is_letters_digits_and_hyphens(name):
    assert require_channel_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "7", "07", "7a", "-a", "a-", "A", "a_b", "a b", "a/b", "a.b", "..", "ä", "a\n", "x" * 33, "a,b", "a:predict"],
)
def test_another_name_is_refused_with_what_is_expected(name):
    with pytest.raises(DataError, match="expected 1 to 32 lower-case letters"):
        require_channel_name(name)


@pytest.mark.parametrize("name", RESERVED)
def test_a_word_that_means_something_else_is_refused_with_the_reason(name):
    assert RESERVED[name] in channel_name_problem(name)


@given(NAMES, st.integers(1, 10**12 - 1))
@hypothesis.settings(max_examples=30)
def test_every_valid_name_is_read_back_from_its_keys(name, number):
    assert channel_name_problem(name) == ""
    assert not name.isdecimal()
    assert layout.name_of_channel_key(layout.channel("m", name)) == name
    for action in ("promote", "rollback"):
        assert layout.parts_of_history_key(layout.history_entry("m", number, name, action)) == (number, name, action)


@pytest.mark.parametrize(
    "key",
    ["models/m/channels/a/b.json", "models/m/channels/A.json", "models/m/channels/-.json", "models/m/a.json", "x"],
)
def test_other_keys_name_no_channel(key):
    assert layout.name_of_channel_key(key) is None


def test_the_setting_is_a_list_with_commas(monkeypatch, capsys):
    assert settings.load().channels == ("stable", "canary", "shadow")

    monkeypatch.setenv("ORCHARD_CHANNELS", " staging, stable ,customer-7\n")
    monkeypatch.setenv("ORCHARD_CHANNEL", "staging")
    loaded = settings.load()

    assert (loaded.channels, loaded.channel) == (("staging", "stable", "customer-7"), "staging")
    assert main(["settings", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ORCHARD_CHANNELS"] == "staging,stable,customer-7"


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("stable,Canary", "'Canary' is not a valid name of a channel"),
        ("stable,", "'' is not a valid name of a channel"),
        ("stable,latest", "'latest' is not a valid name of a channel: it stands for the newest version"),
        ("stable,7", "'7' is not a valid name of a channel"),
        ("stable,a,a", "it names a twice"),
        ("canary,shadow", "stable is missing"),
        ('["stable"]', "'[\"stable\"]' is not a valid name of a channel"),
    ],
)
def test_a_wrong_list_is_named_with_its_variable(monkeypatch, names, sentence):
    monkeypatch.setenv("ORCHARD_CHANNELS", names)

    with pytest.raises(SettingsError) as caught:
        settings.load()

    assert f"ORCHARD_CHANNELS: {sentence}" in caught.value.message


def test_a_channel_that_the_list_does_not_have_is_a_wrong_setting(monkeypatch):
    monkeypatch.setenv("ORCHARD_CHANNEL", "stablee")

    with pytest.raises(SettingsError, match=r"'stablee', which ORCHARD_CHANNELS does not have.*did you mean stable\?"):
        settings.load()


@given(st.lists(NAMES, unique=True, max_size=5))
@hypothesis.settings(max_examples=20)
def test_a_list_that_is_written_is_read_back(names):
    every = tuple(dict.fromkeys(("stable", *names)))
    assert parse_channels(",".join(every)) == parse_channels(every) == every
