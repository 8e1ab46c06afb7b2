"""The output of a program: one result on stdout (text for people, JSON for programs), progress and notes on stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from orchard.disk import writing_to

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Reporter", "is_interactive", "repeated", "wants_colour"]

T = TypeVar("T")

PROGRESS_SECONDS = 10.0
"""Nobody waits for longer than this without a line."""


@contextmanager
def repeated(report: Callable[[float], None]) -> Iterator[None]:
    """Call a function every `PROGRESS_SECONDS` while the block runs, in a thread.

    Args:
        report: gets the seconds since the begin.
    """
    begin, ended = time.monotonic(), threading.Event()

    def call() -> None:
        while not ended.wait(PROGRESS_SECONDS):
            report(time.monotonic() - begin)

    caller = threading.Thread(target=call, name="progress", daemon=True)
    caller.start()
    try:
        yield
    finally:
        ended.set()
        caller.join()


def is_interactive(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal that moves its cursor: TERM=dumb does not."""
    return stream.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


def wants_colour(stream: IO[str]) -> bool:
    """Return whether colour may be written to a stream: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return is_interactive(stream) and not os.environ.get("NO_COLOR")


class Reporter:
    """Prints a program's result, notes and progress.

    Args:
        as_json: print the result as one JSON document; notes and progress then only on a terminal.
        json_file: a file to which the JSON document is written too.
    """

    def __init__(self, *, as_json: bool = False, json_file: Path | None = None) -> None:
        self.as_json = as_json
        self.json_file = json_file
        self.quiet = as_json and not sys.stderr.isatty()

    @classmethod
    def silent(cls) -> Self:
        """Return a reporter that prints no notes and no progress."""
        reporter = cls()
        reporter.quiet = True
        return reporter

    def _is_animated(self) -> bool:
        return not self.quiet and is_interactive(sys.stderr)

    def _console(self) -> Console:
        from rich.console import Console  # takes 50 ms to import, and most calls do not need it

        return Console(stderr=True, highlight=False, soft_wrap=True)  # rich respects NO_COLOR

    def note(self, text: str) -> None:
        """Print a line about progress, for a person."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def result(self, document: dict[str, Any], text: str | None = None) -> None:
        """Print the result: `document` with --json, else `text` (or the document, indented)."""
        if self.json_file is not None:
            with writing_to(self.json_file.parent):
                self.json_file.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        if self.as_json:
            print(json.dumps(document, ensure_ascii=False), flush=True)
        else:
            print(json.dumps(document, ensure_ascii=False, indent=2) if text is None else text, flush=True)

    def table(self, columns: list[str], rows: Iterable[Iterable[object]]) -> str:
        """Lay out rows as a plain table for `result`."""
        cells = [columns, *[[str(cell) for cell in row] for row in rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        )

    @contextmanager
    def status(self, text: str) -> Iterator[None]:
        """Show `text` while work of unknown length runs (a spinner on a terminal, a line every ten seconds elsewhere)."""
        if self._is_animated():
            with self._console().status(text):
                yield
        else:
            self.note(text)
            with self._repeated(lambda seconds: f"{text}: {seconds:.0f} s"):
                yield

    @contextmanager
    def _repeated(self, line: Callable[[float], str]) -> Iterator[None]:
        """Print a line every ten seconds, unless this reporter is quiet."""
        if self.quiet:
            yield
            return
        with repeated(lambda seconds: self.note(line(seconds))):
            yield

    def track(self, items: Iterable[T], text: str, total: int | None = None, *, announce: bool = True) -> Iterator[T]:
        """Yield `items` and show progress (a bar on a terminal, elsewhere a line at the start and every ten seconds).

        Args:
            items: the items to work through.
            text: the work, for example ``"decoding photos"``.
            total: the number of items, where `items` has no length.
            announce: print the line at the start where there is no bar.
        """
        if not self._is_animated():
            if announce:
                self.note(f"{text} …")
            yield from self._counted(items, text, total)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console(), transient=True) as progress:
            yield from progress.track(items, total=total, description=text)

    def _counted(self, items: Iterable[T], text: str, total: int | None) -> Iterator[T]:
        known = len(items) if total is None and isinstance(items, Sized) else total
        of, done = f" of {known}" if known is not None else "", 0
        with self._repeated(lambda seconds: f"{text}: {done}{of}, {seconds:.0f} s"):
            for item in items:
                yield item
                done += 1
