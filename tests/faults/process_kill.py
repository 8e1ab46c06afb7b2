"""Simulates the kill of a process at a call to the disk or to the store, after which it changes nothing."""

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
    """The kill of a process: once it is dead, it does not change the disk, not even in a `finally`."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.count, self.dead = at, itertools.count(), False

    def check(self) -> None:
        self.dead = self.dead or next(self.count) == self.at
        if self.dead:
            raise Killed

    @contextmanager
    def armed(self):
        """Kill the process before a certain call that changes the disk."""

        def wrap(call):
            def checked(*args, **kwargs):
                self.check()
                return call(*args, **kwargs)

            return checked

        with pytest.MonkeyPatch.context() as patch:
            for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Path, "unlink")):
                patch.setattr(owner, name, wrap(getattr(owner, name)))
            patch.setattr(shutil, "rmtree", wrap(shutil.rmtree))
            yield


class KilledStore(CrashingStore):
    """A store during one of whose calls the process is killed."""

    def __init__(self, inner: ObjectStore, at: int, fault, kill: ProcessKill) -> None:
        super().__init__(inner, at, fault)
        self.kill = kill

    def _do(self, name, call):
        try:
            return super()._do(name, call)
        except Killed:
            self.kill.dead = True
            raise
