"""A new project's folder: complete or not at all, and never in the place of something else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from orchard import env_files
from orchard.disk import writing_to
from orchard.errors import DataError, OrchardError, ParamsError
from orchard.files import locked, try_lock
from orchard.key_names import NAME
from training.data import dvc_project

__all__ = ["create", "has_own_settings", "require_free", "require_project_name"]


def require_project_name(folder: Path) -> str:
    """Return the name of the dataset and the model, which is the folder's.

    Raises:
        ParamsError: it is no valid name.
    """
    name = folder.absolute().name
    if re.fullmatch(NAME, name):
        return name
    near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    where = folder.parent / near
    raise ParamsError(
        f"{name!r} cannot be the name of a dataset and a model: expected lower-case letters, digits and hyphens",
        hint=f"for example `orchard init {where}`" if re.fullmatch(NAME, near) else "for example `orchard init signs`",
    )


def require_free(folder: Path) -> None:
    """Check that a project can be made in a folder: there is none, or an empty one.

    Raises:
        DataError: something is there.
    """
    if (folder / "params.yaml").exists() and (folder / "dvc.yaml").exists():
        raise DataError(
            f"{folder} is a project already; nothing was changed",
            hint=f"go on in it: {folder / 'README.md'} has the next commands. For another project, choose another NAME",
        )
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise DataError(
            f"{folder} is not an empty folder; nothing was changed",
            hint="choose another NAME, or move away what is there",
        )


def has_own_settings(folder: Path) -> bool:
    """Whether a new project's `.env` hides no other one: none above it is read in its folder.

    Args:
        folder: see `require_free`.
    """
    outside = dvc_project.is_outside_git(folder.absolute()) and shutil.which("git") is not None
    return outside or env_files.settings_folder(start=folder.absolute().parent) is None


def create(folder: Path, files: Mapping[str, str]) -> bool:
    """Make the folder with these files, DVC's, and a git repository unless it is in one.

    All is written beside it and renamed at the end. What an interrupted call has left is removed by the next.

    Args:
        folder: see `require_free`.
        files: the text of each file by its path.

    Returns:
        Whether a git repository was made.

    Raises:
        DataError: something is there.
        DiskError: the disk is full, or the folder cannot be written.
        OrchardError: git failed.
    """
    require_free(folder)
    with writing_to(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        with _temporary_beside(folder) as new:
            for name, text in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_text(text, encoding="utf-8")
            dvc_project.init(new)
            made = dvc_project.is_outside_git(folder.absolute()) and _init_git(new)
            try:
                new.rename(folder)  # an empty folder is replaced, and no other
            except OSError:
                require_free(folder)  # another program made it meanwhile
                raise
    return made


def _init_git(folder: Path) -> bool:
    git = shutil.which("git")
    if git is None:
        return False
    command = [git, "-c", "init.defaultBranch=main", "init", "--quiet", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise OrchardError(f"git cannot make a repository: {done.stderr.strip()}", hint="repair git, then run again")
    return True


@contextmanager
def _temporary_beside(folder: Path) -> Iterator[Path]:
    """A new locked folder, which is removed unless it was renamed."""
    new = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    new.mkdir()
    descriptor = None
    try:
        with suppress(OSError):  # a file system without locks
            descriptor = try_lock(new)
        yield new
    finally:
        if descriptor is not None:
            os.close(descriptor)
        shutil.rmtree(new, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed calls have left; folders of running ones are locked."""
    for path in folder.parent.glob(f".{folder.name}.*.tmp"):
        if not re.fullmatch(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.tmp", path.name):
            continue
        with suppress(OSError), locked(path) as is_ours:
            if is_ours:
                shutil.rmtree(path)
