"""The log of a container, as the API server streams it: each line whole, with its time."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from orchestration.cluster.jobs import _stamped

LINES = st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=5)


@given(lines=LINES, piece=st.integers(1, 9), whole=st.booleans())
def test_lines_of_a_streamed_log_are_whole_however_it_is_cut(lines, piece, whole):
    body = "\n".join(f"2026-11-29T02:00:0{number}Z {line}" for number, line in enumerate(lines)).encode()

    class Cut(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(piece)

    response = HTTPResponse(Cut(body + b"\n" * whole), preload_content=False)

    read = [text for _, text in _stamped(response)]

    assert read == lines or (lines == [] and read == [""])
