"""The files that say what the project is, wherever a step finds them: a ConfigMap, the image, the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from orchard.errors import ParamsError
from orchard.overrides import deep_merge, read_yaml

__all__ = ["FULL", "PLACES", "ProjectConfig"]

PLACES = (Path("/project"), Path("/opt/orchard/project"), Path(__file__).resolve().parents[2])
"""Where they are looked for, the first that has a file gives it: what a chart adds, what the image holds, the checkout."""

FULL = "full"
"""The profile that is params.yaml itself."""


class ProjectConfig:
    """The project's files.

    Args:
        places: the folders that may hold them, the most particular first.
    """

    def __init__(self, places: tuple[Path, ...] = PLACES) -> None:
        self.places = places

    def _find(self, *names: str) -> Path | None:
        found = (place / name for place in self.places for name in names)
        return next((path.absolute() for path in found if path.is_file()), None)

    @property
    def schema(self) -> Path | None:
        """What a dataset must be, or None: then every dataset is held to the defaults."""
        return self._find("schema.yaml", "data/schema.yaml")

    def params(self, profile: str) -> str:
        """The text of params.yaml, with a profile laid over it.

        Args:
            profile: `FULL`, or NAME for the file ``params.NAME.yaml``, which holds what differs.

        Raises:
            ParamsError: a file is missing or is no mapping of sections.
        """
        base = self._read("params.yaml", "no file says what the model is")
        if profile != FULL:
            known = sorted({path.name.split(".")[1] for place in self.places for path in place.glob("params.*.yaml")})
            over = self._read(f"params.{profile}.yaml", f"known profiles: {', '.join([FULL, *known])}")
            base = deep_merge(base, over)  # `orchard train` refuses unknown keys
        return yaml.safe_dump(base, sort_keys=False, allow_unicode=True)

    def _read(self, name: str, hint: str) -> dict[str, Any]:
        path = self._find(name)
        if path is None:
            raise ParamsError(f"there is no {name} in {', '.join(map(str, self.places))}", hint=hint)
        try:
            found = read_yaml(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ParamsError(f"{path} cannot be read as text: {error}") from error
        if not isinstance(found, dict):
            raise ParamsError(f"{path} is no mapping of sections")
        return found
