"""Whether a documented command could run: its verb, options and arguments, its make target and variables, and its files exist."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from functools import cache
from pathlib import Path

import click
from click.core import ParameterSource

from orchard.cli.command import orchard
from tests.contract.documented_commands import DocumentedCommand, simple_commands

__all__ = ["find_faults", "make_variables"]

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = re.compile(r"…|\.\.\.|<[\w ]+>|\$|\b[A-Z][A-Z_]+\b")
"""What stands for something that the reader puts in: VERSION, <verb>, $PHOTO, or an ellipsis."""

_EXTENSIONS = (".yaml", ".md", ".toml", ".py", ".env")
_MADE = ("artifacts/", "build/", "data/", ".orchard/", "keys/", "list/", "new/")
_READ_BY_PROGRAMS = ("Makefile", "scripts", "tests", "orchestration", "skaffold.yaml", "orchard", "serving")


def find_faults(command: DocumentedCommand) -> list[str]:
    """Return what is wrong with a command, each in a sentence; an empty list: it could run."""
    faults = []
    mention = command.place != "block"  # a sentence may name a verb without its arguments
    for words in simple_commands(command.text):
        program, rest = words[0], words[1:]
        if program == "orchard":
            faults += _verb_faults(rest, mention=mention)
        elif program == "make":
            faults += _make_faults(rest)
        elif program == "dvc" and not mention:
            faults += _dvc_faults(rest)
        elif re.search(r"(^|/)python$", program) and rest[:1] == ["-m"]:
            faults += _module_faults(rest[1:])
        elif program.startswith("scripts/"):
            faults += _option_faults(ROOT / program, rest)
        faults += [fault for word in words for fault in _path_faults(word)]
    return faults + _environment_faults(command.text)


def _verb_faults(words: list[str], *, mention: bool) -> list[str]:
    """Parse as the command itself does, without running it."""
    context = click.Context(orchard, info_name="orchard")
    command: click.Command = orchard
    if words and words[0].startswith("-"):
        return [] if words[0] in {"--help", "--version", "-h"} else [f"orchard has no option {words[0]}"]
    while isinstance(command, click.Group):
        if not words or words[0] == "--help" or PLACEHOLDER.search(words[0]):
            return [] if mention or words else [f"`{context.command_path}` needs a verb"]
        found = command.get_command(context, words[0])
        if found is None:
            return [f"`{context.command_path}` has no verb {words[0]!r}"]
        context, command, words = click.Context(found, context, info_name=words[0]), found, words[1:]
    if "--help" in words:
        return []
    if "…" in words:  # the page leaves something out
        words, mention = [word for word in words if word != "…"] + (["…"] if words[-2:-1] == ["--why"] else []), True
    if mention and words and words[-1].startswith("--"):
        words = [*words, "…"]  # a sentence may name an option without its value
    try:
        values, left, _ = command.make_parser(context).parse_args(list(words))
        left = [word for word in left if not (mention and word == "…")]
        if left and not context.allow_extra_args:
            return [f"`{context.command_path}` takes no further argument: {' '.join(left)}"]
        return [
            fault
            for parameter in command.get_params(context)
            for fault in _value_faults(context, parameter, values, mention)
        ]
    except click.UsageError as error:
        return [f"`{context.command_path}`: {error.format_message()}"]


def _value_faults(
    context: click.Context, parameter: click.Parameter, values: dict[str, object], mention: bool
) -> list[str]:
    value, source = parameter.consume_value(context, values)
    if source is not ParameterSource.COMMANDLINE or value in ((), None):
        lacks = parameter.required and not mention and source is ParameterSource.DEFAULT
        return [f"`{context.command_path}` needs {parameter.human_readable_name}"] if lacks else []
    texts = [str(item) for item in (value if isinstance(value, tuple | list) else [value])]
    if isinstance(parameter.type, click.Path | click.File) or any(PLACEHOLDER.search(text) for text in texts):
        return []
    try:
        parameter.type_cast_value(context, value)
    except click.UsageError as error:
        return [f"`{context.command_path}`: {error.format_message()}"]
    return []


@cache
def make_variables() -> dict[str, frozenset[str]]:
    """Return the variables that each target of the Makefile reads, also through other variables and targets."""
    text = (ROOT / "Makefile").read_text()
    definitions = dict(re.findall(r"^([A-Z_]+|needed) *[?:]?= *(.*)$", text, re.M))
    rules = {
        match[1]: (match[2], match[3])
        for match in re.finditer(r"^([\w./-]+): *([^=#\n]*?)(?:##.*)?\n((?:\t.*\n?)*)", text, re.M)
    }

    def named(fragment: str, seen: frozenset[str]) -> set[str]:
        found = set(re.findall(r"\$\(([A-Z_]+)\)|\$\(call needed,([A-Z_]+)", fragment))
        names = {name for pair in found for name in pair if name} | set(re.findall(r"\$\(if \$\(([A-Z_]+)\)", fragment))
        for name in names - seen:
            names |= named(definitions.get(name, ""), seen | names)
        return names

    def read(target: str) -> set[str]:
        needs, recipe = rules.get(target, ("", ""))
        below = [read(other) for other in re.findall(r"[\w./-]+", re.sub(r"\$\(.*\)", "", needs)) if other != target]
        return named(needs + recipe, frozenset()).union(*below)

    return {target: frozenset(read(target)) for target in rules}


def _make_faults(words: list[str]) -> list[str]:
    targets, faults = make_variables(), []
    goals = [word for word in words if "=" not in word and not word.startswith("-")]
    for goal in goals:
        if goal not in targets and not PLACEHOLDER.search(goal):
            faults.append(f"the Makefile has no target {goal!r}")
    for name in (word.split("=")[0] for word in words if "=" in word):
        if not any(name in targets.get(goal, ()) for goal in goals):
            faults.append(f"make {' '.join(goals)} reads no variable {name}")
    return faults


def _dvc_faults(words: list[str]) -> list[str]:
    from dvc.cli import DvcParserError
    from dvc.cli.parser import get_main_parser

    with contextlib.redirect_stderr(io.StringIO()) as printed, contextlib.redirect_stdout(printed):
        try:
            get_main_parser().parse_args(words)
        except (DvcParserError, SystemExit):
            return [f"dvc {' '.join(words)}: {printed.getvalue().strip().splitlines()[-1:]}"]
    return []


def _module_faults(words: list[str]) -> list[str]:
    path = ROOT / words[0].replace(".", "/")
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__main__.py"
    if not file.exists():
        return [] if PLACEHOLDER.search(words[0]) else [f"there is no module {words[0]}"]
    return _option_faults(file, words[1:])


def _option_faults(file: Path, words: list[str]) -> list[str]:
    if not file.exists():
        return []  # a fault of its path
    text = file.read_text()
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    return [f"{file.relative_to(ROOT)} reads no {option}" for option in options if f"{option}" not in text]


@cache
def _tracked() -> frozenset[str]:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    folders = {str(parent) for name in names for parent in Path(name).parents}
    return frozenset(names) | folders


def _path_faults(word: str) -> list[str]:
    """A path that begins with a folder of the checkout, or names a file of its root, must be there."""
    name = re.sub(r"^.*[=@]|::.*$", "", word).rstrip("/")
    folder = name.split("/")[0] if "/" in name else ""
    of_the_root = not folder and name.startswith("params") and name.endswith(_EXTENSIONS)
    in_checkout = of_the_root or (bool(folder) and folder in _tracked())
    if not in_checkout or name.startswith(_MADE) or PLACEHOLDER.search(name) or set(name) & set("*?[ "):
        return []
    return [] if name in _tracked() else [f"there is no {name} in the checkout"]


@cache
def _sources() -> str:
    files = [
        name for name in _tracked() if name.startswith(_READ_BY_PROGRAMS) and not name.startswith("tests/contract/")
    ]
    return "\n".join((ROOT / name).read_text(errors="ignore") for name in files if (ROOT / name).is_file())


def _environment_faults(text: str) -> list[str]:
    """A variable that is set for one command must be read somewhere."""
    names = re.findall(r"(?:^|[;&] *|do )([A-Z][A-Z0-9_]+)=\S* +(?=\S)", re.sub(r"\b(PHOTOS?)=", "", text))
    return [f"no program reads the variable {name}" for name in names if not re.search(rf"\b{name}\b", _sources())]
