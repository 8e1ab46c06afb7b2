"""The name that a project has for its dataset and its model: `data.name` of its params.yaml, so that it is written once."""

from __future__ import annotations

import re
from pathlib import Path

from orchard.errors import ParamsError
from orchard.key_names import NAME
from orchard.overrides import read_yaml

__all__ = ["project_name"]

PARAMS = "params.yaml"


def project_name(folder: Path) -> str | None:
    """Return the name of the project that a folder belongs to: that of the nearest params.yaml in it or above it.

    Returns:
        None if there is no params.yaml, or it names no dataset.

    Raises:
        ParamsError: the file cannot be read, is not valid YAML, or its name is not valid.
    """
    here = folder.absolute()
    path = next((place / PARAMS for place in (here, *here.parents) if (place / PARAMS).is_file()), None)
    if path is None:
        return None
    hint = "correct it, or set both ORCHARD_DATASET and ORCHARD_MODEL"
    try:
        document = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except ParamsError as error:
        raise ParamsError(error.message, hint=error.hint or hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read as text: {error}", hint=hint) from error
    data = document.get("data") if isinstance(document, dict) else None
    name = data.get("name") if isinstance(data, dict) else None
    if name is None:
        return None
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ParamsError(f"{path}: data.name is {name!r}; expected lower-case letters, digits and hyphens", hint=hint)
    return name
