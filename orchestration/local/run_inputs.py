"""The inputs of a project's run: the files that the stages of dvc.yaml depend on, and a run id that names them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from orchard.documents import canonical_json
from orchard.errors import ParamsError
from orchard.files import sha256_of
from orchard.overrides import read_yaml

__all__ = ["derived_id", "read_stages", "require_project"]

PARAMS, PIPELINE = "params.yaml", "dvc.yaml"
_DIGITS = 12


def require_project(folder: Path) -> None:
    """Check that a folder is a project.

    Raises:
        ParamsError: it has no params.yaml or no dvc.yaml.
    """
    missing = [name for name in (PARAMS, PIPELINE) if not (folder / name).is_file()]
    if missing:
        raise ParamsError(
            f"{folder.absolute()} is not a project: there is no {' and no '.join(missing)}",
            hint="`orchard init NAME --photos PATH` makes one from photos; `cd` into it",
        )


def read_stages(folder: Path) -> dict[str, Any]:
    """Return the stages of a project's dvc.yaml by name.

    Raises:
        ParamsError: the file cannot be read, or has no stages.
    """
    path = folder / PIPELINE
    try:
        document = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read as text: {error}") from error
    stages = document.get("stages") if isinstance(document, dict) else None
    if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
        raise ParamsError(f"{path} has no stages", hint="`git checkout dvc.yaml` restores it")
    return stages


def derived_id(folder: Path, dataset_digest: str) -> str:
    """Return a run id that is the same for the same photos, parameters, rules and code, and for nothing else.

    Args:
        folder: the project.
        dataset_digest: of its dataset, which names the photos.
    """
    listed = {PARAMS, PIPELINE}
    for stage in read_stages(folder).values():
        listed |= {str(name) for name in stage.get("deps", [])}  # what earlier stages and ingest make is a folder
    files = {name: sha256_of(folder / name) for name in sorted(listed) if (folder / name).is_file()}
    text = canonical_json({"dataset": dataset_digest, "files": files})
    return f"run-{hashlib.sha256(text).hexdigest()[:_DIGITS]}"
