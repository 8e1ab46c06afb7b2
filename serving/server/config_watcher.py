"""models.config, followed: whether it was changed, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchard.files import file_stamp
from serving.models_config import ConfigError, ModelConfig
from serving.models_config import parse as parse_config

__all__ = ["ConfigWatcher"]

_MAX_BYTES = 1 << 20


class ConfigWatcher:
    """A models.config that somebody else writes.

    Args:
        path: the file; it may not exist yet.
        say: called with what is wrong with it.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path = path
        self._say = say
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Whether the file is another than the one that was read last; costs microseconds."""
        return file_stamp(self.path) not in (None, self._seen)

    def read(self) -> tuple[ModelConfig, ...] | None:
        """Read the file if it was changed; None: it was not, or it cannot be used."""
        seen = file_stamp(self.path)
        if seen is not None and seen == self._seen:
            return None
        try:
            with self.path.open("rb") as file:
                body = file.read(_MAX_BYTES + 1)
            self._seen = seen
            return parse_config(body.decode("utf-8"))
        except FileNotFoundError:
            self._say(f"{self.path} does not exist (yet); what is served is served on")
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            self._say(f"{self.path} was not taken over, the configuration before it stays: {error}")
        return None
