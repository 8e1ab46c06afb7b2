"""The end of a process in this one: at a call to the disk or to the store, after which nothing of it changes anything."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchard.store import ObjectStore
from tests.faults.crashing_store import CrashingStore, Killed

__all__ = ["KilledStore", "ProcessKill"]


class ProcessKill:
    """The end of a process: once it is dead, nothing of it changes the disk, not even what stands in a `finally`."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.count, self.dead = at, itertools.count(), False

    def check(self) -> None:
        self.dead = self.dead or next(self.count) == self.at
        if self.dead:
            raise Killed

    @contextmanager
    def awaited(self):
        """Let the process die before a certain call that changes the disk."""

        def wrap(call):
            def stand_in(*arguments, **named):
                self.check()
                return call(*arguments, **named)

            return stand_in

        with pytest.MonkeyPatch.context() as patch:
            for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Path, "unlink")):
                patch.setattr(owner, name, wrap(getattr(owner, name)))
            patch.setattr(shutil, "rmtree", wrap(shutil.rmtree))
            yield


class KilledStore(CrashingStore):
    """A store at one of whose calls the process dies."""

    def __init__(self, inner: ObjectStore, at: int, fault, death: ProcessKill) -> None:
        super().__init__(inner, at, fault)
        self.death = death

    def _do(self, name, call):
        try:
            return super()._do(name, call)
        except Killed:
            self.death.dead = True
            raise
