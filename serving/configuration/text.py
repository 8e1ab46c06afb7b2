"""Protocol buffers in text format: what `models.config` is written in.

Only the grammar is here, `serving.configuration.models` knows which fields there are. A message is a list of
(name, value, position); a value is a string, a number, a word (`true`, an enum's name) or a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchard.errors import OrchardError

__all__ = ["ConfigError", "Entry", "Message", "Word", "escape", "parse_text"]

_TOKENS = re.compile(
    r"""
    (?P<skip>  \s+ | \#[^\n]* )
  | (?P<string> "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
  | (?P<number> -?\s*(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][-+]?\d+)?[fF]?) )
  | (?P<word>  [A-Za-z_][A-Za-z0-9_.]* )
  | (?P<mark>  [{}<>\[\]:,;] )
    """,
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_CLOSING = {"{": "}", "<": ">"}
_MAX_DEPTH = 32
_MAX_CHARACTERS = 1 << 20


class ConfigError(OrchardError):
    """A models.config cannot be read or says something impossible."""

    exit_code = 3


class Word(str):
    """A bare word: `true`, `false` or an enum's name; not a quoted string."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a message: its name, its value and where it stands (``line:column``)."""

    name: str
    value: str | int | float | Message
    where: str


@dataclass(frozen=True, slots=True)
class Message:
    """The fields between two braces, in the order in which they stand."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


class _Reader:
    def __init__(self, text: str) -> None:
        if len(text) > _MAX_CHARACTERS:
            raise ConfigError(f"it has {len(text)} characters; at most {_MAX_CHARACTERS} are read")
        self.text = text
        self.tokens = list(self._split())
        self.next = 0

    def _split(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.text):
            found = _TOKENS.match(self.text, at)
            if found is None:
                raise self.problem(at, f"{self.text[at]!r} does not belong here")
            if found.lastgroup != "skip":
                yield _Token(str(found.lastgroup), found[0], at)
            at = found.end()

    def where(self, at: int) -> str:
        return f"{self.text.count(chr(10), 0, at) + 1}:{at - self.text.rfind(chr(10), 0, at)}"

    def problem(self, at: int, what: str) -> ConfigError:
        return ConfigError(f"{self.where(at)}: {what}")

    def peek(self) -> _Token | None:
        return self.tokens[self.next] if self.next < len(self.tokens) else None

    def take(self, expected: str) -> _Token:
        token = self.peek()
        if token is None:
            raise self.problem(len(self.text), f"the text ends where {expected} was expected")
        self.next += 1
        return token

    def took(self, marks: str) -> str:
        """Take the next token if it is one of these marks; returns it or an empty string."""
        token = self.peek()
        if token is None or token.kind != "mark" or token.text not in marks:
            return ""
        self.next += 1
        return token.text


def _unescape(found: re.Match[str]) -> str:
    octal, byte, short, long, other = found.groups()
    if octal:
        return chr(int(octal, 8) & 0xFF)
    if byte or short:
        return chr(int(byte or short, 16))
    if long:
        return chr(min(int(long, 16), 0x10FFFF))
    return _ESCAPES.get(other, other)


def _string(reader: _Reader, first: _Token) -> str:
    parts = [first]
    while (token := reader.peek()) is not None and token.kind == "string":
        parts.append(reader.take("a string"))
    return "".join(_ESCAPE.sub(_unescape, part.text[1:-1]) for part in parts)


def _number(reader: _Reader, token: _Token) -> int | float:
    text = re.sub(r"\s", "", token.text)
    if re.fullmatch(r"-?0[xX].*", text):
        return int(text, 16)
    if re.fullmatch(r"-?0[0-7]+", text):
        return int(text, 8)
    try:
        return int(text) if re.fullmatch(r"-?\d{1,40}", text) else float(text.rstrip("fF"))
    except ValueError as error:
        raise reader.problem(token.at, f"{text} is no number") from error


def _scalar(reader: _Reader, token: _Token) -> str | int | float:
    if token.kind == "string":
        return _string(reader, token)
    if token.kind == "number":
        return _number(reader, token)
    if token.kind == "word":
        return Word(token.text)
    raise reader.problem(token.at, f"expected a value, found {token.text!r}")


def _values(reader: _Reader, depth: int) -> Iterator[str | int | float | Message]:
    opening = reader.took("{<")
    if opening:
        yield _message(reader, _CLOSING[opening], depth + 1)
    elif reader.took("["):
        if reader.took("]"):
            return
        while True:
            yield from _values(reader, depth + 1)
            if reader.took("]"):
                return
            comma = reader.take("',' or ']'")
            if comma.text != ",":
                raise reader.problem(comma.at, f"expected ',' or ']', found {comma.text!r}")
    else:
        yield _scalar(reader, reader.take("a value"))


def _message(reader: _Reader, closing: str, depth: int) -> Message:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"messages stand more than {_MAX_DEPTH} deep in each other")
    entries: list[Entry] = []
    while True:
        if closing and reader.took(closing):
            return Message(tuple(entries))
        if not closing and reader.peek() is None:
            return Message(tuple(entries))
        name = reader.take(f"a field or {closing!r}")
        if name.kind != "word":
            raise reader.problem(name.at, f"expected a field's name, found {name.text!r}")
        colon = reader.took(":")
        token = reader.peek()
        if not colon and (token is None or token.text not in ("{", "<")):
            raise reader.problem(name.at, f"expected ':' after {name.text}")
        entries.extend(Entry(name.text, value, reader.where(name.at)) for value in _values(reader, depth))
        reader.took(",;")


def parse_text(text: str) -> Message:
    """Read a message in text format.

    Raises:
        ConfigError: naming line and column of what is wrong.
    """
    return _message(_Reader(text), "", 0)


def escape(text: str) -> str:
    """Return `text` as a quoted string."""
    out = []
    for character in text:
        if character in '"\\':
            out.append("\\" + character)
        elif " " <= character <= "~" or character >= "\u00a0":
            out.append(character)
        else:
            out.append(f"\\{ord(character):03o}")
    return '"' + "".join(out) + '"'
