"""The version folders in a base path, and what is wrong where there are none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BasePathListing", "list_versions"]

_REMOTE = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_FILE_SCHEME = re.compile(r"file:(//)?(?=/)", re.IGNORECASE)
_GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
_SHOWN = 5
_MAX_VERSION = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class BasePathListing:
    """The version folders of a model.

    Attributes:
        base: the base path as a folder.
        versions: the folders by version number.
        problem: why there are none, and what to do; "": there are some.
        warning: what is ignored, and why; "": nothing.
    """

    base: Path
    versions: dict[int, Path]
    problem: str = ""
    warning: str = ""


def list_versions(base_path: str) -> BasePathListing:
    """List the version folders in a base path."""
    base = Path(_FILE_SCHEME.sub("", base_path))
    if _REMOTE.match(base_path):
        return BasePathListing(
            base,
            {},
            f"base_path {base_path} is a remote path, which the server does not read; `orchard sync` downloads versions "
            "from a store to a local folder: name that folder, or mount the bucket as one",
        )
    try:
        with os.scandir(base) as entries:
            children = sorted((entry.name, entry.is_dir()) for entry in entries)
    except FileNotFoundError:
        where = "" if base.is_absolute() else f" in the working directory {Path.cwd()}"
        return BasePathListing(
            base,
            {},
            f"base_path {base} does not exist{where}; it must be a folder with one folder for each version, such as "
            f"{base / '1'}",
        )
    except NotADirectoryError:
        return BasePathListing(
            base,
            {},
            f"base_path {base} is a file; it must be the folder with the version folders, such as {base.parent}",
        )
    except (OSError, ValueError) as error:
        return BasePathListing(
            base,
            {},
            f"base_path {str(base)!r} cannot be read: {error}; the server runs as user {os.geteuid()} and group "
            f"{os.getegid()}, which must be allowed to list and read the folder",
        )
    return _listing(base, children)


def _listing(base: Path, children: list[tuple[str, bool]]) -> BasePathListing:
    versions: dict[int, Path] = {}
    ignored: list[str] = []
    numbered = [(name, is_folder) for name, is_folder in children if _is_version(name)]
    for name, is_folder in sorted(numbered, key=lambda child: (len(child[0]), child[0])):
        number = int(name)
        if not is_folder:
            ignored.append(f"{name} is not a folder")
        elif number in versions:
            ignored.append(f"{name} is version {number} too, which is loaded from {versions[number].name}")
        else:
            versions[number] = base / name
    warning = f"in base_path {base}: {_shortened(ignored)}" if ignored else ""
    if versions:
        return BasePathListing(base, versions, warning=warning)
    return BasePathListing(base, {}, _diagnosis(base, children), warning)


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 19 and int(name) <= _MAX_VERSION


def _diagnosis(base: Path, children: list[tuple[str, bool]]) -> str:
    """Say why a folder has no version folders, and what to do."""
    names = [name for name, _ in children if not name.startswith(".")]
    graph = next((name for name in names if name in _GRAPHS), None)
    if graph and _is_version(base.name):
        return (
            f"base_path {base} is itself a version folder ({graph} is directly in it); name its parent: {base.parent}"
        )
    if graph:
        return (
            f"no version folder in base_path {base}: {graph} is directly in it; move it, with all that belongs to it, "
            f"to {base / '1'}"
        )
    models = [name for name, is_folder in children if is_folder and _has_versions(base / name)]
    if models:
        return (
            f"no version folder in base_path {base}: {_shortened(models)} in it may be a model with version folders; a "
            f"base_path is the folder of one model, such as {base / models[0]}"
        )
    found = f"found: {_shortened(names)}" if names else "it is empty"
    renamed = ", not 'v1' or '0.1'" if names else ""
    return (
        f"no version folder in base_path {base} ({found}); the name of a version folder is its number, digits alone"
        f"{renamed}: put the SavedModel into {base / '1'}"
    )


def _has_versions(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(_is_version(entry.name) and entry.is_dir() for entry in entries)
    except OSError:
        return False


def _shortened(names: Iterable[str]) -> str:
    listed = list(names)
    rest = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + rest
