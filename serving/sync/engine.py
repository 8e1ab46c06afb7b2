"""The engine, through the two things that TF Serving has: its configuration file and its REST API."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchard.client import ModelServer, VersionStatus
from orchard.errors import IntegrityError, ServerError, SettingsError
from orchard.savedmodel.rules import read_golden
from serving.configuration import ConfigError, ModelConfig, Specific, parse, render
from serving.server.tokens import read_tokens
from serving.sync.disk import write_file

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


def write_config(path: Path, model: str, base: Path, versions: set[int], labels: Mapping[str, int]) -> bool:
    """Write what the engine shall serve; returns whether that is new. Without versions the file names no model."""
    policy = Specific(tuple(sorted(versions)))
    configs = [ModelConfig(model, str(base), policy, dict(labels))] if versions else []
    body = render(configs).encode()
    try:
        if path.read_bytes() == body:
            return False
    except OSError:
        pass
    write_file(path, body)
    return True


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
        self._token_file = token_file
        self._stamp = self._look()
        self._made = ModelServer(url, read_seconds=_READ_SECONDS, token=self._token())

    def _look(self) -> tuple[int, int, int] | None:
        try:
            stat = self._token_file.stat() if self._token_file else None
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else None

    def _token(self) -> str | None:
        if self._token_file is None:
            return None
        tokens = read_tokens(self._token_file)
        if not tokens or not tokens[0].isascii() or not tokens[0].isprintable():
            raise SettingsError(
                f"the first line of {self._token_file} is no token", hint="ASCII, nothing else on the line"
            )
        return tokens[0]

    @property
    def _server(self) -> ModelServer:
        """Who asks, with the token that is in the file now; while that cannot be read, with the one before."""
        stamp = self._look()
        if stamp is not None and stamp != self._stamp:
            with contextlib.suppress(SettingsError):
                self._made = ModelServer(self.url, read_seconds=_READ_SECONDS, token=self._token())
                self._stamp = stamp
        return self._made

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
        golden = read_golden(folder)
        found = self._server.predict(golden.photos, self.model, version=version)
        for index, ((label, probability), answer) in enumerate(zip(golden.answers, found, strict=True)):
            off = abs(answer.probability - probability)
            if answer.label != label or not off <= golden.tolerance:
                raise IntegrityError(
                    f"version {version} answers golden photo {index + 1} with {answer.label!r} at "
                    f"{answer.probability:.6f}; it was exported answering {label!r} at {probability:.6f}"
                )
            if not math.isclose(sum(answer.probabilities), 1, abs_tol=_SUM_TOLERANCE):
                raise IntegrityError(
                    f"version {version}: the probabilities of golden photo {index + 1} do not sum to 1"
                )
        return len(golden.photos)
