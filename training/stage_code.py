"""The code that a DVC stage runs: the modules that its verb imports, directly and indirectly, and their page templates.

The list is read from the import statements. `make docs` writes it into dvc.yaml as the stages' dependencies. A
checkpoint's name holds the digests of the same files, so a change in any of them starts another training.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

__all__ = ["PACKAGES", "ROOT", "stage_files"]

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the packages."""

PACKAGES = ("orchard", "training")

_TEMPLATES = Path("training", "templates")
_INCLUDED = re.compile(r'{%-? (?:extends|import|from|include) "([^"]+)"')


def _module_file(name: str) -> Path | None:
    path = Path(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if (ROOT / file).is_file():
            return file
    return None


def _imported_names(tree: ast.Module) -> set[str]:
    """Return all dotted names that may be modules, those inside functions and of parent packages too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = [name.split(".") for name in names if name.split(".")[0] in PACKAGES]
    return {".".join(parts[:end]) for parts in ours for end in range(1, len(parts) + 1)}


def _template_files(tree: ast.Module) -> set[Path]:
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    pending = [_TEMPLATES / text for text in texts if re.fullmatch(r"\w+\.html", text)]
    files: set[Path] = set()
    while pending:
        file = pending.pop()
        if file not in files and (ROOT / file).is_file():
            files.add(file)
            pending += [_TEMPLATES / name for name in _INCLUDED.findall((ROOT / file).read_text(encoding="utf-8"))]
    return files


@cache
def stage_files(stage: str) -> tuple[str, ...]:
    """Return the source files that a stage runs, relative to `ROOT`, sorted. A stage has the name of its verb."""
    files: set[Path] = set()
    pending = ["training", "training.cli", f"training.cli.{stage}"]
    while pending:
        file = _module_file(pending.pop())
        if file is None or file in files:
            continue
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        files |= {file, *_template_files(tree)}
        pending += _imported_names(tree)
    return tuple(sorted(file.as_posix() for file in files if (ROOT / file).stat().st_size))
