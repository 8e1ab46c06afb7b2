"""A model's folder and its models.config, as a person or a program changes them while a server follows."""

from __future__ import annotations

import shutil
from pathlib import Path

from serving.models_config import ModelConfig, Policy, render

__all__ = ["ModelFolder"]


class ModelFolder:
    """A model folder and its models.config."""

    def __init__(self, zoo: Path, folder: Path) -> None:
        self.zoo = zoo
        self.base = folder / "m"
        self.config = folder / "models.config"
        self.base.mkdir()

    def put(self, version: int, source: str = "half_plus_two/123") -> Path:
        shutil.copytree(self.zoo / source, self.base / f".staging-{version}")
        return (self.base / f".staging-{version}").rename(self.base / str(version))

    def write(self, policy: Policy, labels: dict[str, int] | None = None, *more: ModelConfig) -> None:
        temporary = self.config.with_suffix(".new")
        temporary.write_text(render([ModelConfig("m", str(self.base), policy, labels or {}), *more]))
        temporary.replace(self.config)
