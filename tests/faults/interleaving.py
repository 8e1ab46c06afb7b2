"""Programs that share a store and take turns, one store call at a time, in an order that a test chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from orchard.store.objects import ObjectStore
from tests.faults.crashing_store import CrashingStore, Fault, Killed, fail

__all__ = ["InterleavedActor", "run_interleaved"]

T = TypeVar("T")
DEADLINE = 30.0


class InterleavedActor(CrashingStore):
    """A program in its own thread that pauses before every store call until `step` is called.

    Only one thread runs at a time, so a run depends only on the order of the steps.

    Args:
        inner: the store that all actors share.
        work: what the program does, with this store.
    """

    def __init__(self, inner: ObjectStore, work: Callable[[ObjectStore], Any]) -> None:
        super().__init__(inner)
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended = False
        self._fault: Fault | None = None
        self._resume, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._wait()

    def _run(self, work: Callable[[ObjectStore], Any]) -> None:
        try:
            self.result = work(self)
        except BaseException as error:
            self.error = error
        self.ended = True
        self._paused.release()

    def _do(self, name: str, call: Callable[[], T]) -> T:
        self.calls.append(name)
        self._paused.release()
        assert self._resume.acquire(timeout=DEADLINE), "this actor got no turn"
        if self._fault is None:
            return call()
        return fail(self._fault, call)

    def _wait(self) -> None:
        assert self._paused.acquire(timeout=DEADLINE), "the actor neither called the store nor ended"

    def step(self, fault: Fault | None = None) -> None:
        """Let it do its next store call and run up to the one after, or to its end."""
        assert not self.ended, "it has ended"
        self._fault = fault
        self._resume.release()
        self._wait()

    def finish(self) -> None:
        """Let it run to its end."""
        while not self.ended:
            self.step()

    def kill(self) -> None:
        """End it before its next store call, and wait for its thread."""
        while not self.ended:
            self.step("killed before")
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        if self.error is not None and not isinstance(self.error, Killed):
            self.error.__traceback__ = None


def run_interleaved(
    store: ObjectStore,
    first: Callable[[ObjectStore], Any],
    second: Callable[[ObjectStore], Any],
    before: int,
    between: int,
) -> tuple[InterleavedActor, InterleavedActor]:
    """Let the first program do `before` store calls, then the second `between`, then the first the rest, then the second."""
    one = InterleavedActor(store, first)
    for _ in range(before):
        one.step()
    two = InterleavedActor(store, second)
    for _ in range(between):
        if not two.ended:
            two.step()
    one.finish()
    two.finish()
    return one, two
