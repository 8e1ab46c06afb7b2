from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.documents import MAX_BYTES, canonical_json, decode, digest, encode, parse, strict_dataclass
from orchard.errors import DataError, IntegrityError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=5)


@given(DOCUMENTS)
def test_canonical_form_is_read_back_and_written_the_same(document):
    body = canonical_json(document)

    assert parse(body, "it") == document
    assert canonical_json(parse(body, "it")) == body
    assert digest(json.loads(json.dumps(document, indent=3))) == digest(document)


def parsed(body):
    with suppress(IntegrityError):
        return parse(body, "it")
    return {}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_an_integrity_error(body):
    assert isinstance(parsed(body), dict)


@given(DOCUMENTS, st.data())
def test_one_wrong_byte_never_ends_in_another_kind_of_error(document, data):
    body = bytearray(canonical_json(document))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))

    assert isinstance(parsed(bytes(body)), dict)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"[1]", "expected an object"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b'{"a":1e999}', "too large a number"),
        (b'{"a":1,"a":2}', "the same name twice"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a":' + b"[" * 100_000, "not valid JSON"),
        (b'{"a":' + b"1" * 5000 + b"}", "not valid JSON"),
        (b" " * (MAX_BYTES + 1), "at most 1048576 are read"),
        (b"", "not valid JSON"),
    ],
    ids=lambda value: str(value[:12]),
)
def test_what_is_no_strict_json_object_is_refused_in_a_sentence(body, sentence):
    with pytest.raises(IntegrityError, match=sentence):
        parse(body, "the thing")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, b"x", "\ud800"])
def test_what_has_no_json_form_is_not_written(value):
    with pytest.raises(DataError, match="cannot be written as JSON"):
        canonical_json({"a": value})


@strict_dataclass
class Inner:
    count: int


@strict_dataclass
class Outer:
    format: int
    name: str
    inner: tuple[Inner, ...]
    share: dict[str, float]


GOOD = {"format": 1, "name": "x", "inner": [{"count": 3}], "share": {"a": 0.5}}


def test_dataclass_is_made_of_a_document_and_back():
    found = decode(Outer, GOOD, "it")

    assert found == Outer(1, "x", (Inner(3),), {"a": 0.5})
    assert encode(found) == GOOD


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "has format 2; this version of Orchard reads format 1"),
        ({"format": True}, "has format True"),
        ({"format": None}, "has format None"),
        ({"name": 3}, "name: Input should be a valid string"),
        ({"inner": [{"count": "3"}]}, r"inner\.0\.count"),
        ({"inner": [{"count": 3.0}]}, r"inner\.0\.count"),
        ({"inner": [{"count": True}]}, r"inner\.0\.count"),
        ({"inner": [{"count": 3, "more": 1}]}, r"inner\.0\.more"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_field_that_is_not_what_it_must_be_is_named(change, sentence):
    with pytest.raises(IntegrityError, match=sentence):
        decode(Outer, {**GOOD, **change}, "it")


def test_every_missing_field_is_named():
    with pytest.raises(IntegrityError, match=r"name: .*; inner: .*; share: "):
        decode(Outer, {"format": 1}, "it")
