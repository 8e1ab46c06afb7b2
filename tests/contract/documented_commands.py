"""The shell commands of a Markdown page, with their places: from blocks, from the cells of tables and from sentences.

A block is fenced with the word `bash` or indented by four spaces, and holds commands and comments alone: what a command prints
is in a block of another kind (```text). Words after `bash` describe the block: `terminal=NAME` is another terminal than the
page's, any other word is a label. In tables and sentences, `code` that begins with one of `PROGRAMS` and has an argument is a
command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["PROGRAMS", "DocumentedCommand", "read_commands", "simple_commands", "split_commands"]

_BEGINNINGS = """
    bash cd cp curl docker dvc echo eval export for git helm kind kubectl ls luigi make mkdir orchard pip printf pytest python sed
    skaffold tar until
"""
PROGRAMS = frozenset(_BEGINNINGS.split())
"""Programs, and words of the shell, that commands of the pages begin with; scripts/NAME and .venv/bin/NAME besides."""

Place = Literal["block", "table", "sentence"]

_FENCE = re.compile(r"^```(\S*)[ \t]*(.*)$")
_CODE = re.compile(r"(?<!`)`(?!`)([^`]+)`(?!`)")
_ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=(?:\"[^\"]*\"|'[^']*'|\S)*\s*")
_SUBSTITUTION = re.compile(r"\$\(((?:[^()]|\([^()]*\))*)\)")
_TOKEN = re.compile(
    r"""(?P<operator>\n|[;&|<>()]+)|(?P<word>(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s;&|<>()'"\\])+)""", re.S
)
_WORDS_OF_THE_SHELL = {"do", "done", "then", "fi", "else", "{", "}", "!"}


@dataclass(frozen=True)
class DocumentedCommand:
    """A command as a page has it.

    Attributes:
        page: the path of the page in the checkout.
        line: the number of its first line, from 1.
        text: without comments; a command of several lines keeps its line breaks.
        place: where in the page.
        terminal: the name of its terminal; empty: the page's own.
        label: the other words of its block's fence.
    """

    page: str
    line: int
    text: str
    place: Place
    terminal: str = ""
    label: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {' '.join(self.text.split())}"


def read_commands(page: str, markdown: str) -> list[DocumentedCommand]:
    """Return the commands of a page, in the order of its lines.

    Raises:
        ValueError: a command of a block does not end, or begins with no known program; with the page and the line.
    """
    lines = markdown.splitlines()
    found = list(_block_commands(page, lines))  # empties the lines of blocks, which have no tables and no sentences
    text = "\n".join(lines)
    for match in _CODE.finditer(text):
        code = " ".join(match[1].replace("\\|", "|").split())
        if _is_command(code) and len(code.split()) > 1:
            begin = text.rfind("\n", 0, match.start()) + 1
            place: Place = "table" if text[begin : begin + 1] == "|" else "sentence"
            found.append(DocumentedCommand(page, text.count("\n", 0, match.start()) + 1, code, place))
    return sorted(found, key=lambda command: command.line)


def _block_commands(page: str, lines: list[str]) -> Iterator[DocumentedCommand]:
    position = 0
    while position < len(lines):
        fence = _FENCE.match(lines[position])
        begin = position
        if fence:
            position = next((n for n in range(begin + 1, len(lines)) if lines[n].startswith("```")), len(lines)) + 1
            block, words = [begin + 1, position - 1], fence[2].split()
            wanted = fence[1] == "bash"
        elif lines[position].startswith("    ") and (position == 0 or not lines[position - 1].strip()):
            while position < len(lines) and (lines[position].startswith("    ") or not lines[position].strip()):
                position += 1
            block, words, wanted = [begin, position], [], True
        else:
            position += 1
            continue
        if wanted:
            named = dict(word.split("=", 1) for word in words if "=" in word)
            label = " ".join(word for word in words if "=" not in word)
            for offset, text in _checked(page, lines[block[0] : block[1]], block[0] + 1):
                yield DocumentedCommand(page, offset, text, "block", named.get("terminal", ""), label)
        lines[begin:position] = [""] * (min(position, len(lines)) - begin)


def _checked(page: str, block: Sequence[str], first: int) -> Iterator[tuple[int, str]]:
    try:
        for offset, text in split_commands(block):
            if not _is_command(text):
                word = text.split()[0]
                raise ValueError(
                    f"line {first + offset}: {word!r} is no known program: output belongs into a ```text block"
                )
            yield first + offset, text
    except ValueError as error:
        raise ValueError(f"{page}: block of line {first}: {error}") from error


def _is_command(text: str) -> bool:
    rest = text.lstrip()
    while match := _ASSIGNMENT.match(rest):
        rest = rest[match.end() :]
    if not rest:
        return True  # NAME=VALUE alone
    word = rest.split()[0]
    return word in PROGRAMS or word.startswith(("scripts/", ".venv/bin/"))


def split_commands(block: Sequence[str]) -> list[tuple[int, str]]:
    """Split the lines of a block into commands.

    Quotation marks, a backslash, a pipe or `&&` at the end of a line, and `do` without its `done` continue a command in the next line.

    Args:
        block: lines, with or without the same indentation.

    Returns:
        The offset of each command's first line in the block, from 0, and its text without comments.

    Raises:
        ValueError: the last command does not end, or has a here-document.
    """
    found: list[tuple[int, str]] = []
    begin, pending, quote = 0, "", ""
    indentation = min((len(line) - len(line.lstrip()) for line in block if line.strip()), default=0)
    for number, line in enumerate(block):
        piece, quote = _without_comment(line[indentation:].rstrip(), quote)
        if not pending and not piece.strip():
            continue
        begin = begin if pending else number
        pending = f"{pending}\n{piece}" if pending else piece
        if not quote and _is_whole(pending):
            found.append((begin, pending.strip()))
            pending = ""
    if pending:
        raise ValueError(f"the command {pending.splitlines()[0]!r} does not end")
    return found


def _without_comment(line: str, quote: str) -> tuple[str, str]:
    """Return a line without its comment, and the quotation mark that is open at its end."""
    escaped = False
    for position, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (position == 0 or line[position - 1].isspace()):
            return line[:position].rstrip(), ""
    return line, quote


def _is_whole(text: str) -> bool:
    bare = re.sub(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", "", text)
    if "<<" in bare:
        raise ValueError(f"{text!r} has a here-document, which no page needs")
    words = re.findall(r"(?<![\w/.-])(?:do|done)(?![\w/.-])", bare)
    return words.count("do") == words.count("done") and not re.search(r"(\\|&&|\|)$", text)


def simple_commands(text: str) -> list[list[str]]:
    """Return the words of each program's call in a command, also of those in `$(…)`; without redirections and assignments.

    Args:
        text: as `DocumentedCommand.text`.
    """
    found: list[list[str]] = []
    for inner in _SUBSTITUTION.findall(text):
        found += simple_commands(inner)
    text = _SUBSTITUTION.sub("$…", text)
    words: list[str] = []
    redirected = False
    for token, is_operator in [*_tokens(text), (";", True)]:
        if is_operator and set(token) & set("<>"):
            redirected = True
            words = words[:-1] if words and words[-1].isdigit() else words
        elif is_operator or (not words and token in _WORDS_OF_THE_SHELL):
            found += [words] if words else []
            words = []
        elif redirected:
            redirected = False
        elif words or not re.match(r"[A-Za-z_]\w*=", token):
            words.append(token)
    return found


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each word without its quotation marks, and each operator, with whether it is one."""
    for match in _TOKEN.finditer(text.replace("\\\n", " ")):
        if match["word"]:
            yield "".join(shlex.split(match["word"])), False
        elif match["operator"]:
            yield match["operator"], True
