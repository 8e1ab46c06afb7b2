"""Reading a dataset folder: the index is accepted only if it is consistent, the shards only if they match it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard import documents
from orchard.cli import main
from orchard.errors import DataError, IntegrityError
from tests import photo_files
from training.data import shards
from training.data.ingest import shard_writer


@pytest.fixture
def folder(workspace, monkeypatch):
    """A dataset of 32 photos in three shards."""
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 40_000)
    photo_files.fill(workspace / "farm")
    assert main(["ingest", "farm", "--dataset", "farm", "--no-push"]) == 0
    return workspace / "data" / "farm"


def test_index_names_exactly_what_is_there(folder):
    index = shards.read_index(folder)

    assert len(index.shards) > 1
    assert index.rows == 32
    assert index.classes == photo_files.CLASSES
    assert index.counts == {
        "train": dict.fromkeys(photo_files.CLASSES, 6),
        "test": dict.fromkeys(photo_files.CLASSES, 2),
    }
    assert index.digest == documents.digest(json.loads((folder / "index.json").read_text()))


def test_iterating_yields_every_photo_once_with_the_requested_columns(folder):
    everything = [row for batch in shards.iterate(folder, check=True) for row in batch.to_pylist()]
    names = [row["image"]["path"] for row in everything]
    labels = [batch.column_names for batch in shards.iterate(folder, columns=["label"])]

    assert list(everything[0]) == list(shards.COLUMNS)
    assert len(everything) == 32
    assert all(documents.sha256_hex(row["image"]["bytes"]) == row["sha256"] for row in everything)
    assert labels == [["label"]] * len(labels)
    assert sorted(names) != names  # shards hold them in random order


def test_splits_are_filtered_and_the_column_shows_only_if_it_is_requested(folder):
    test = list(shards.iterate(folder, columns=["label", "width"], splits=["test"]))
    train = list(shards.iterate(folder, columns=["split"], splits=["train"]))

    assert sum(batch.num_rows for batch in test) == 8
    assert {name for batch in test for name in batch.column_names} == {"label", "width"}
    assert {value for batch in train for value in batch["split"].to_pylist()} == {"train"}
    assert sum(batch.num_rows for batch in train) == 24


def test_nested_column_and_small_batches(folder):
    batches = list(shards.iterate(folder, columns=["image.path", "label"], rows=5))

    assert max(batch.num_rows for batch in batches) <= 5
    assert all(set(row["image"]) == {"path"} for batch in batches for row in batch.to_pylist())


def test_flipped_byte_in_a_shard_is_found_before_its_first_row(folder):
    path = folder / shards.read_index(folder).shards[1].path
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)

    batches = shards.iterate(folder, check=True)
    assert next(batches).num_rows
    with pytest.raises(IntegrityError, match="is damaged"):
        list(batches)


@pytest.mark.parametrize("check", [True, False])
def test_missing_or_mangled_shard_is_an_integrity_error(folder, check):
    path = folder / shards.read_index(folder).shards[0].path
    body = path.read_bytes()

    path.write_bytes(body[:-100])
    with pytest.raises(IntegrityError):
        list(shards.iterate(folder, check=check))
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        list(shards.iterate(folder, check=check))


def test_folder_without_a_dataset_says_how_to_make_one(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(DataError, match="no dataset in") as error:
            shards.read_index(folder)
        assert "orchard ingest" in error.value.hint


GOOD = {
    "format": 1,
    "name": "farm",
    "classes": ["Kiwi", "Lemon"],
    "shards": [{"path": f"0000-{'a' * 12}.parquet", "md5": "b" * 32, "sha256": "a" * 64, "bytes": 9, "rows": 3}],
    "counts": {"train": {"Kiwi": 1, "Lemon": 1}, "test": {"Kiwi": 1, "Lemon": 0}},
}


def changed(**values):
    return {**GOOD, **values}


def shard(**values):
    return changed(shards=[{**GOOD["shards"][0], **values}])


BROKEN = {
    "another format": changed(format=2),
    "an unknown key": changed(extra=1),
    "a missing key": {key: value for key, value in GOOD.items() if key != "counts"},
    "unsorted classes": changed(classes=["Lemon", "Kiwi"]),
    "a class twice": changed(classes=["Kiwi", "Kiwi"]),
    "counts that do not add up": changed(counts={"train": {"Kiwi": 1, "Lemon": 1}, "test": {"Kiwi": 0, "Lemon": 0}}),
    "negative counts": changed(counts={"train": {"Kiwi": 5, "Lemon": -1}, "test": {"Kiwi": -1, "Lemon": 0}}),
    "counts of another class": changed(counts={"train": {"Kiwi": 3}, "test": {"Kiwi": 0, "Lemon": 0}}),
    "a third split": changed(counts={**GOOD["counts"], "val": {"Kiwi": 0, "Lemon": 0}}),
    "a shard outside the folder": shard(path=f"../0000-{'a' * 12}.parquet"),
    "a shard that is named after other bytes": shard(path=f"0000-{'c' * 12}.parquet"),
    "an invalid checksum": shard(md5="B" * 32),
    "a shard without rows": shard(rows=0),
    "a count in text": shard(rows="3"),
    "the same shard twice": changed(shards=GOOD["shards"] * 2),
}


@pytest.mark.parametrize("document", BROKEN.values(), ids=BROKEN.keys())
def test_index_that_contradicts_itself_is_refused(document):
    assert shards.parse_index(json.dumps(GOOD).encode(), "it").rows == 3
    with pytest.raises(IntegrityError):
        shards.parse_index(json.dumps(document).encode(), "it")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(sorted(GOOD)), value=JSON, cut=st.integers(0, 400), whole=st.booleans())
def test_no_document_crashes_the_reader(key, value, cut, whole):
    body = json.dumps({**GOOD, key: value}).encode()
    try:
        index = shards.parse_index(body if whole else body[:cut], "it")
    except IntegrityError:
        return
    assert index.document == json.loads(body)
    assert sum(shard.rows for shard in index.shards) == index.rows
