"""The reader of PyTorch's files: a damaged or hostile file is an error, never code, never much memory."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from orchard.errors import IntegrityError
from tests.training.backbones.torch_writer import HEAD, array, places, storages, text, torch_file
from training.model.backbones.torch_file import read_torch_file

ARRAYS = {
    "stem.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "stem.bias": np.array([1.5, -2], np.float32),
    "stem.num_batches_tracked": np.array(7, np.int64),
}
FILE = torch_file(ARRAYS)
MOST_MEMORY = 1 << 20


def read_or_refuse(content):
    """The arrays, or None if the file is refused as it should be; anything else is an error of the reader."""
    try:
        return read_torch_file(content, "weights.pth")
    except IntegrityError:
        return None


@hypothesis.given(
    st.dictionaries(
        st.text(max_size=20),
        arrays_of.arrays(
            st.sampled_from([np.float32, np.int64]), arrays_of.array_shapes(min_dims=0, max_dims=4, max_side=5)
        ),
        max_size=5,
    )
)
@hypothesis.settings(max_examples=20)
def test_arrays_are_read_as_they_were_written(arrays):
    found = read_torch_file(torch_file(arrays), "weights.pth")

    assert list(found) == list(arrays)
    for name, written in arrays.items():
        assert found[name].dtype == written.dtype
        np.testing.assert_array_equal(found[name], written)
        assert not found[name].flags.writeable


def test_transposed_array_is_read_by_its_strides():
    values = np.arange(6, dtype=np.float32)
    content = b"".join(
        [*HEAD, places({"x": array("key of x", np.float32, 6, (3, 2), (1, 3))}), storages({"x": values})]
    )

    np.testing.assert_array_equal(read_torch_file(content, "weights.pth")["x"], values.reshape(2, 3).T)


def test_file_truncated_at_any_byte_is_refused():
    assert all(read_or_refuse(FILE[:length]) is None for length in range(len(FILE)))


@pytest.mark.parametrize("more", [b"\0", b"more", FILE])
def test_file_with_more_than_its_arrays_is_refused(more):
    assert read_or_refuse(FILE + more) is None


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_gives_an_error_or_arrays_of_the_file(bit):
    for position in range(len(FILE)):
        damaged = bytearray(FILE)
        damaged[position] ^= 1 << bit
        found = read_or_refuse(bytes(damaged))
        assert found is None or sum(values.size for values in found.values()) <= len(FILE)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=100)
def test_overwritten_bytes_never_take_memory(data):
    damaged = bytearray(FILE)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(FILE) - 1))
        damaged[position : position + 9] = data.draw(st.binary(min_size=1, max_size=9) | st.just(b"\xff" * 8))
    tracemalloc.start()
    try:
        read_or_refuse(bytes(damaged))
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


BILLION = (1 << 31) - 1
GIANTS = {
    "text": b"\x80\x02X" + struct.pack("<I", (1 << 32) - 1) + b"x.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "integer": b"\x80\x02\x8b" + struct.pack("<i", BILLION) + b"x.",
    "memo": b"\x80\x02Nr" + struct.pack("<I", (1 << 32) - 1) + b".",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
}


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("kind", GIANTS)
def test_giant_length_in_a_pickle_takes_no_memory(kind, place):
    parts = [*HEAD, places({}), b"\x80\x02]."]
    parts[place] = GIANTS[kind]
    tracemalloc.start()
    try:
        assert read_or_refuse(b"".join(parts)) is None
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("count", "shape", "strides", "offset"),
    [
        (24, (1 << 30,), (0,), 0),
        (24, (5, 5), (5, 1), 0),
        (24, (24,), (1,), 1),
        (24, (2, 2), (23, 1), 0),
        (24, (24,), (-1,), 23),
        (24, (-1, -24), (1, 1), 0),
        (24, (24,), (1,), -1),
        (24, (0,), (1,), 1 << 30),
        (24, (2, 12), (1,), 0),
        (24, (1,) * 60, (1,) * 60, 0),
        (BILLION, (24,), (1,), 0),
        (-1, (24,), (1,), 0),
        (23, (23,), (1,), 0),
    ],
)
def test_array_beyond_its_storage_is_refused(count, shape, strides, offset):
    described = {"x": array("key of x", np.float32, count, shape, strides, offset)}
    values = storages({"x": np.arange(24, dtype=np.float32)})

    assert read_or_refuse(b"".join([*HEAD, places(described), values])) is None


class Hostile:
    """Makes a folder when an ordinary unpickler reads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_that_names_a_function_runs_nothing(tmp_path, protocol, place):
    made = tmp_path / "made"
    hostile = pickle.dumps(Hostile(str(made)), protocol)
    parts = [*HEAD, places({}), b"\x80\x02]."]
    parts[place] = hostile

    assert read_or_refuse(b"".join(parts)) is None
    assert not made.exists()
    pickle.loads(hostile)  # noqa: S301  # proves that the pickle is hostile
    assert made.exists()


@pytest.mark.parametrize("name", ["os system", "builtins eval", "torch._utils _rebuild_qtensor", "torch ByteStorage"])
def test_another_global_is_named_in_the_error(name):
    described = places({"x": array("x", np.float32, 1, (1,), (1,), storage=f"c{name}\n".replace(" ", "\n").encode())})

    named = f"weights.pth is not a valid file of weights .*: it names {name.replace(' ', '.')}, which is no part"
    with pytest.raises(IntegrityError, match=named):
        read_torch_file(b"".join([*HEAD, described, b"\x80\x02]."]), "weights.pth")


@pytest.mark.parametrize(
    "opcodes", [b"(iposix\nsystem\n.", b"(cposix\nsystem\no.", b"\x80\x02\x82\x01.", b"\x80\x04\x8c\x01a\x8c\x01b\x93."]
)
def test_instruction_that_such_files_do_not_need_is_refused(opcodes):
    assert read_or_refuse(opcodes) is None


def test_storage_of_two_types_or_lengths_is_refused():
    described = places(
        {"a": array("key of x", np.float32, 2, (2,), (1,)), "b": array("key of x", np.int64, 1, (1,), (1,))}
    )

    assert read_or_refuse(b"".join([*HEAD, described, storages({"x": np.zeros(2, np.float32)})])) is None


def test_file_of_the_newer_format_is_refused():
    assert read_or_refuse(b"PK\x03\x04" + FILE) is None


def test_key_that_is_set_twice_is_refused():
    one = text("x") + array("key of x", np.float32, 1, (1,), (1,))
    twice = b"\x80\x02ccollections\nOrderedDict\n)R(" + one + one + b"u."

    assert read_or_refuse(b"".join([*HEAD, twice, storages({"x": np.zeros(1, np.float32)})])) is None
