"""The log of a program: one line for each event, as text or as JSON. Frequent events are buffered."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from functools import lru_cache
from typing import IO, Any

import orjson

__all__ = ["EventLog", "event_text"]

_SPECIAL = re.compile(r'[\s"]')


@lru_cache(maxsize=64)
def _form(names: tuple[str, ...]) -> tuple[str, int]:
    return "".join([f" {name}=%s" for name in names]), len(names)


def _quoted(value: Any) -> str:
    text = str(value)
    if text.isprintable() and not _SPECIAL.search(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def event_text(event: str, fields: dict[str, Any]) -> str:
    """Return an event as one line of text, ``event name=value …``.

    A value with white space, quotation marks or unprintable characters becomes a JSON string. So a value that a client
    sends cannot end the line or begin another field.
    """
    form, count = _form(tuple(fields))
    text = form % tuple(fields.values())
    if text.count(" ") != count or '"' in text or not text.isprintable():
        text = form % tuple(map(_quoted, fields.values()))
    return event + text


class EventLog:
    """Writes events as lines, for people or for programs.

    Args:
        as_json: write one JSON object a line instead of text.
        stream: the stream to write to; default: standard error.
    """

    def __init__(self, *, as_json: bool, stream: IO[str] | None = None) -> None:
        self._as_json = as_json
        self._stream = stream or sys.stderr
        self._lines: list[str] = []
        self._second = 0, ""
        self._lock = threading.Lock()

    def _line(self, event: str, fields: dict[str, Any]) -> str:
        now = time.time()
        second, text = self._second
        if second != int(now):
            second, text = self._second = int(now), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        stamp = f"{text}.{int(now % 1 * 1000):03d}Z"
        if self._as_json:
            line = {"time": stamp, "event": event, **fields}
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        return f"{stamp} {event_text(event, fields)}"

    def write(self, event: str, **fields: Any) -> None:
        """Log a rare event; it is written at once."""
        self.buffer(event, fields)
        self.flush()

    def file_problem(self, reason: str) -> None:
        """Log what is wrong with a file that is read again when it changes."""
        self.write("file", reason=reason)

    def buffer(self, event: str, fields: dict[str, Any]) -> None:
        """Log a frequent event; the next `flush` writes it."""
        try:
            line = self._line(event, fields)
        except (TypeError, ValueError):  # JSON cannot hold bytes from a client that are not text
            line = self._line(event, {name: ascii(value) for name, value in fields.items()})
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        """Write the buffered lines."""
        with self._lock:
            lines, self._lines = self._lines, []
            if lines:
                try:
                    text = "\n".join(lines) + "\n"
                    self._stream.write(text.encode("utf-8", "backslashreplace").decode())
                    self._stream.flush()
                except (OSError, ValueError):  # the reader has closed the stream; serving continues
                    return
