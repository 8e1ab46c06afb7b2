"""Every code block of docs/calling.md, run against a real server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving.models_config import ModelConfig, Specific, render
from tests import photo_files
from tests.free_ports import free_ports
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve
from tests.training.test_model import parse
from training.model.architectures import build
from training.model.savedmodel_export import export

PAGE = (Path(__file__).resolve().parents[2] / "docs/calling.md").read_text()
BLOCKS = [
    block for block in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.M | re.S) if block[0] != "text"
]  # which is output
RUN = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"], "javascript": ["node", "-e"]}


CLASSES = ("Apple", "Banana", "Plum")


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """A server of a model `fruits` as training exports it, and a folder with a photo."""
    folder = tmp_path_factory.mktemp("called")
    export(build(parse().model, 3), CLASSES, folder / "fruits" / "1")
    (folder / "photo.jpg").write_bytes(photo_files.jpeg())
    config = folder / "models.config"
    config.write_text(render([ModelConfig("fruits", str(folder / "fruits"), Specific((1,)), {"stable": 1})]))
    rpc = free_ports()
    with Serve(config, folder / "log", ENVIRONMENT, "--grpc-port", str(rpc)) as server:
        yield server, rpc, folder


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=lambda number: f"{number} {BLOCKS[number][0]}")
def test_code_block_of_the_callers_page_works(called, number):
    server, rpc, folder = called
    language, block = BLOCKS[number]
    if language == "javascript" and not shutil.which("node"):
        pytest.skip("Node.js is not installed")
    ported = block.replace("127.0.0.1:8501", f"127.0.0.1:{server.port}").replace("127.0.0.1:8500", f"127.0.0.1:{rpc}")
    assert ported != block, "it has no address of a server"

    ended = subprocess.run(
        [*RUN[language], ported], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert any(label in ended.stdout for label in CLASSES) or "model_version_status" in ended.stdout, ended.stdout


def test_every_kind_of_caller_is_on_the_page():
    assert {language for language, _ in BLOCKS} == set(RUN)
    assert "prediction_service_pb2_grpc" in PAGE
