"""Tests of `make pytest` share processes: those of a file have one, so that what they share is made once; no file changes another's."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("number", range(6))
def test_tests_of_a_file_run_in_one_process(number, tmp_path_factory, request):
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # of a process of pytest-xdist
        folder = folder.parent
    record = folder / "process-of-this-file"
    try:
        with record.open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        assert record.read_text() == str(os.getpid()), "`--dist` no longer keeps the tests of a file together"


def test_no_test_replaces_a_name_that_modules_import():
    """What is replaced in a package is kept by each module that is first imported meanwhile, for all later tests.

    `memory_of_verbs` shows what to do instead: replace a name where it is looked up at each call.
    """
    replaced = re.compile(r"""setattr\(\s*"(orchard\.store|orchard\.registry)\.[a-z_]+"\s*,""")

    found = [path.relative_to(TESTS) for path in TESTS.rglob("*.py") if replaced.search(path.read_text("utf-8"))]

    assert found == []
