"""The server's log: one line for each event, as text or as JSON, written a few times a second."""

from __future__ import annotations

import sys
import threading
import time
from functools import lru_cache
from typing import IO, Any

import orjson

__all__ = ["ServerLog"]


@lru_cache(maxsize=64)
def _form(names: tuple[str, ...]) -> str:
    return "".join([f" {name}=%s" for name in names])


class ServerLog:
    """Lines for people or for programs.

    Args:
        as_json: one JSON object a line, else text.
        stream: where they go; default standard error.
        access: whether requests are logged at all.
    """

    def __init__(self, *, as_json: bool, stream: IO[str] | None = None, access: bool = True) -> None:
        self.access = access
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
        return f"{stamp} {event}{_form(tuple(fields)) % tuple(fields.values())}"

    def note(self, event: str, **fields: Any) -> None:
        """Log something that happens rarely; it is written at once."""
        self.request(event, fields)
        self.flush()

    def request(self, event: str, fields: dict[str, Any]) -> None:
        """Log something that happens often; it is written with the next `flush`."""
        try:
            line = self._line(event, fields)
        except (TypeError, ValueError):  # bytes of a hostile client that are no text
            line = self._line(event, {name: ascii(value) for name, value in fields.items()})
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        """Write what was logged."""
        with self._lock:
            lines, self._lines = self._lines, []
            if lines:
                try:
                    text = "\n".join(lines) + "\n"
                    self._stream.write(text.encode("utf-8", "backslashreplace").decode())
                    self._stream.flush()
                except (OSError, ValueError):  # nobody reads it any more; serving goes on
                    return
