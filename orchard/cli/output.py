"""What a verb may print: one result on stdout (text for people, JSON for programs), everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Output"]

T = TypeVar("T")


class Output:
    """Prints a verb's result, notes and progress.

    Args:
        as_json: print the result as one JSON document; notes and progress then only on a terminal.
        json_file: a file that gets the JSON document too, whatever is printed.
    """

    def __init__(self, *, as_json: bool, json_file: Path | None = None) -> None:
        self.as_json = as_json
        self.json_file = json_file
        self.quiet = as_json and not sys.stderr.isatty()

    def _console(self, *, stderr: bool) -> Console:
        from rich.console import Console  # rich takes 50 ms to import and many calls print nothing through it

        return Console(stderr=stderr, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Say something on the way, to a person."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def result(self, document: dict[str, Any], text: str | None = None) -> None:
        """Print what the verb found out: `document` with --json, else `text` (or the document, readably)."""
        if self.json_file is not None:
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
        """Show `text` while something of unknown length goes on (a spinner on a terminal, one line elsewhere)."""
        if sys.stderr.isatty():
            with self._console(stderr=True).status(text):
                yield
        else:
            self.note(text)
            yield

    def track(self, items: Iterable[T], text: str, total: int | None = None) -> Iterator[T]:
        """Yield `items` and show how far it got (a bar on a terminal, a line at the start elsewhere).

        Args:
            items: what is worked through.
            text: what is done with them, for example ``"decoding photos"``.
            total: how many there are, where `items` has no length.
        """
        if not sys.stderr.isatty():
            self.note(f"{text} …")
            yield from items
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console(stderr=True), transient=True) as progress:
            yield from progress.track(items, total=total, description=text)
