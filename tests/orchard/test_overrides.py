"""YAML files of a project: strict, merged section by section, changed only where there is a key."""

from __future__ import annotations

import copy

import pytest

from orchard.errors import ParamsError
from orchard.overrides import deep_merge, read_yaml, set_by_path

DOCUMENT = {"data": {"name": "fruits"}, "train": {"epochs": 30, "optimizer": {"name": "adam"}}}


def changed(override):
    document = copy.deepcopy(DOCUMENT)
    set_by_path(document, override)
    return document


def test_one_value_is_changed_and_the_others_stay():
    assert changed("train.optimizer.name=sgd") == deep_merge(DOCUMENT, {"train": {"optimizer": {"name": "sgd"}}})
    assert changed("train.epochs=3")["train"] == {"epochs": 3, "optimizer": {"name": "adam"}}
    assert changed(" data ={name: a=b}")["data"] == {"name": "a=b"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epcohs=3", r"^train\.epcohs: no such key; did you mean epochs\?$"),
        ("trains.epochs=3", r"^trains: no such key; did you mean train\?$"),
        ("train.optimizer.zzz=3", r"^train\.optimizer\.zzz: no such key$"),
        ("data.name.first=3", r"data\.name is a value, not a section"),
        ("train.epochs", "is not KEY=VALUE"),
        ("=3", "is not KEY=VALUE"),
        ("train..epochs=3", "is not KEY=VALUE"),
        ("train.epochs=[", r"^the value of train\.epochs is not valid YAML, line 1"),
    ],
)
def test_what_changes_no_value_is_refused(override, message):
    with pytest.raises(ParamsError, match=message):
        changed(override)


def test_merge_replaces_values_and_lists_and_changes_neither_side():
    base, over = {"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"c": [3]}, "d": {"e": 2}, "f": None}
    copies = copy.deepcopy((base, over))

    assert deep_merge(base, over) == {"a": {"b": 1, "c": [3]}, "d": {"e": 2}, "f": None}
    assert (base, over) == copies


def test_repeated_key_is_refused_with_its_place():
    with pytest.raises(
        ParamsError, match=r"^params\.yaml is not valid YAML, line 2, column 1: the key 'a' is repeated$"
    ):
        read_yaml("a: 1\na: 2\n", "params.yaml")
