"""A request's body as a JSON object, read as TF Serving reads it.

orjson reads nearly every body. It refuses some that TF Serving's RapidJSON takes (NaN and Infinity, bytes after the
object, bytes that are not UTF-8); those, and the wording and the place of an error, are for the slower parser below,
which is as iterative as it is strict.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from serving.server.rest.pretty import quote
from serving.server.serving_error import ServingError, invalid

__all__ = ["MAX_DEPTH", "parse_body", "read_signature_name"]

MAX_DEPTH = 1024
MAX_LENIENT_BYTES = 2 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
_NUMBER = re.compile(r"(-?(?:0|[1-9]\d*))(\.\d+)?([eE][-+]?\d+)?")
_CONSTANT = re.compile(r"-?(?:NaN|Inf(?:inity)?)|true|false|null")
_CONSTANTS: dict[str, Any] = {
    **{"true": True, "false": False, "null": None, "NaN": float("nan"), "-NaN": float("nan")},
    **{"Inf": float("inf"), "Infinity": float("inf"), "-Inf": float("-inf"), "-Infinity": float("-inf")},
}
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_PAIR = re.compile("([\ud800-\udbff])([\udc00-\udfff])")
_HIGH, _LOW = (0xD800, 0xDC00), (0xDC00, 0xE000)
_UINT64 = 1 << 64


class _JsonProblem(Exception):
    """What RapidJSON says of a text, and the character at which it says so."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = at


def _string_problem(text: str, at: int) -> _JsonProblem:
    """Find out why the string that begins at `at` is none."""
    found = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*').match(text, at)
    end = found.end() if found else at
    if end < len(text) and text[end] == "\\":
        if text[end + 1 : end + 2] == "u":
            return _JsonProblem("Incorrect hex digit after \\u escape in string.", end)
        if end + 1 < len(text):
            return _JsonProblem("Invalid escape character in string.", end)
    elif end < len(text) and text[end] != '"':
        return _JsonProblem("Invalid encoding in string.", end)
    return _JsonProblem("Missing a closing quotation mark in string.", at)


def _unescape(text: str, at: int) -> str:
    def one(found: re.Match[str]) -> str:
        if found[1] is None:
            return _ESCAPES.get(found[2], found[2])
        return chr(int(found[1], 16))

    plain = _ESCAPE.sub(one, text)
    plain = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), plain)
    if any(_HIGH[0] <= ord(char) < _LOW[1] for char in plain) and "\\u" in text:
        raise _JsonProblem("The surrogate pair in string is invalid.", at)
    return plain


def _number_problem(text: str, at: int) -> _JsonProblem:
    rest = re.compile(r"-?(?:0|[1-9]\d*)(\.\d*)?([eE][-+]?)?").match(text, at)
    if rest and rest[1] == ".":
        return _JsonProblem("Miss fraction part in number.", rest.end(1))
    if rest and rest[2]:
        return _JsonProblem("Miss exponent in number.", rest.end(2))
    literal = next((word for word in ("true", "false", "null") if text[at : at + 1] == word[0]), "")
    matched = at
    while literal and matched - at < len(literal) and text[matched : matched + 1] == literal[matched - at]:
        matched += 1
    return _JsonProblem("Invalid value.", matched)


