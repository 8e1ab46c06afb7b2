"""Rules that keep rows apart only for the right shapes: one wrong dimension, and rows meet."""

from __future__ import annotations

import pytest

from orchard.savedmodel.nodes import GraphNode
from orchard.savedmodel.row_independence import RowAnalysis  # noqa: F401  (registers the rules)
from orchard.savedmodel.row_values import BATCH, RULES, TensorValue, constant, per_row
from orchard.savedmodel.wire import VARINT, delimited, key, varint

ROWS = per_row([4])


def outcome(op: str, *inputs: TensorValue, **attributes: int) -> TensorValue:
    body = delimited(2, op.encode())
    for name, value in attributes.items():
        body += delimited(5, delimited(1, name.encode()) + delimited(2, key(3, VARINT) + varint(value)))
    found = RULES[op](GraphNode(memoryview(body)), list(inputs))
    return found if isinstance(found, TensorValue) else found[0]


def numbers(*values: object) -> TensorValue:
    return constant([len(values)], values)


@pytest.mark.parametrize(
    ("op", "inputs", "apart"),
    [
        ("AddV2", (ROWS, constant([])), True),
        ("AddV2", (ROWS, constant([4])), True),
        ("AddV2", (ROWS, constant([1, 4])), True),
        ("AddV2", (ROWS, constant([8, 4])), False),
        ("AddV2", (ROWS, constant([1, 1, 4])), False),
        ("AddV2", (ROWS, constant(None)), False),
        ("AddV2", (ROWS, per_row([])), False),
        ("AddV2", (ROWS, constant([], [BATCH])), False),
        ("AddV2", (per_row(None), constant([])), False),
        ("Select", (constant([3]), ROWS, ROWS), False),
        ("MatMul", (ROWS, constant([4, 2])), True),
        ("MatMul", (ROWS, ROWS), False),
        ("BatchMatMulV2", (per_row([3, 4]), constant([4, 2])), True),
        ("BatchMatMulV2", (per_row([3, 4]), constant([1, 4, 2])), True),
        ("BatchMatMulV2", (per_row([3, 4]), constant([5, 4, 2])), False),
        ("BatchMatMulV2", (per_row([3, 4]), constant([1, 1, 4, 2])), False),
        ("Mean", (ROWS, numbers(1)), True),
        ("Mean", (ROWS, numbers(-1)), True),
        ("Mean", (ROWS, numbers(-2)), False),
        ("Mean", (ROWS, numbers(0, 1)), False),
        ("Mean", (ROWS, constant()), False),
        ("Softmax", (per_row([]),), False),
        ("Reshape", (ROWS, numbers(-1, 2, 2)), True),
        ("Reshape", (ROWS, numbers(-1, 2)), False),
        ("Reshape", (ROWS, numbers(-1)), False),
        ("Reshape", (ROWS, numbers(BATCH, -1)), True),
        ("Reshape", (ROWS, numbers(4, BATCH)), False),
        ("Reshape", (per_row([None]), numbers(-1, 4)), False),
        ("Transpose", (ROWS, numbers(0, 1)), True),
        ("Transpose", (ROWS, numbers(1, 0)), False),
        ("ConcatV2", (ROWS, ROWS, constant([], [1])), True),
        ("ConcatV2", (ROWS, ROWS, constant([], [0])), False),
        ("ConcatV2", (ROWS, ROWS, constant([], [-2])), False),
        ("Slice", (ROWS, numbers(0, 1), numbers(-1, 2)), True),
        ("Slice", (ROWS, numbers(0, 1), numbers(1, 2)), False),
        ("Slice", (ROWS, numbers(1, 0), numbers(-1, -1)), False),
        ("Pad", (ROWS, constant([2, 2], [0, 0, 1, 1])), True),
        ("Pad", (ROWS, constant([2, 2], [0, 1, 0, 0])), False),
        ("Tile", (ROWS, numbers(1, 2)), True),
        ("Tile", (ROWS, numbers(2, 1)), False),
        ("Fill", (numbers(BATCH, 2), constant([])), True),
        ("Fill", (numbers(2, BATCH), constant([])), False),
        ("GatherV2", (constant([9, 5]), ROWS, constant([], [0])), True),
        ("GatherV2", (ROWS, constant([2]), constant([], [1])), True),
        ("GatherV2", (ROWS, constant([2]), constant([], [0])), False),
        ("GatherV2", (ROWS, ROWS, constant([], [0])), False),
        ("Squeeze", (per_row([1]),), False),
        ("ExpandDims", (ROWS, constant([], [1])), True),
        ("ExpandDims", (ROWS, constant([], [0])), False),
        ("ExpandDims", (ROWS, constant([], [-3])), False),
        ("Cumsum", (ROWS, constant([], [1])), True),
        ("Cumsum", (ROWS, constant([], [0])), False),
        ("ArgMax", (ROWS, constant([], [1])), True),
        ("ArgMax", (ROWS, constant([], [0])), False),
    ],
)
def test_rows_stay_apart_only_with_the_right_shapes(op, inputs, apart):
    assert outcome(op, *inputs).is_per_row == apart


@pytest.mark.parametrize(
    ("masks", "apart"),
    [
        ({"begin_mask": 3, "end_mask": 3}, True),
        ({"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 2}, True),
        ({"begin_mask": 1, "end_mask": 0}, False),
        ({"begin_mask": 0, "end_mask": 1}, False),
        ({"begin_mask": 3, "end_mask": 3, "shrink_axis_mask": 1}, False),
        ({"begin_mask": 3, "end_mask": 3, "new_axis_mask": 1}, False),
        ({"begin_mask": 3, "end_mask": 3, "new_axis_mask": 2}, True),
        ({"ellipsis_mask": 1, "shrink_axis_mask": 2}, True),
        ({"ellipsis_mask": 2, "shrink_axis_mask": 1}, False),
    ],
)
def test_a_slice_keeps_rows_apart_if_it_takes_all_of_them(masks, apart):
    two = numbers(0, 1)

    assert outcome("StridedSlice", ROWS, two, two, numbers(1, 1), **masks).is_per_row == apart
