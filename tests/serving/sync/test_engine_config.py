"""The models.config that sync writes for the engine, and that others may write too."""

from __future__ import annotations

import sys

import pytest

from serving.models_config import Latest, ModelConfig, Specific, render
from serving.sync.engine import EngineConfig


@pytest.fixture
def config(tmp_path):
    return EngineConfig(tmp_path / "models.config", "fruits")


def test_what_was_written_is_what_another_reader_reads(config):
    for policy, labels in ((Specific(()), {}), (Specific((3, 4)), {"stable": 3, "canary": 4}), (Specific((4,)), {})):
        config.write(ModelConfig("fruits", "/models/fruits", policy, labels))

        assert config.read() == EngineConfig(config.path, "fruits").read()


def test_a_file_that_somebody_else_changed_is_read_again(config):
    config.write(ModelConfig("fruits", "/models/fruits", Specific((3,))))

    config.path.write_text(render([ModelConfig("fruits", "/elsewhere", Latest(1)), ModelConfig("other", "/other")]))
    assert config.read().base_path == "/elsewhere"
    config.path.write_text("model_config_list {")
    assert config.read() is None
    config.path.unlink()
    assert config.read() is None


def test_what_was_written_is_not_parsed(config, monkeypatch):
    config.write(ModelConfig("fruits", "/models/fruits", Specific((3,))))
    monkeypatch.setitem(sys.modules, "google.protobuf", None)  # an import fails

    assert config.read().policy == Specific((3,))
