from __future__ import annotations

import pytest

from orchard import layout
from orchard.dataset import MAX_INDEX_BYTES, Dataset
from orchard.documents import canonical_json, digest, parse
from orchard.errors import ConflictError, DataError, IntegrityError

INDEX = {"format": 1, "name": "fruits", "classes": ["Apple", "Plum"], "shards": [], "counts": {}}


def commit(store, number, parent, **options):
    index = {**INDEX, "number": number}
    return Dataset(store, "fruits").commit(index, f"outs: {number}\n", parent=parent, created_by="anna", **options)


def test_first_version_becomes_current(memory):
    made = commit(memory, 1, None, validation="c" * 64)

    found = Dataset(memory, "fruits").current()
    assert made.created
    assert made.version == found
    assert (found.version, found.parent, found.dvc, found.validation) == (1, None, "outs: 1\n", "c" * 64)
    assert found.digest == digest({**INDEX, "number": 1})
    assert parse(memory.get("datasets/fruits/current.json").body, "it") == {"version": 1, "digest": found.digest}


def test_nothing_is_current_before_the_first_ingest(memory):
    assert Dataset(memory, "fruits").current() is None
    assert Dataset(memory, "fruits").find("0" * 64) is None
    assert Dataset(memory, "fruits").versions() == []


def test_required_version_is_the_current_one_or_the_named_one(memory):
    with pytest.raises(DataError, match="has no dataset 'fruits'"):
        Dataset(memory, "fruits").require()
    commit(memory, 1, None)
    commit(memory, 2, 1)

    assert [Dataset(memory, "fruits").require(number).version for number in (None, 1, 2)] == [2, 1, 2]
    with pytest.raises(DataError, match="has no version 3"):
        Dataset(memory, "fruits").require(3)


def test_same_digest_as_the_current_version_is_that_version(memory):
    commit(memory, 1, None)
    commit(memory, 2, 1)

    for parent in (1, 2, None):
        again = commit(memory, 2, parent)
        assert (again.version.version, again.created) == (2, False)
    assert Dataset(memory, "fruits").versions() == [1, 2]


def test_work_on_an_outdated_version_is_refused_and_nothing_is_written(memory):
    commit(memory, 1, None)
    commit(memory, 2, 1)

    for parent in (None, 1):
        with pytest.raises(ConflictError, match="version 2 is current, this change started from version") as caught:
            commit(memory, 3, parent)
        assert "again" in caught.value.hint
    assert Dataset(memory, "fruits").versions() == [1, 2]


def test_every_version_is_found_by_number_and_by_digest(memory):
    made = [commit(memory, number, number - 1 or None).version for number in (1, 2, 3)]
    commit(memory, 1, 3)  # back to the first content

    assert Dataset(memory, "fruits").version(2) == made[1]
    assert Dataset(memory, "fruits").find(made[1].digest).version == 2
    assert Dataset(memory, "fruits").find(made[0].digest).version == 4
    assert Dataset(memory, "fruits").find("0" * 64) is None
    with pytest.raises(DataError, match="has no version 9"):
        Dataset(memory, "fruits").version(9)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"index": {"number": 9}}, "the digest of its index is not"),
        ({"version": 2}, "is the document of version 2"),
        ({"format": 3}, "has format 3"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_changed_version_is_refused(memory, change, sentence):
    commit(memory, 1, None)
    key = layout.dataset_version("fruits", 1)
    memory.put(key, canonical_json({**parse(memory.get(key).body, key), **change}))

    with pytest.raises(IntegrityError, match=sentence):
        Dataset(memory, "fruits").current()


def test_pointer_with_another_digest_is_refused(memory):
    commit(memory, 1, None)
    memory.put(layout.dataset_current("fruits"), canonical_json({"version": 1, "digest": "0" * 64}))

    with pytest.raises(IntegrityError, match="another digest"):
        Dataset(memory, "fruits").current()


def test_index_that_is_too_large_is_refused_before_anything_is_written(memory):
    with pytest.raises(DataError, match=f"at most {MAX_INDEX_BYTES}"):
        Dataset(memory, "fruits").commit({"x": "y" * MAX_INDEX_BYTES}, "", parent=None, created_by="anna")

    assert list(memory.list("")) == []
