"""A SavedModel in text form is read as the same one in binary form, wherever the loader takes it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from orchard.savedmodel.graph import read_operations
from orchard.savedmodel.row_independence import RowAnalysis
from orchard.savedmodel.signatures import map_document, read_signatures, signatures_of
from orchard.savedmodel.text_document import MAX_TEXT_BYTES, parse_text_document
from orchard.savedmodel.wire import WireError, delimited
from serving.protos import message

SERVE = delimited(1, delimited(4, b"serve"))


@pytest.mark.parametrize(
    ("text", "binary"), [("text/1", "half_plus_two/123"), ("text/2", "module/1"), ("photos/text", "photos/one")]
)
def test_a_text_has_the_signatures_and_operations_of_the_same_model(zoo, text, binary):
    assert read_signatures(zoo / text) == read_signatures(zoo / binary)
    assert read_operations(map_document(zoo / text)) == read_operations(map_document(zoo / binary))
    for signature in read_signatures(zoo / text).values():
        assert RowAnalysis(zoo / text).judge(signature) == RowAnalysis(zoo / binary).judge(signature)


names = st.text(max_size=12)
infos = st.tuples(
    names, st.sampled_from([1, 3, 7, 9, 101]), st.none() | st.lists(st.tuples(st.integers(-1, 1 << 62), names))
)


@given(
    st.dictionaries(names, infos, max_size=4),
    names,
    st.binary(max_size=20),
    st.floats(width=32, allow_nan=False) | st.just(math.nan),  # a text has one nan: neither its sign nor its bits
    st.booleans(),
    st.booleans(),
)
def test_what_protobuf_prints_is_read_back(inputs, method, content, number, as_utf8, one_line):
    signature = message("tensorflow.SignatureDef")(method_name=method)
    for alias, (name, dtype, dims) in inputs.items():
        info = signature.inputs[alias]
        info.name, info.dtype, info.tensor_shape.unknown_rank = name, dtype, dims is None
        for size, dim in dims or ():
            info.tensor_shape.dim.add(size=size, name=dim)
    tensor = message("tensorflow.TensorProto")(
        dtype=1, tensor_content=content, float_val=[number, 1.5], int_val=[-1, 7]
    )
    layout = {"as_utf8": as_utf8, "as_one_line": one_line}
    text = (
        'meta_graphs { meta_info_def { tags: "serve" stripped_op_list { op { name: "}" } } }'
        f' signature_def {{ key: "s" value {{ {text_format.MessageToString(signature, **layout)}\n'
        f'defaults {{ key: "x" value {{ {text_format.MessageToString(tensor, **layout)} }} }} }} }} }} # end'
    )

    found = signatures_of(parse_text_document(text.encode("utf-8", "surrogateescape")))["s"]

    entry = delimited(1, b"s") + delimited(2, signature.SerializeToString())
    expected = signatures_of(delimited(2, SERVE + delimited(5, entry)))["s"]
    assert (found.inputs, found.method_name) == (expected.inputs, expected.method_name)
    back = message("tensorflow.TensorProto").FromString(found.defaults["x"])
    assert back.SerializeToString(deterministic=True) == tensor.SerializeToString(deterministic=True)


@given(st.binary(max_size=200) | st.text("{}<>[]:;,#\"'\\ meta_graphs0x-.e+", max_size=80).map(str.encode))
def test_any_text_is_read_or_refused(text):
    try:
        parse_text_document(text)
    except WireError:
        return


def test_other_spellings_of_the_same_text():
    text = b"""
    # a comment
    meta_graphs: <
      meta_info_def { tags: ['serve'], [type.googleapis.com/x.Y] { a: 1 } };
      graph_def { node { name: "a" "b\\x43\\104" op: "Con" 'st' attr { key: "dtype" value { type: DT_INT32_REF } }
        attr { key: "value" value { tensor { dtype: 3 tensor_shape { dim { size: 0x2 } } int_val: [- 1, 017] } } } } }
    >"""

    operations = read_operations(parse_text_document(text))

    assert (operations.all, operations.tensor_bytes) == ({"Const"}, 8)


def test_a_hostile_text_is_refused_in_bounded_time_and_memory(tmp_path):
    endless = b"meta_graphs { graph_def { node { attr { value { func { " + b"attr { value { func { " * 1000
    for text in (b"meta_graphs { " * 200_000, b"a { " * 200_000, endless):
        with pytest.raises(WireError):
            parse_text_document(text)
    with (tmp_path / "saved_model.pbtxt").open("wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)
    with pytest.raises(WireError, match=r"save it as saved_model\.pb"):
        map_document(tmp_path)


def test_the_binary_file_is_read_if_there_are_both(zoo: Path, tmp_path: Path):
    (tmp_path / "saved_model.pb").write_bytes((zoo / "matrix" / "1" / "saved_model.pb").read_bytes())
    (tmp_path / "saved_model.pbtxt").write_bytes((zoo / "text" / "1" / "saved_model.pbtxt").read_bytes())

    assert read_signatures(tmp_path) == read_signatures(zoo / "matrix" / "1")
