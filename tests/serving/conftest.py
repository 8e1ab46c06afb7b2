"""Fixtures of the serving tests: the models, created once for all test processes, and a server of all of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.models_config import All, ModelConfig, render
from tests.serving.model_registry import ENVIRONMENT, ServedRegistry
from tests.serving.programs import Serve

PLAIN = (
    *("half_plus_two", "matrix", "types", "shapes", "counter", "slow", "table", "module", "examples"),
    *("text", "defaulted", "warm"),
)


def make_zoo(folder: Path, module: str = "tests.serving.model_fixtures") -> Path:
    """Create the models in `folder` unless another process has; the tests themselves never import TensorFlow."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            result = subprocess.run(
                [sys.executable, "-m", module, str(folder / "models")],
                cwd=Path(__file__).resolve().parents[2],
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stderr[-3000:]
            (folder / "done").touch()
    return folder / "models"


@pytest.fixture(scope="session")
def zoo(run_folder: Path) -> Path:
    """The folder of all models; see `tests.serving.model_fixtures`."""
    return make_zoo(run_folder / "zoo")


@pytest.fixture(scope="session")
def batching_zoo(run_folder: Path) -> Path:
    """The folder of models that mix rows and of others that keep them apart; see `tests.serving.batching_models`."""
    return make_zoo(run_folder / "batching_zoo", "tests.serving.batching_models")


@pytest.fixture(scope="session")
def plain_config(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models.config of all plain models."""
    path = tmp_path_factory.mktemp("plain") / "models.config"
    labels = {"half_plus_two": {"Version_Label": 123, "stable": 124}}
    path.write_text(render(ModelConfig(name, str(zoo / name), All(), labels.get(name, {})) for name in PLAIN))
    return path


@pytest.fixture(scope="session")
def server(plain_config: Path) -> Iterator[Serve]:
    """A server of all plain models, REST and gRPC, for tests that change nothing."""
    with Serve(plain_config, plain_config.with_name("serve.log"), ENVIRONMENT, "--grpc-port", "0") as running:
        yield running


@pytest.fixture(scope="module")
def photos(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server of a photo model with golden photos."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "m").mkdir()
    (folder / "m" / "1").symlink_to(zoo / "photos" / "one")
    (folder / "models.config").write_text(render([ModelConfig("m", str(folder / "m"))]))
    with Serve(folder / "models.config", folder / "log", ENVIRONMENT) as running:
        yield running


@pytest.fixture
def registry(seaweed, seaweed_environment: dict[str, str], zoo: Path, tmp_path: Path) -> ServedRegistry:
    """An empty registry on the real store, and the environment of the programs that use it."""
    return ServedRegistry(seaweed, seaweed_environment, zoo / "photos", tmp_path)
