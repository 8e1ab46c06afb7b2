"""Reads models.config again when it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchard.files import file_stamp
from serving.models_config import ConfigError, ModelConfig
from serving.models_config import parse as parse_config

__all__ = ["ConfigWatcher"]

_MAX_BYTES = 1 << 20


class ConfigWatcher:
    """A models.config that another program writes.

    Args:
        path: the file; it may not exist yet.
        log: called with the reason when the file cannot be used.
    """

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self.path = path
        self._log = log
        self._stamp: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Whether the file was changed since the last `read`; costs microseconds."""
        return file_stamp(self.path) not in (None, self._stamp)

    def read(self) -> tuple[ModelConfig, ...] | None:
        """Read the file if it was changed; None: it was not changed, or it cannot be used."""
        stamp = file_stamp(self.path)
        if stamp is not None and stamp == self._stamp:
            return None
        try:
            with self.path.open("rb") as file:
                body = file.read(_MAX_BYTES + 1)
            self._stamp = stamp
            return parse_config(body.decode("utf-8"))
        except FileNotFoundError:
            self._log(f"{self.path} does not exist (yet); the versions already served stay served")
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            self._log(f"{self.path} was not taken over, the previous configuration stays: {error}")
        return None
