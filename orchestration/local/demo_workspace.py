"""The demo's workspace: a folder that looks like a checkout to the verbs, so that the real one does not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from orchard.disk import require_space
from orchard.errors import OrchardError
from orchard.files import atomic_write
from orchestration.local.sample_data import CHECKOUT, SampleData

__all__ = ["prepare"]

_WRITTEN = ("data", ".dvc/cache", ".dvc/tmp", "artifacts", "store", "serving", "logs", ".orchard/checkpoints")
"""The folders that the demo's steps write. They are looked at before the work, for DVC tries for minutes on a full disk."""

SMALL: dict[str, Any] = {"cnn": {"filters": [24, 48, 96, 128], "dropout": 0.2}}

PARAMS: dict[str, Any] = {"model": SMALL, "train": {"epochs": 8}}
"""Changes to the checkout's params.yaml, by section: the demo is short."""

UNKNOWN_PHOTOS: dict[str, Any] = {
    "model": SMALL,
    "train": {"epochs": 12},
    "evaluate": {"baseline": False},
    "gate": {"accuracy": {"all": 0.7}, "photos": {"all": 20}, "drop": {"all": 0.02}},
}
"""Changes for photos that the thresholds were not set for: few epochs of few photos, so low thresholds."""


def prepare(folder: Path, source: SampleData) -> None:
    """Write the pipeline, its params and the data schema into `folder`; a second call changes nothing.

    Raises:
        DiskError: one of its folders is full or cannot be written.
        OrchardError: the command does not run in a checkout, so there is no pipeline to copy.
    """
    if not (CHECKOUT / "dvc.yaml").exists():
        raise OrchardError(
            f"{CHECKOUT} holds no dvc.yaml: the demo runs the checkout's own pipeline",
            hint="clone the repository and run `make demo` in it",
        )
    for name in _WRITTEN:
        require_space(folder / name, 0, "the demo")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    _write(folder / "params.yaml", yaml.safe_dump(_params(source), sort_keys=False))
    _write(folder / "dvc.yaml", (CHECKOUT / "dvc.yaml").read_text(encoding="utf-8"))
    _write(folder / "data" / "schema.yaml", (CHECKOUT / "data" / "schema.yaml").read_text(encoding="utf-8"))
    for program in ("training", "orchard"):  # the pipeline's stages depend on the code too
        link = folder / program
        if not link.is_symlink():
            link.symlink_to(CHECKOUT / program)


def _params(source: SampleData) -> dict[str, Any]:
    params: dict[str, Any] = yaml.safe_load((CHECKOUT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in PARAMS.items() if source.has_thresholds else UNKNOWN_PHOTOS.items():
        params[section] = values if section == "gate" else params[section] | values
    params["data"]["name"] = source.name
    return params


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        atomic_write(path, text)
