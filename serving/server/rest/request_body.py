"""Parses a request's body as a JSON object, as TF Serving does.

orjson parses nearly every body. It refuses some that TF Serving's RapidJSON accepts: NaN and Infinity, bytes after the
object, and bytes that are not UTF-8. The slower parser below reads those. It also finds the text and the position of a
syntax error. It is iterative, so that nesting cannot exhaust the stack.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from serving.http.refusals import SMALLER_BODIES
from serving.server.rest.duplicate_members import first_of_duplicates
from serving.server.rest.pretty import quote
from serving.server.serving_error import ServingError, invalid
from serving.status_codes import StatusCode

__all__ = ["MAX_DEPTH", "RECURSION_LIMIT", "SlowBodyError", "parse_body", "read_signature_name"]

MAX_DEPTH = 1024
RECURSION_LIMIT = 20_000
"""Python's recursion limit: JSON may be nested 1,024 deep, and some of its readers recurse for each level."""
MAX_LENIENT_BYTES = 2 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
_NUMBER = re.compile(r"(-?(?:0|[1-9]\d*))(\.\d+)?([eE][-+]?\d+)?")
_CONSTANT = re.compile(r"-?(?:NaN|Inf(?:inity|(?!i)))|true|false|null")
_CONSTANTS: dict[str, Any] = {
    **{"true": True, "false": False, "null": None, "NaN": float("nan"), "-NaN": float("nan")},
    **{"Inf": float("inf"), "Infinity": float("inf"), "-Inf": float("-inf"), "-Infinity": float("-inf")},
}
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|(.))(?:(?<=\\u[dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2}))?"
)
"""An escape; a high surrogate's includes the low one that follows."""
_HIGH, _LOW = 0xD800, 0xDC00
_UINT64 = 1 << 64


class SlowBodyError(Exception):
    """A body needs the lenient parser and is too large for it here."""


class _JsonProblem(Exception):
    """A syntax error in RapidJSON's words, with the index of its character."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = at


def _string_problem(text: str, at: int) -> _JsonProblem:
    """Return why the string that begins at `at` is invalid; a NUL ends RapidJSON's input."""
    match = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*').match(text, at)
    end = match.end() if match else at
    if text[end : end + 1] == "\\":
        if text[end + 1 : end + 2] == "u":
            return _JsonProblem("Incorrect hex digit after \\u escape in string.", end)
        return _JsonProblem("Invalid escape character in string.", end)
    if "\x00" < text[end : end + 1] < " ":
        return _JsonProblem("Invalid escape character in string.", end)
    return _JsonProblem("Missing a closing quotation mark in string.", end)


def _unescape(text: str, at: int) -> str:
    """Replace the escapes of a string whose first character is at `at`. A low surrogate alone becomes its three bytes."""

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return _ESCAPES.get(match[2], match[2])
        if match[3]:
            pair = 0x10000 + (int(match[1], 16) - _HIGH << 10) + int(match[3], 16) - _LOW
            return chr(pair)
        code = int(match[1], 16)
        if _HIGH <= code < _LOW:
            raise _JsonProblem("The surrogate pair in string is invalid.", at + match.start())
        return chr(code).encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")

    return _ESCAPE.sub(replace, text)


def _number_problem(text: str, at: int) -> _JsonProblem:
    rest = re.compile(r"-?(?:0|[1-9]\d*)(\.\d*)?([eE][-+]?)?").match(text, at)
    if rest and rest[1] == ".":
        return _JsonProblem("Miss fraction part in number.", rest.end(1))
    if rest and rest[2]:
        return _JsonProblem("Miss exponent in number.", rest.end(2))
    begin = at + 1 if text[at : at + 1] == "-" else at
    words = ("NaN", "Infinity") if begin > at else ("true", "false", "null", "NaN", "Infinity")
    literal = next((word for word in words if text[begin : begin + 1] == word[0]), "")
    matched = begin
    while literal and matched - begin < len(literal) and text[matched : matched + 1] == literal[matched - begin]:
        matched += 1
    return _JsonProblem("Invalid value.", matched)


