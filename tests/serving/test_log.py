"""The log as text: whatever a client sends stays in its field, and the field in its line."""

from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.log import EventLog, event_text

FIELD = re.compile(r' ([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ ]*)')


def fields_of(line: str) -> dict[str, str]:
    """Read the fields of a line as a program does."""
    return {name: json.loads(value) if value[:1] == '"' else value for name, value in FIELD.findall(line)}


@pytest.mark.parametrize(
    "value",
    ["/a\n2026-01-01T00:00:00.000Z forged a=b", "\x1b[2K\rgone", 'say "x"', "a b=c", "\u2028", "\x9b1m", "\udcff", ""],
)
def test_a_value_of_a_client_forges_no_line_and_no_field(value):
    stream = io.StringIO()
    log = EventLog(as_json=False, stream=stream)
    log.write("request", path=value, status=200)

    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert fields_of(line) == {"path": value, "status": "200"}


@given(st.dictionaries(st.sampled_from(["path", "model", "reason"]), st.text() | st.integers(), min_size=1))
def test_any_values_are_read_back(values):
    line = event_text("two words", values)

    assert line.isprintable()
    assert fields_of(line) == {name: str(value) for name, value in values.items()}


def test_plain_values_are_written_as_they_are():
    assert event_text("request", {"path": "/v1/ä:predict", "ms": 1.5}) == "request path=/v1/ä:predict ms=1.5"
