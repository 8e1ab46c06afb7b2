"""The engine, through the two interfaces of TF Serving: its configuration file and its REST API."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from orchard.client import ModelServer, VersionStatus
from orchard.errors import IntegrityError, ServerError
from orchard.files import WatchedFile, atomic_write
from orchard.golden import check_golden
from serving.models_config import ConfigError, ModelConfig, Specific, parse, render
from serving.tokens import first_token

__all__ = ["EngineClient", "EngineConfig", "EngineUnavailable"]

CONFIG_NAME = "models.config"
_READ_SECONDS = 10.0
_SUM_TOLERANCE = 1e-3


class EngineUnavailable(ServerError):
    """The engine does not answer: the state of its versions is unknown."""


class EngineConfig:
    """The models.config that the engine follows, as far as it is about one model.

    A text that was read or written before is not parsed again: sync looks at it with every tick, and protobuf, which
    parses it, takes a tenth of the start of `orchard sync --once` to import.

    Args:
        path: the file.
        model: the model's name.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path = path
        self._model = model
        self._known: tuple[str, ModelConfig | None] | None = None

    def read(self) -> ModelConfig | None:
        """Return the model's entry, or None if the file has none or cannot be read."""
        try:
            text = self.path.read_text(encoding="utf-8")
            if self._known is None or self._known[0] != text:
                self._known = text, next((config for config in parse(text) if config.name == self._model), None)
        except (OSError, UnicodeDecodeError, ConfigError):
            return None
        return self._known[1]

    def write(self, config: ModelConfig) -> None:
        """Write what the engine must serve. Without versions the file names no model."""
        named = config if config.policy != Specific(()) else None
        text = render([named] if named else [])
        atomic_write(self.path, text.encode(), fsync=True)
        self._known = text, named


class EngineClient:
    """The model server that reads the serving folder.

    Args:
        url: of its REST API.
        model: the model's name.
        token_file: its first token is the bearer token of every request; read again when it changes. None: no token.
        report: called once with the reason when that file cannot be used any more; the token before is still sent.

    Raises:
        SettingsError: the token file cannot be read or holds no token.
    """

    def __init__(
        self,
        url: str,
        model: str,
        token_file: Path | None = None,
        report: Callable[[str], None] = lambda reason: None,
    ) -> None:
        def connect(path: Path | None) -> ModelServer:
            return ModelServer(url, read_seconds=_READ_SECONDS, token=first_token(path) if path else None)

        anonymous = connect(None)
        self._model = model
        self._client = WatchedFile(token_file, connect, report=report).current if token_file else lambda: anonymous

    def versions(self) -> dict[int, VersionStatus]:
        """Return the state of every version that the engine knows. Raises `EngineUnavailable`."""
        try:
            return {status.version: status for status in self._client().status(self._model)}
        except ServerError as error:
            if " answered 404" in error.message:  # it runs and does not know the model yet
                return {}
            raise EngineUnavailable(error.message, hint=error.hint) from error

    def label(self, label: str) -> int | None:
        """Return the version that a label points to at the engine, or None if it points nowhere (yet)."""
        try:
            metadata: Any = self._client().metadata(self._model, label=label)
            return int(metadata["model_spec"]["version"])
        except (ServerError, KeyError, TypeError, ValueError):
            return None

    def predict_golden(self, version: int, folder: Path) -> int:
        """Predict a loaded version's golden photos and check the answers; returns how many photos there are.

        Raises:
            IntegrityError: an answer is invalid, or differs from the answer at the version's export.
            ServerError: the engine refused or did not answer.
        """

        def predict(photos: Sequence[bytes]) -> Iterable[tuple[str, float]]:
            answers = self._client().predict(photos, self._model, version=version)
            for number, answer in enumerate(answers, start=1):
                yield answer.label, answer.probability
                if not math.isclose(sum(answer.probabilities), 1, abs_tol=_SUM_TOLERANCE):
                    raise IntegrityError(
                        f"version {version}: the probabilities of golden photo {number} do not sum to 1"
                    )

        return check_golden(folder, predict, f"version {version}")
