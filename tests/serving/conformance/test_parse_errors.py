"""Bodies that are not JSON, and JSON that is unusual, as RapidJSON 1.1.0 reads it.

`reader.h` decides about texts and offsets, `error/en.h` has the texts; TF Serving's `ParseJson` in `util/json_tensor.cc`
adds NaN and Infinity (kParseNanAndInfFlag). `document.h` keeps all members of an object, and `FindMember` finds the first.
"""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.rest.request_body import parse_body
from serving.server.serving_error import ServingError


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"  ", "The document is empty. at offset: 2"),
        (b"{", "Missing a name for object member. at offset: 1"),
        (b"{1: 2}", "Missing a name for object member. at offset: 1"),
        (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
        (b'{"a"', "Missing a colon after a name of object member. at offset: 4"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1', "Missing a comma or '}' after an object member. at offset: 6"),
        (b'{"a":1 "b":2}', "Missing a comma or '}' after an object member. at offset: 7"),
        (b'{"a":01}', "Missing a comma or '}' after an object member. at offset: 6"),
        (b'{"a":Infx}', "Missing a comma or '}' after an object member. at offset: 8"),
        (b'{"a":[1', "Missing a comma or ']' after an array element. at offset: 7"),
        (b'{"a":[1 2]}', "Missing a comma or ']' after an array element. at offset: 8"),
        (b'{"a":[1,]}', "Invalid value. at offset: 8"),
        (b'{"a":}', "Invalid value. at offset: 5"),
        (b'{"a":tru}', "Invalid value. at offset: 8"),
        (b'{"a":nul', "Invalid value. at offset: 8"),
        (b'{"a":Nax}', "Invalid value. at offset: 7"),
        (b'{"a":Infini}', "Invalid value. at offset: 11"),
        (b'{"a":-}', "Invalid value. at offset: 6"),
        (b'{"a":-x}', "Invalid value. at offset: 6"),
        (b'{"a":+1}', "Invalid value. at offset: 5"),
        (b'{"a":.5}', "Invalid value. at offset: 5"),
        (b"instances = [1, 2]", "Invalid value. at offset: 0"),
        (b'{"a":"x', "Missing a closing quotation mark in string. at offset: 7"),
        (b'{"a', "Missing a closing quotation mark in string. at offset: 3"),
        (b'{"a":"x\0y"}', "Missing a closing quotation mark in string. at offset: 7"),
        (b'{"a":"x\ny"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a":"\\x"}', "Invalid escape character in string. at offset: 6"),
        (b'{"a":"x\\', "Invalid escape character in string. at offset: 7"),
        (b'{"a":"\\u12g4"}', "Incorrect hex digit after \\u escape in string. at offset: 6"),
        (b'{"a":"b\\ud800"}', "The surrogate pair in string is invalid. at offset: 7"),
        (b'{"a":"\\ud800\\u0041"}', "The surrogate pair in string is invalid. at offset: 6"),
        (b'{"a":1e}', "Miss exponent in number. at offset: 7"),
        (b'{"a":1e+}', "Miss exponent in number. at offset: 8"),
        (b'{"a":1.}', "Miss fraction part in number. at offset: 7"),
        (b'{"a":1.e5}', "Miss fraction part in number. at offset: 7"),
        (b'{"a":1e999}', "Number too big to be stored in double. at offset: 5"),
        (b'{"a":[-1e999]}', "Number too big to be stored in double. at offset: 6"),
        ('{"é":x}'.encode(), "Invalid value. at offset: 6"),
        (b'\xef\xbb\xbf{"a":', "Invalid value. at offset: 8"),
    ],
)  # fmt: skip
def test_broken_json_is_named_with_its_place(predict, body, text):
    answer = predict("half_plus_two", body)

    assert (answer.status, answer.error) == (400, f"JSON Parse error: {text}")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (b'"\\udc80"', b'"\xed\xb2\x80"'),  # a low surrogate alone is written as its three bytes
        (b'"\\ud83d\\ude00"', '"😀"'.encode()),
        (b'"\\u0000\\b\\f\\/"', b'"\\u0000\\b\\f/"'),
        (b'"\xc3\x28"', b'"\xc3("'),
        (b'"\x7f"', b'"\x7f"'),
    ],
)
def test_a_string_comes_back_byte_for_byte(predict, given, text):
    found = predict("types", b'{"signature_name": "string", "instances": [' + given + b"]}")

    assert found.body == b'{\n    "predictions": [' + text + b"\n    ]\n}"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ('{"instances": [1.0], "instances": [2.0]}', {"predictions": [3.5]}),
        ('{"inputs": [1.0], "inputs": "x"}', {"outputs": [3.5]}),
        ('{"inputs": {"x": [1.0], "x": [2.0]}}', {"outputs": [3.5]}),
        ('{"inputs": {"x": [1.0], "y": ":", "x": [2.0]}}', {"outputs": [3.5]}),
        ('{"instances": [{"x": 1.0, "x": 2.0}]}', {"predictions": [3.5]}),
        ('{"signature_name": "serving_default", "signature_name": 5, "instances": [1.0]}', {"predictions": [3.5]}),
        (
            '{"signature_name": "serving_default", "signature_name" : "none", "instances": [1.0]}',
            {"predictions": [3.5]},
        ),
        ('{"instances": [1.0], "instances": [NaN]}', {"predictions": [3.5]}),
    ],
)
def test_of_two_members_of_one_name_the_first_counts(predict, body, answer):
    found = predict("half_plus_two", body)

    assert (found.status, found.json) == (200, answer)


NAMES = st.sampled_from(["a", "b", ":", '":', "a\\"])
PLAIN = st.sampled_from(["1", "null", "-7", "[1,2]", '"x"', '":"', r'"\":"', '"http://x"', '" : "'])


def texts_of(pairs: list[tuple[str, str]], colon: str = ":") -> str:
    return "{" + ",".join(f"{json.dumps(name)}{colon}{value}" for name, value in pairs) + "}"


OBJECTS = st.lists(st.tuples(NAMES, PLAIN), max_size=3).map(texts_of)
TEXTS = st.one_of(PLAIN, OBJECTS, st.lists(OBJECTS, max_size=3).map(lambda items: f"[{','.join(items)}]"))


@settings(max_examples=300, deadline=None)
@given(members=st.lists(st.tuples(NAMES, TEXTS), max_size=4), colon=st.sampled_from([":", " :", ": "]))
def test_a_body_is_read_as_if_later_members_of_a_name_were_not_there(members, colon):
    body = texts_of(members, colon)

    def first(pairs):
        return dict(reversed(pairs))

    assert parse_body(body.encode(), 10_000) == json.loads(body, object_pairs_hook=first)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from('{}[]":,0123.eE+-truefalsnNaIity \\udc8"\n\x01é'), max_size=12))
def test_what_a_strict_parser_takes_is_taken_and_anything_else_has_an_offset_within_the_body(text):
    body = b'{"a":' + text.encode() + b"}"
    try:
        found = parse_body(body, 10_000)
    except ServingError as error:
        refused = error
    else:
        assert isinstance(found, dict)
        return
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)
    assert 0 <= int(refused.message.rsplit(" ", 1)[1]) <= len(body)
