"""The schema's rules for photos inside a SavedModel: its graph refuses what they refuse, and `orchard batch` reads them.

So ingest, training, every engine and batch prediction have one schema: the one that the version was trained with.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from orchard.documents import canonical_json, parse
from orchard.errors import IntegrityError
from training.data.schema import SchemaRules

__all__ = ["RULES", "read_rules", "write_rules"]

RULES = Path("assets") / "photo_rules.json"
"""The file's path in a SavedModel."""

KEYS = {"side", "pixels", "full_size", "bytes"}
"""The rules of single photos; the others are about datasets."""


def write_rules(saved_model: Path, rules: SchemaRules) -> None:
    """Write the rules that the graph was exported with."""
    (saved_model / RULES).write_bytes(canonical_json(rules.model_dump(include=KEYS)))


def read_rules(saved_model: Path) -> SchemaRules | None:
    """Read a SavedModel's rules; None: it was exported before it had any, and its graph turns no photo upright.

    Raises:
        IntegrityError: the file is malformed.
    """
    path = saved_model / RULES
    if not path.exists():
        return None
    try:
        return SchemaRules.model_validate(parse(path.read_bytes(), str(path)))
    except ValidationError as error:
        raise IntegrityError(
            f"{path} has no valid rules: {error}", hint="`orchard train` exports the model again"
        ) from None
