"""Settings in files: the `.env` that is found upwards from the working directory, or the file of ORCHARD_ENV_FILE.

Beside `.env` may be several `.env.NAME`, one for each store. `orchard use NAME` chooses one, whose values win over `.env`.

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

from orchard.disk import writing_to
from orchard.errors import SettingsError
from orchard.files import atomic_write
from orchard.key_names import NAME

if TYPE_CHECKING:
    from dotenv.parser import Binding

__all__ = [
    "FILE_NAME",
    "NO_FILE",
    "PREFIX",
    "VARIABLE",
    "EnvFiles",
    "apply",
    "choose",
    "chosen_name",
    "find",
    "in_use",
    "line",
    "named_files",
    "nearest",
    "origin",
    "read_file",
    "remarks",
    "settings_folder",
    "shown",
    "winners",
]

PREFIX = "ORCHARD_"
FILE_NAME = ".env"
VARIABLE = "ORCHARD_ENV_FILE"
NO_FILE = "none"
"""The value of ORCHARD_ENV_FILE with which no file is read."""

CHOICE = Path(".orchard/use")
"""The file, beside `.env`, with the name that `orchard use` chose."""

_SAMPLES = ("example", "sample", "template")
_OURS = re.compile(rf"^\s*(?:export\s+)?['\"]?{PREFIX}", re.MULTILINE | re.IGNORECASE)
_REFERENCE = re.compile(r"\$[{(A-Za-z_]")
_HINT = "correct the file; `orchard settings` lists every setting and its meaning"


@dataclass(frozen=True, slots=True)
class EnvFiles:
    """The files of settings that a working directory has.

    Attributes:
        files: the files, in the order in which they are read: the value of a later one wins.
        chosen: the name that `orchard use` chose; its file is the last one.
        passed_over: files on the way that are not read, because they belong to another user.
    """

    files: tuple[Path, ...] = ()
    chosen: str | None = None
    passed_over: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _EnvValue:
    """A value, and where it is written."""

    text: str
    path: Path
    line: int


_applied: dict[str, _EnvValue] = {}
"""What this process has put into its environment."""

_chosen: str | None = None
"""The name that `orchard use` chose, of the files that this process has read."""


def find() -> EnvFiles:
    """Find the files for this process; none is read yet.

    The folder of settings is the working directory, or the nearest folder above, that has a `.env` or a choice of `orchard
    use`. The search ends at the first folder with a `.git`, else at the root. Only a file counts: `.env` may be the
    folder of a virtual environment. A file of another user is passed over, as it could send photos and models to that user's
    store; the owner of the working directory and root are trusted.

    Raises:
        SettingsError: ORCHARD_ENV_FILE or the choice names a file that is not there, or `.env` is a link to one.
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
    folder = settings_folder(passed_over)
    if folder is None:
        return EnvFiles(passed_over=tuple(passed_over))
    files = [path for path in (folder / FILE_NAME,) if _is_there(path) and _is_trusted(path)]
    chosen = chosen_name(folder)
    if chosen is not None:
        files.append(_chosen_file(folder, chosen, f"`orchard use` chose {chosen}: "))
    return EnvFiles(tuple(files), chosen, tuple(passed_over))


def settings_folder(
    passed_over: list[Path] | None = None, *, named: bool = False, start: Path | None = None
) -> Path | None:
    """Return the folder of settings as `find` describes it, or None.

    Args:
        passed_over: files of other users are added to it.
        named: a folder with a `.env.NAME` alone counts too, as `orchard use` can choose it there.
        start: where the search begins, which need not exist yet; None: the working directory.
    """
    for folder in _upwards(start):
        here = [path for path in (folder / FILE_NAME, folder / CHOICE) if _is_there(path)]
        if any(_is_trusted(path) for path in here) or (named and named_files(folder)):
            return folder
        if passed_over is not None:
            passed_over += here
    return None


def named_files(folder: Path) -> dict[str, Path]:
    """Return the files `.env.NAME` of a folder, by name; those for people to copy (`.env.example`) are left out."""
    try:
        found = {
            path.name.removeprefix(f"{FILE_NAME}."): path for path in folder.glob(f"{FILE_NAME}.*") if path.is_file()
        }
    except OSError:
        return {}
    return {name: found[name] for name in sorted(found) if re.fullmatch(NAME, name) and name not in _SAMPLES}


