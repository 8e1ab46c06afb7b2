"""The engine, through the two things that TF Serving has: its configuration file and its REST API."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from orchard.client import ModelServer, VersionStatus
from orchard.errors import IntegrityError, ServerError, SettingsError
from orchard.files import WatchedFile, atomic_write
from orchard.golden import check_golden
from serving.models_config import ConfigError, ModelConfig, Specific, parse, render
from serving.tokens import read_tokens

__all__ = ["EngineClient", "EngineUnavailable", "read_config", "write_config"]

CONFIG_NAME = "models.config"
_READ_SECONDS = 10.0
_SUM_TOLERANCE = 1e-3


class EngineUnavailable(ServerError):
    """The engine does not answer: nothing is known of any version."""


def read_config(path: Path, model: str) -> ModelConfig | None:
    """Return what a models.config says of a model, or None if there is nothing that can be read."""
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ConfigError):
        return None
    return next((config for config in found if config.name == model), None)


def write_config(path: Path, config: ModelConfig) -> None:
    """Write what the engine is to serve. Without versions the file names no model."""
    atomic_write(path, render([config] if config.policy != Specific(()) else []).encode(), fsync=True)


def _first_token(path: Path) -> str:
    tokens = read_tokens(path)
    if not tokens or not tokens[0].isascii() or not tokens[0].isprintable():
        raise SettingsError(f"the first line of {path} is no token", hint="ASCII, nothing else on the line")
    return tokens[0]


class EngineClient:
    """The model server that reads the serving folder.

    Args:
        url: of its REST API.
        model: the model's name.
        token_file: holds the bearer token to ask with, its first; read again when it changes. None: the engine wants none.

    Raises:
        SettingsError: the token file cannot be read or holds no token.
    """

    def __init__(self, url: str, model: str, token_file: Path | None = None) -> None:
        self.url = url
        self.model = model
        self._anonymous = ModelServer(url, read_seconds=_READ_SECONDS)
        self._authorized = WatchedFile(token_file, self._connect) if token_file else None

    def _connect(self, token_file: Path) -> ModelServer:
        return ModelServer(self.url, read_seconds=_READ_SECONDS, token=_first_token(token_file))

    @property
    def _server(self) -> ModelServer:
        """The client, with the token that is in the file now."""
        return self._authorized.current() if self._authorized else self._anonymous

    def versions(self) -> dict[int, VersionStatus]:
        """Return the state of every version that the engine knows.

        Raises:
            EngineDown: it does not answer.
        """
        try:
            return {status.version: status for status in self._server.status(self.model)}
        except ServerError as error:
            if " answered 404" in error.message:  # it lives and knows nothing of the model yet
                return {}
            raise EngineUnavailable(error.message, hint=error.hint) from error

    def label(self, label: str) -> int | None:
        """Return the version that a label points to at the engine, or None if it points nowhere (yet)."""
        try:
            found: Any = self._server.metadata(self.model, label=label)
            return int(found["model_spec"]["version"])
        except (ServerError, KeyError, TypeError, ValueError):
            return None

    def ask_golden(self, version: int, folder: Path) -> int:
        """Ask a loaded version about its golden photos; returns how many there are.

        Raises:
            IntegrityError: an answer is not what it was when the version was exported, or no answer at all.
            ServerError: the engine refused or did not answer.
        """

        def predict(photos: Sequence[bytes]) -> Iterable[tuple[str, float]]:
            found = self._server.predict(photos, self.model, version=version)
            for number, answer in enumerate(found, start=1):
                yield answer.label, answer.probability
                if not math.isclose(sum(answer.probabilities), 1, abs_tol=_SUM_TOLERANCE):
                    raise IntegrityError(
                        f"version {version}: the probabilities of golden photo {number} do not sum to 1"
                    )

        return check_golden(folder, predict, f"version {version}")
