"""A long call in a daemon thread, beside a loop that must not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["run_in_background"]

T = TypeVar("T")


def run_in_background(name: str, work: Callable[[], T], done: Callable[[], None]) -> Future[T]:
    """Call `work` in a thread that does not delay the end of the process, then `done`; returns the future result."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # the reader of the future decides what an error means
            future.set_exception(error)
        done()

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