def choose(folder: Path, name: str | None) -> None:
    """Write which `.env.NAME` of a folder is in use; None: none is.

    Raises:
        SettingsError: there is no such file.
    """
    path = folder / CHOICE
    with writing_to(path.parent):
        if name is None:
            path.unlink(missing_ok=True)
            return
        _chosen_file(folder, name)
        path.parent.mkdir(exist_ok=True)
        atomic_write(path, f"{name}\n".encode())


def chosen_name(folder: Path) -> str | None:
    """Return the name that `orchard use` chose in a folder. Raises `SettingsError` if it is no valid name."""
    path = folder / CHOICE
    if not _is_there(path) or not _is_trusted(path):
        return None
    name = _text_of(path).strip()
    if not re.fullmatch(NAME, name):
        raise SettingsError(
            f"{path} is invalid: expected a name that `orchard use` wrote", hint="`orchard use --none` removes it"
        )
    return name


def _chosen_file(folder: Path, name: str, why: str = "") -> Path:
    files = named_files(folder)
    if name in files and _is_trusted(files[name]):
        return files[name]
    others = ", ".join(files) or "there is none"
    raise SettingsError(
        f"{why}there is no file {folder / FILE_NAME}.{name} of yours",
        hint=f"write it; or choose another one with `orchard use NAME` ({others}), or none with `orchard use --none`",
    )


def _upwards(start: Path | None = None) -> Iterator[Path]:
    """Yield a folder, the working directory unless one is given, and those above it, up to the first one with a `.git`."""
    try:
        here = start.absolute() if start else Path.cwd()
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
    global _chosen  # with _applied: what this environment has from files
    for name, value in _applied.items():
        if os.environ.get(name) == value.text:
            del os.environ[name]
    _applied.clear()
    _chosen = None
    values: dict[str, _EnvValue] = {}
    for path in found.files:
        values |= read_file(path, known, paths)
    for name, value in values.items():
        if name not in os.environ:
            os.environ[name] = value.text
            _applied[name] = value
    _chosen = found.chosen


def origin(name: str) -> str | None:
    """Return the file and line that a variable of this process comes from, or None if it comes from no file."""
    value = _applied.get(name)
    return None if value is None or os.environ.get(name) != value.text else f"{shown(value.path)}, line {value.line}"


def in_use() -> str | None:
    """Return the name that `orchard use` chose, unless a variable of the environment names another store."""
    return None if _chosen is None or winners() else _chosen


def winners() -> list[str]:
    """Return the ORCHARD_STORE_* that are set in the environment itself: they win over the file that was chosen."""
    return sorted(name for name in os.environ if name.startswith(f"{PREFIX}STORE_") and origin(name) is None)


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


def line(name: str, value: str) -> str:
    """Return the line of a file that sets a variable to exactly this value, whatever letters it has."""
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{quoted}'\n"


def nearest(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence on an unknown name: the nearest known one, if there is one."""
    near = difflib.get_close_matches(name.upper(), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def shown(path: Path) -> str:
    """Return a path for people: its name alone, if it is in the working directory."""
    return path.name if path.parent == Path.cwd() else str(path)


def read_file(path: Path, known: Collection[str], paths: Collection[str]) -> dict[str, _EnvValue]:
    """Return the ORCHARD_* variables of a file, by name; arguments and errors as of `apply`."""
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

    for binding in parse_stream(io.StringIO(_text_of(path))):
        text = binding.original.string
        yield binding.original.line + text[: len(text) - len(text.lstrip())].count("\n"), binding


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}",
            hint=f"`ls -l {path}` shows its owner and mode; with {VARIABLE}={NO_FILE} no file is read",
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} cannot be read: it is not text in UTF-8", hint=_HINT) from error


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
    literal = binding.original.string.partition("=")[2].lstrip().startswith("'")
    if not literal and _REFERENCE.search(binding.value):
        return f"{name}: variables and commands of the shell are not replaced here; write the value itself"
    return ""
