"""Settings in files: the `.env` that is found upwards from the working directory, or the file of ORCHARD_ENV_FILE.

Their ORCHARD_* variables are put into the environment of this process, so its children have the same settings. A variable
that is in the environment already wins. Other variables of the file are left alone: they belong to other programs.
"""

from __future__ import annotations

import difflib
import io
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchard.errors import SettingsError

if TYPE_CHECKING:
    from dotenv.parser import Binding

__all__ = ["FILE_NAME", "NO_FILE", "PREFIX", "VARIABLE", "EnvFiles", "apply", "find", "nearest", "origin", "shown"]

PREFIX = "ORCHARD_"
FILE_NAME = ".env"
VARIABLE = "ORCHARD_ENV_FILE"
NO_FILE = "none"
"""The value of ORCHARD_ENV_FILE with which no file is read."""

_OURS = re.compile(rf"^\s*(?:export\s+)?['\"]?{PREFIX}", re.MULTILINE | re.IGNORECASE)
_REFERENCE = re.compile(r"\$[{(A-Za-z_]")
_HINT = "correct the file; `orchard settings` lists every setting and its meaning"


@dataclass(frozen=True, slots=True)
class EnvFiles:
    """The files of settings that a working directory has.

    Attributes:
        files: the files, in the order in which they are read: the value of a later one wins.
        passed_over: files on the way that are not read, because they belong to another user.
    """

    files: tuple[Path, ...] = ()
    passed_over: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _EnvValue:
    """A value, and where it is written."""

    text: str
    path: Path
    line: int


_applied: dict[str, _EnvValue] = {}
"""What this process has put into its environment."""


def find() -> EnvFiles:
    """Find the files for this process; none is read yet.

    `.env` is looked for in the working directory and in each folder above it, up to the first one with a `.git`, else to the
    root. Only a file counts: `.env` may be the folder of a virtual environment. A file of another user is passed over, as
    it could send photos and models to that user's store; the owner of the working directory and root are trusted.

    Raises:
        SettingsError: ORCHARD_ENV_FILE names a file that is not there, or `.env` is a link to one.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named == NO_FILE:
        return EnvFiles()
    if named:
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise SettingsError(
                f"{VARIABLE} names {path}, and there is no such file",
                hint=f"correct or unset {VARIABLE}; with the value {NO_FILE} no file is read",
            )
        return EnvFiles((path,))
    passed_over: list[Path] = []
    for folder in _upwards():
        path = folder / FILE_NAME
        if not _is_there(path):
            continue
        if _is_trusted(path):
            return EnvFiles((path,), tuple(passed_over))
        passed_over.append(path)
    return EnvFiles(passed_over=tuple(passed_over))


def _upwards() -> Iterator[Path]:
    """Yield the working directory and the folders above it, up to the first one with a `.git`."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was deleted
        return
    for folder in (here, *here.parents):
        yield folder
        if os.path.lexists(folder / ".git"):
            return


def _is_there(path: Path) -> bool:
    """Whether there is such a file. Raises `SettingsError` for a link to nowhere."""
    try:
        if path.is_file():
            return True
    except PermissionError:  # of the folder: nobody can tell
        return False
    if path.is_symlink() and not path.exists():
        raise SettingsError(
            f"{path} is a link to {path.readlink()}, and there is no such file",
            hint=f"correct or remove the link; with {VARIABLE}={NO_FILE} no file is read",
        )
    return False


def _is_trusted(path: Path) -> bool:
    return path.stat().st_uid in (os.getuid(), 0, Path.cwd().stat().st_uid)


def apply(found: EnvFiles, known: Collection[str], paths: Collection[str]) -> None:
    """Put the ORCHARD_* variables of files into this process's environment, in place of those of an earlier call.

    Args:
        found: the files.
        known: the names of all settings.
        paths: those whose value is a path; a relative one is relative to the file's folder, and `~` is the home folder.

    Raises:
        SettingsError: a file cannot be read or is invalid; the message names all that is wrong, with its line.
    """
    for name, value in _applied.items():
        if os.environ.get(name) == value.text:
            del os.environ[name]
    _applied.clear()
    values: dict[str, _EnvValue] = {}
    for path in found.files:
        values |= _read(path, known, paths)
    for name, value in values.items():
        if name not in os.environ:
            os.environ[name] = value.text
            _applied[name] = value


