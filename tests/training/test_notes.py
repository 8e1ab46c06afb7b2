"""The code in the notes runs, in its order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.training.candidates import CHECKOUT, judge, write_workspace


def test_the_note_on_misses_runs(workspace: Path, capsys: pytest.CaptureFixture[str]):
    judge(write_workspace(workspace, taken_for={"Red": "Blue"}))
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "notebooks" / "misses.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}

    for block in blocks:
        exec(compile(block, "misses.md", "exec"), names)  # noqa: S102  # our own file

    printed = capsys.readouterr().out
    assert len(blocks) == 3
    assert "   6  turntable  Red taken for Blue" in printed
    assert "_100.jpg Red 32 32" in printed
    assert "Blue 100.0%" in printed
