"""The verb `ingest` in a workspace without a store."""

from __future__ import annotations

import json

import pytest

from orchard.cli import main


@pytest.fixture
def run(workspace, capsys):
    """Run `orchard ingest … --no-push --json`; return the exit code and the printed document."""

    def call(*arguments, dataset="farm"):
        code = main(["ingest", *map(str, arguments), "--dataset", dataset, "--no-push", "--json"])
        return code, json.loads(capsys.readouterr().out or "{}")

    return call