def origin(name: str) -> str | None:
    """Return the file and line that a variable of this process comes from, or None if it comes from no file."""
    value = _applied.get(name)
    return None if value is None or os.environ.get(name) != value.text else f"{shown(value.path)}, line {value.line}"


def remarks() -> list[str]:
    """Return a line for each file that is not read, and for each variable in one that a person may expect to be read."""
    found = find()
    lines = [f"{path} is not read: it belongs to another user" for path in found.passed_over]
    for path in found.files:
        others = sorted({key for _, binding in _bindings(path) if (key := binding.key or "").startswith("AWS_")})
        if others:
            secret = (
                ""
                if not path.stat().st_mode & 0o004
                else f"; every user of this machine can read it: `chmod 600 {path}`"
            )
            lines.append(
                f"{', '.join(others)} of {shown(path)} is not read: keys belong in ORCHARD_STORE_CREDENTIALS_FILE{secret}"
            )
    return lines


def nearest(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence on an unknown name: the nearest known one, if there is one."""
    near = difflib.get_close_matches(name.upper(), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def shown(path: Path) -> str:
    """Return a path for people: its name alone, if it is in the working directory."""
    return path.name if path.parent == Path.cwd() else str(path)


def _read(path: Path, known: Collection[str], paths: Collection[str]) -> dict[str, _EnvValue]:
    values: dict[str, _EnvValue] = {}
    problems: list[str] = []
    lines: Counter[str] = Counter()
    for line, binding in _bindings(path):
        if not _is_ours(binding):
            continue
        name = binding.key or ""
        problem = _problem(binding, known)
        if not problem and lines[name]:
            problem = f"{name} is set in line {values[name].line} already"
        if problem:
            problems.append(f"  line {line}: {problem}")
            continue
        lines[name] += 1
        text = (binding.value or "").strip()
        if text and name in paths:
            text = str(path.parent / Path(text).expanduser())
        values[name] = _EnvValue(text, path, line)
    if problems:
        raise SettingsError(f"{path} is invalid:\n" + "\n".join(problems), hint=_HINT)
    return values


def _bindings(path: Path) -> Iterator[tuple[int, Binding]]:
    """Yield each entry of a file, with its line's number."""
    from dotenv.parser import parse_stream

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}",
            hint=f"`ls -l {path}` shows its owner and mode; with {VARIABLE}={NO_FILE} no file is read",
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} cannot be read: it is not text in UTF-8", hint=_HINT) from error
    for binding in parse_stream(io.StringIO(text)):
        text = binding.original.string
        yield binding.original.line + text[: len(text) - len(text.lstrip())].count("\n"), binding


def _is_ours(binding: Binding) -> bool:
    if binding.error:
        return bool(_OURS.search(binding.original.string))
    return (binding.key or "").upper().startswith(PREFIX)


def _problem(binding: Binding, known: Collection[str]) -> str:
    """Return what is wrong with a line; empty if nothing is."""
    name = binding.key or ""
    if binding.error:
        return "expected NAME=VALUE; a value with a quotation mark at its begin needs the same at its end"
    if name == VARIABLE:
        return f"{name} is for the environment: a file of settings cannot name another one"
    if name not in known:
        return f"{name}: no such setting{nearest(name, known)}"
    if binding.value is None:
        return f"{name}: expected {name}=VALUE"
    if any(not letter.isprintable() for letter in binding.value.strip()):
        return f"{name}: the value has a line break or a control character; is a quotation mark missing?"
    if _REFERENCE.search(binding.value):
        return f"{name}: variables and commands of the shell are not replaced here; write the value itself"
    return ""
