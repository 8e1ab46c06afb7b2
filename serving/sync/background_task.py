"""Work that takes long, done beside the loop that must not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["BackgroundTask", "TaskOutcome"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TaskOutcome(Generic[T]):
    """How an errand ended: its result, or the error that ended it."""

    result: T | None
    error: Exception | None


class BackgroundTask(Generic[T]):
    """One call in a thread of its own, which does not hold up the end of the process.

    Args:
        subject: what it is about, for whoever asks.
        work: what is called.
        done: called in the thread when it has ended.
    """

    def __init__(self, subject: str, work: Callable[[], T], done: Callable[[], None]) -> None:
        self.subject = subject
        self._work = work
        self._done = done
        self._outcome: TaskOutcome[T] | None = None
        threading.Thread(target=self._run, name=f"errand {subject}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._outcome = TaskOutcome(self._work(), None)
        except Exception as error:  # whoever sent the errand decides what an error means
            self._outcome = TaskOutcome(None, error)
        self._done()

    def outcome(self) -> TaskOutcome[T] | None:
        """How it ended, or None while it has not."""
        return self._outcome