def _number(match: re.Match[str], at: int) -> int | float:
    whole = match[2] is None and match[3] is None
    if whole and (len(match[1]) < 20 or (len(match[1]) == 20 and -_UINT64 // 2 <= int(match[1]) < _UINT64)):
        return int(match[1])
    value = float(match[0])
    if value in (float("inf"), float("-inf")):
        raise _JsonProblem("Number too big to be stored in double.", at)
    return value


@dataclass(slots=True)
class _JsonParser:
    text: str
    at: int = 0

    def skip(self) -> str:
        """Skip white space; returns the next character, or "" at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def string(self) -> str:
        match = _STRING.match(self.text, self.at)
        if match is None:
            raise _string_problem(self.text, self.at)
        at, self.at = self.at, match.end()
        return _unescape(match[1], at + 1) if "\\" in match[1] else match[1]

    def scalar(self) -> Any:
        if self.text[self.at : self.at + 1] == '"':
            return self.string()
        constant = _CONSTANT.match(self.text, self.at)
        if constant:
            self.at = constant.end()
            return _CONSTANTS[constant[0]]
        match = _NUMBER.match(self.text, self.at)
        if match is None or self.text[match.end() : match.end() + 1] in (".", "e", "E"):
            raise _number_problem(self.text, self.at)
        at, self.at = self.at, match.end()
        return _number(match, at)

    def name(self) -> str:
        """Parse a member's name and its colon."""
        if self.skip() != '"':
            raise _JsonProblem("Missing a name for object member.", self.at)
        name = self.string()
        if self.skip() != ":":
            raise _JsonProblem("Missing a colon after a name of object member.", self.at)
        self.at += 1
        return name

    def opened(self, stack: list[Any]) -> bool:
        """Enter a list or an object; returns whether it is not empty."""
        opening = self.text[self.at]
        self.at += 1
        stack.append([] if opening == "[" else {})
        if len(stack) > MAX_DEPTH:
            raise _JsonProblem(f"Nested deeper than {MAX_DEPTH} levels.", self.at)
        return self.skip() != ("]" if opening == "[" else "}")

    def document(self) -> Any:
        """Parse one value; ignore everything after it."""
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
        """Add a finished value to its list or object; returns whether that is finished too."""
        container = stack[-1]
        if isinstance(container, list):
            container.append(value)
            closing, problem = "]", "Missing a comma or ']' after an array element."
        else:
            container.setdefault(names[-1], value)  # RapidJSON takes the first of several members with one name
            closing, problem = "}", "Missing a comma or '}' after an object member."
        character = self.skip()
        if character not in (",", closing) or not character:
            raise _JsonProblem(problem, self.at)
        self.at += 1
        if character == closing:
            return True
        names[-1] = self.name() if closing == "}" else ""
        return False


def _parse_leniently(body: bytes | bytearray, refused: orjson.JSONDecodeError) -> Any:
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


def parse_body(
    body: bytes | bytearray, max_values: int, max_lenient: int = MAX_LENIENT_BYTES, *, examples: bool = False
) -> dict[str, Any]:
    """Parse a request's body. Of several members with one name it has the first.

    Args:
        body: the body as received.
        max_values: the maximum number of values; parsing more would block other requests.
        max_lenient: the largest body for the lenient parser, which is a hundred times as slow, in this thread.
        examples: it is the body of `:classify` or `:regress`, see `first_of_duplicates`.

    Raises:
        ServingError: INVALID_ARGUMENT, in TF Serving's words; 413 for too many values.
        SlowBodyError: another thread or process must parse it, without `max_lenient`.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    if len(body) >= max_values and body.count(b",") >= max_values:
        raise ServingError(
            StatusCode.INVALID_ARGUMENT,
            f"The request has more than {max_values} values. {SMALLER_BODIES}, or raise orchard serve --max-values",
            http_status=413,
        )
    refused = False
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if len(body) > max_lenient and max_lenient != MAX_LENIENT_BYTES:
            raise SlowBodyError from None
        refused, document = True, _parse_leniently(body, error)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {quote(document)} Is not object")
    return document if refused else first_of_duplicates(body, document, examples=examples)


def read_signature_name(document: dict[str, Any]) -> str:
    """Return the signature that a request names ("": the default). Raises `ServingError` if it is not a string."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {quote(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name
