"""data/schema.yaml is read strictly, and has rules for every dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchard.errors import ParamsError
from training.data import schema

SHIPPED = Path(__file__).resolve().parents[2] / "data" / "schema.yaml"


def load(tmp_path, text):
    (tmp_path / "schema.yaml").write_text(text)
    return schema.load(tmp_path / "schema.yaml")


def test_shipped_schema_has_the_real_photos_and_defaults_for_others():
    loaded = schema.load(SHIPPED)

    assert len(loaded.rules("fruits").known) == 37
    assert len(loaded.rules("workshop").known) == 16
    assert set(loaded.rules("workshop").known) < set(loaded.rules("fruits").known)
    assert loaded.rules("own") == loaded.rules("synthetic") == loaded.defaults
    assert loaded.defaults.known is None
    assert (loaded.source("fruits"), loaded.source("shop"), loaded.source("farm")) == ("turntable", "shop", "farm")
    assert loaded.defaults == schema.SchemaRules(), "the defaults without a file are those of the file"


def test_section_is_merged_with_the_defaults(tmp_path):
    text = "defaults: {photos: {train: 7, test: 3}, balance: 2}\ndatasets: {farm: {photos: {train: 50}}}"
    rules = load(tmp_path, text).rules("farm")

    assert (rules.photos.train, rules.photos.test, rules.balance) == (50, 3, 2)


def test_without_a_file_the_defaults_hold(tmp_path):
    assert schema.load(tmp_path / "nothing.yaml") == schema.Schema()


WRONG = {
    "defaultz: {}": "defaultz: no such key; did you mean defaults?",
    "defaults: {balanc: 3}": "defaults.balanc: no such key; did you mean balance?",
    "datasets: {farm: {photos: {tain: 3}}}": "datasets.farm.photos.tain: no such key; did you mean train?",
    "defaults: {balance: many}": "defaults.balance",
    "defaults: {balance: 0.5}": "greater than or equal to 1",
    "defaults: {photos: {train: -1}}": "defaults.photos.train",
    "defaults: {photos: {train: 3.5}}": "defaults.photos.train",
    "defaults: {side: {min: 50, max: 20}}": "min 50 is above max 20",
    "datasets: {farm: {classes: [Kiwi]}}": "two or more distinct names",
    "datasets: {farm: {classes: [Kiwi, Kiwi]}}": "two or more distinct names",
    "datasets: {farm: {classes: [Kiwi, 7]}}": "datasets.farm.classes",
    "datasets: {farm: {classes: some}}": "datasets.farm.classes",
    "format: 2": "format",
    "sources: [fruits]": "sources",
    "just text": "the file",
    "defaults: {balance: 3}\ndefaults: {balance: 4}": "is repeated",
    "defaults: [": "not valid YAML",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_typo_wrong_type_and_wrong_value_are_reported(tmp_path, text, message):
    with pytest.raises(ParamsError) as error:
        load(tmp_path, text)

    assert message in error.value.message


def test_all_problems_are_listed_at_once(tmp_path):
    with pytest.raises(ParamsError) as error:
        load(tmp_path, "srces: {}\ndefaults: {balance: x, pixls: 3}")

    assert all(word in error.value.message for word in ("srces", "balance", "pixls"))
