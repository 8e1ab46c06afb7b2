"""Fixtures of the server's tests: a model folder that a test changes, and a server that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.models_config import Specific
from tests.serving.model_folder import ModelFolder
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve


@pytest.fixture
def folder(zoo: Path, tmp_path: Path) -> ModelFolder:
    return ModelFolder(zoo, tmp_path)


@pytest.fixture
def served(folder: ModelFolder, tmp_path: Path) -> Iterator[Serve]:
    """A server of version 1 (y = x/2 + 2), with the label stable."""
    folder.put(1)
    folder.write(Specific((1,)), {"stable": 1})
    with Serve(folder.config, tmp_path / "log", ENVIRONMENT) as running:
        yield running
