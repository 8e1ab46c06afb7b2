"""The project's files (params.yaml, schema.yaml): from a ConfigMap, the image or the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from orchard.errors import ParamsError
from orchard.overrides import merge_params, read_yaml

__all__ = ["FULL", "PLACES", "ProjectConfig"]

PLACES = (Path("/project"), Path("/opt/orchard/project"), Path(__file__).resolve().parents[2])
"""The folders that are searched for a file, in this order: the chart's ConfigMap, the image, the checkout."""

FULL = "full"
"""The profile that is params.yaml itself."""


class ProjectConfig:
    """The project's files, each from the first of the folders `places` that has it."""

    def __init__(self, places: tuple[Path, ...] = PLACES) -> None:
        self.places = places

    def _find(self, *names: str) -> Path | None:
        paths = (place / name for place in self.places for name in names)
        return next((path.absolute() for path in paths if path.is_file()), None)

    @property
    def schema(self) -> Path | None:
        """The path of the dataset schema; None: the defaults hold for every dataset."""
        return self._find("schema.yaml", "data/schema.yaml")

    def params(self, profile: str) -> str:
        """The text of params.yaml, merged with a profile.

        Args:
            profile: `FULL`, or NAME for the file ``params.NAME.yaml``, which holds what differs.

        Raises:
            ParamsError: a file is missing or is not a mapping of sections.
        """
        base = self._read("params.yaml", "a project needs a params.yaml")
        if profile != FULL:
            known = sorted({path.name.split(".")[1] for place in self.places for path in place.glob("params.*.yaml")})
            over = self._read(f"params.{profile}.yaml", f"known profiles: {', '.join([FULL, *known])}")
            base = merge_params(base, over)  # `orchard train` refuses unknown keys
        return yaml.safe_dump(base, sort_keys=False, allow_unicode=True)

    def _read(self, name: str, hint: str) -> dict[str, Any]:
        path = self._find(name)
        if path is None:
            raise ParamsError(f"there is no {name} in {', '.join(map(str, self.places))}", hint=hint)
        try:
            document = read_yaml(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ParamsError(f"{path} cannot be read as text: {error}") from error
        if not isinstance(document, dict):
            raise ParamsError(f"{path} is not a mapping of sections")
        return document
