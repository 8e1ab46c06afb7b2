"""Reads models.config again when it changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from orchard.files import file_stamp
from serving.models_config import ConfigError, ModelConfig
from serving.models_config import parse as parse_config

__all__ = ["ConfigWatcher"]

_MAX_BYTES = 1 << 20
_TICK_NS = 50_000_000
"""The kernel's clock of files may stand still for this long: a second change within it has the same stamp."""


class ConfigWatcher:
    """A models.config that another program writes.

    Args:
        path: the file; it may not exist yet.
        log: called with the reason when the file cannot be used, once for each reason.

    Attributes:
        problem: why the file cannot be used; "": it is used.
    """

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self.path = path
        self.problem = ""
        self._log = log
        self._stamp: tuple[int, ...] | None = None
        self._body = b""
        self._recent = False
        self._unread = True

    def changed(self) -> bool:
        """Whether the file was changed since the last `read`; costs microseconds."""
        return self._recent or file_stamp(self.path) not in (None, self._stamp)

    def read(self) -> tuple[ModelConfig, ...] | None:
        """Read the file if it was changed; None: it was not changed, or it cannot be used."""
        stamp = file_stamp(self.path)
        same = stamp is not None and stamp == self._stamp
        if same and not self._recent and not self._unread:
            return None
        same = same and not self._unread  # what could not be read is taken over again
        self._stamp, self._recent = stamp, stamp is not None and 0 <= time.time_ns() - stamp[1] < _TICK_NS
        try:
            with self.path.open("rb") as file:
                body = file.read(_MAX_BYTES + 1)
            self._unread = False
            if same and body == self._body:
                return None
            self._body = body
            configs = parse_config(body.decode("utf-8"))
        except FileNotFoundError:
            self._unread = True
            self._report(f"{self.path} does not exist (yet); the versions already served stay served")
        except OSError as error:
            self._unread = True
            self._report(f"{self.path} cannot be read, the previous configuration stays: {error}")
        except (UnicodeDecodeError, ConfigError) as error:
            self._report(f"{self.path} was not taken over, the previous configuration stays: {error}")
        else:
            self._report("" if configs else f"{self.path} names no model")
            return configs
        return None

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            self._log(problem)
        self.problem = problem
