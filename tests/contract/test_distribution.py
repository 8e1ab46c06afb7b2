"""`make pytest` runs all tests of a file in one process, so that what they share is made once."""

from __future__ import annotations

import os

import pytest


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