def _number(found: re.Match[str], at: int) -> int | float:
    whole = found[2] is None and found[3] is None
    if whole and (len(found[1]) < 20 or (len(found[1]) == 20 and -_UINT64 // 2 <= int(found[1]) < _UINT64)):
        return int(found[1])
    value = float(found[0])
    if value in (float("inf"), float("-inf")):
        raise _JsonProblem("Number too big to be stored in double.", at)
    return value


@dataclass(slots=True)
class _JsonParser:
    text: str
    at: int = 0

    def skip(self) -> str:
        """Skip white space; returns the next character, or nothing at the end."""
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at : self.at + 1]

    def string(self) -> str:
        found = _STRING.match(self.text, self.at)
        if found is None:
            raise _string_problem(self.text, self.at)
        at, self.at = self.at, found.end()
        return _unescape(found[1], at) if "\\" in found[1] else found[1]

    def scalar(self) -> Any:
        if self.text[self.at : self.at + 1] == '"':
            return self.string()
        constant = _CONSTANT.match(self.text, self.at)
        if constant:
            self.at = constant.end()
            return _CONSTANTS[constant[0]]
        found = _NUMBER.match(self.text, self.at)
        if found is None or self.text[found.end() : found.end() + 1] in (".", "e", "E"):
            raise _number_problem(self.text, self.at)
        at, self.at = self.at, found.end()
        return _number(found, at)

    def name(self) -> str:
        """Read a member's name and its colon."""
        if self.skip() != '"':
            raise _JsonProblem("Missing a name for object member.", self.at)
        name = self.string()
        if self.skip() != ":":
            raise _JsonProblem("Missing a colon after a name of object member.", self.at)
        self.at += 1
        return name

    def opened(self, stack: list[Any]) -> bool:
        """Enter a list or an object; returns whether it is still open, that is, not empty."""
        opening = self.text[self.at]
        self.at += 1
        stack.append([] if opening == "[" else {})
        if len(stack) > MAX_DEPTH:
            raise _JsonProblem(f"Nested deeper than {MAX_DEPTH} levels.", self.at)
        return self.skip() != ("]" if opening == "[" else "}")

    def document(self) -> Any:
        """Read one value and stop after it, whatever follows."""
        if not self.skip():
            raise _JsonProblem("The document is empty.", self.at)
        stack: list[Any] = []
        names: list[str] = []
        while True:
            character = self.skip()
            if character in ("[", "{") and character:
                if self.opened(stack):
                    names.append(self.name() if character == "{" else "")
                    continue
                self.at += 1
                value = stack.pop()
            else:
                value = self.scalar()
            while stack:
                if not self.closed(stack, names, value):
                    break
                value = stack.pop()
                names.pop()
            else:
                return value

    def closed(self, stack: list[Any], names: list[str], value: Any) -> bool:
        """Put a finished value into what holds it; returns whether that is finished too."""
        holder = stack[-1]
        if isinstance(holder, list):
            holder.append(value)
            closing, problem = "]", "Missing a comma or ] after an array element."
        else:
            holder.setdefault(names[-1], value)  # of two members with one name RapidJSON finds the first
            closing, problem = "}", "Missing a comma or } after an object member."
        character = self.skip()
        if character not in (",", closing) or not character:
            raise _JsonProblem(problem, self.at)
        self.at += 1
        if character == closing:
            return True
        names[-1] = self.name() if closing == "}" else ""
        return False


def _parse_leniently(body: bytes, refused: orjson.JSONDecodeError) -> Any:
    if len(body) > MAX_LENIENT_BYTES:
        raise invalid(f"JSON Parse error: {refused.msg}. at offset: {refused.pos}") from refused
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    try:
        return _JsonParser(text).document()
    except _JsonProblem as problem:
        offset = len(text[: problem.at].encode("utf-8", "surrogateescape")) + (
            len(body) - len(text.encode("utf-8", "surrogateescape"))
        )
        raise invalid(f"JSON Parse error: {problem} at offset: {offset}") from None


def parse_body(body: bytes, max_values: int) -> dict[str, Any]:
    """Read a request's body.

    Args:
        body: as it came.
        max_values: the most values that it may hold; more would hold up everybody else while they are read.

    Raises:
        ServingError: INVALID_ARGUMENT in TF Serving's words; 413 for too many values.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    if len(body) >= max_values and body.count(b",") >= max_values:
        raise ServingError(invalid("").code, f"The request holds more than {max_values} values", http_status=413)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as refused:
        found = _parse_leniently(body, refused)
    if not isinstance(found, dict):
        raise invalid(f"JSON Value: {quote(found)} Is not object")
    return found


def read_signature_name(document: dict[str, Any]) -> str:
    """Return the signature that a request asks for ("": the default). Raises `ServingError` if it is no string."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {quote(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name
