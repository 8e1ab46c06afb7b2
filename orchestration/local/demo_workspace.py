"""The demo's workspace: a folder that looks like a checkout to the verbs, so that the real one does not change.

params.yaml and data/schema.yaml there are for people to change: a run never overwrites a change.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from orchard.disk import require_space
from orchard.errors import OrchardError, ParamsError
from orchard.files import atomic_write
from orchard.overrides import deep_merge, merge_params, read_yaml, require_known
from orchestration.local.sample_data import CHECKOUT, SampleData

__all__ = ["PARAMS", "prepare"]

PARAMS = "params.yaml"
SCHEMA = "data/schema.yaml"
PHOTOS_PROFILE = "params.photos.yaml"
"""What differs from params.yaml for photos that are not this project's fruit."""

PROBE_PROFILE = "params.probe.yaml"
"""What differs from params.yaml for the workshop's photos: a linear probe, which knows shop photos in a minute."""
_WRITTEN = (
    "data",
    ".dvc/cache",
    ".dvc/tmp",
    "artifacts",
    "store",
    "serving",
    "logs",
    ".orchard/checkpoints",
    ".orchard/looks",
)
"""The folders that the demo's steps write. They are looked at before the work, for DVC tries for minutes on a full disk."""

PROBE: dict[str, Any] = {"train": {"probe": {"copies": 1}, "repeat": {"turntable": 0.05}}}
"""Changes to the probe's profile, by section: the demo is short."""

DRAWN: dict[str, Any] = {"train": {"epochs": 12}}
"""Changes for synthetic photos, which are easier than any photos of one's own."""


def prepare(folder: Path, source: SampleData, params: Path | None = None) -> tuple[Path, ...]:
    """Write the pipeline, its params and the data schema into `folder`; a second call changes nothing.

    Args:
        folder: the workspace.
        source: the photos.
        params: a file with parameters that replace those of the demo: whole, or some keys of it.

    Returns:
        The files that a person has changed there. They stay as they are; delete one to get the demo's own again.

    Raises:
        DiskError: one of its folders is full or cannot be written.
        OrchardError: the command does not run in a checkout, so there is no pipeline to copy.
        ParamsError: `params` is missing or invalid, or the workspace's own file was changed too.
    """
    if not (CHECKOUT / "dvc.yaml").exists():
        raise OrchardError(
            f"{CHECKOUT} holds no dvc.yaml: the demo runs the checkout's own pipeline",
            hint="clone the repository and run `make demo` in it",
        )
    text = yaml.safe_dump(_params(source, params), sort_keys=False, allow_unicode=True)
    for name in _WRITTEN:
        require_space(folder / name, 0, "the demo")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    _write(folder / "dvc.yaml", _read(CHECKOUT / "dvc.yaml"))
    changed = [
        folder / name
        for name, content in ((PARAMS, text), (SCHEMA, _read(CHECKOUT / SCHEMA)))
        if not _offer(folder / name, content)
    ]
    if params is not None and folder / PARAMS in changed:
        raise ParamsError(
            f"{folder / PARAMS} has changes by hand, and --params names {params}: only one of them can count",
            hint=f"delete {folder / PARAMS}, or leave out --params",
        )
    for program in ("training", "orchard"):  # the pipeline's stages depend on the code too
        link = folder / program
        if not link.is_symlink():
            link.symlink_to(CHECKOUT / program)
    return tuple(changed)


def _params(source: SampleData, params: Path | None) -> dict[str, Any]:
    document: dict[str, Any] = read_yaml(_read(CHECKOUT / PARAMS), PARAMS)
    if source.has_thresholds:
        document = merge_params(document, read_yaml(_read(CHECKOUT / PROBE_PROFILE), PROBE_PROFILE))
        document = deep_merge(document, PROBE)
    else:
        document = merge_params(document, read_yaml(_read(CHECKOUT / PHOTOS_PROFILE), PHOTOS_PROFILE))
        if not source.paths:
            document = merge_params(document, DRAWN)
    if params is not None:
        own = read_yaml(_read(params), str(params))
        if not isinstance(own, dict):
            raise ParamsError(f"{params} is not a mapping of sections", hint="params.yaml shows the form")
        require_known(document, own, str(params))  # a typo is reported before the photos are read
        document = merge_params(document, own)
    data = document.get("data")
    return {**document, "data": {**data, "name": source.name} if isinstance(data, dict) else data}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read as text: {error}", hint="--params names a YAML file") from error


def _offer(path: Path, text: str) -> bool:
    """Write a file for people to change, unless they have; returns whether it has the text."""
    mark = path.with_name(f".{path.name}.sha256")  # of the text that was written here last
    now = path.read_bytes() if path.exists() and mark.exists() else None
    if now not in {None, text.encode()} and hashlib.sha256(now or b"").hexdigest() != mark.read_text(encoding="ascii"):
        return False
    _write(path, text)
    _write(mark, hashlib.sha256(text.encode()).hexdigest())
    return True


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        atomic_write(path, text)
