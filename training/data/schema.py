"""data/schema.yaml: what a dataset must be. `ingest` refuses photos by it, `validate` judges the whole by it.

A dataset without a section of its own is held to the defaults, so that the same file serves the real photos, a subset
of them, synthetic photos and a user's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orchard.errors import ParamsError
from orchard.layout import require_name
from orchard.overrides import deep_merge, read_yaml
from training.params import describe_problems

__all__ = ["SCHEMA", "MinimumCounts", "Schema", "SchemaRules", "SideLimits", "load"]

SCHEMA = Path("data") / "schema.yaml"
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MinimumCounts(_StrictModel):
    """The fewest photos that each class may have, by split."""

    train: Whole = 10
    test: Whole = 1


class SideLimits(_StrictModel):
    """Pixels of a photo's shorter and longer side."""

    min: Positive = 32
    max: Positive = 12_000

    @model_validator(mode="after")
    def _in_order(self) -> SideLimits:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class SchemaRules(_StrictModel):
    """What one dataset must be.

    Attributes:
        classes: every class it has; ``"any"``: those that are found.
        photos: the fewest photos of each class.
        balance: how many times more photos the largest class may have in train than the smallest.
        side: pixels of a photo's shorter and longer side.
        pixels: the most pixels that are decoded: more is a decompression bomb.
        bytes: the largest file that is read.
    """

    classes: tuple[str, ...] | Literal["any"] = "any"
    photos: MinimumCounts = MinimumCounts()
    balance: Annotated[float, Field(ge=1, strict=False)] = 20.0
    side: SideLimits = SideLimits()
    pixels: Positive = 50_000_000
    bytes: Positive = 40_000_000

    @field_validator("classes", mode="before")
    @classmethod
    def _a_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("classes")
    @classmethod
    def _distinct(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if isinstance(value, tuple) and (len(set(value)) != len(value) or len(value) < 2 or "" in value):
            raise ValueError("expected two or more distinct names")
        return value

    @property
    def known(self) -> tuple[str, ...] | None:
        """The classes, sorted; None where any class may be."""
        return None if isinstance(self.classes, str) else tuple(sorted(self.classes))


class Schema(_StrictModel):
    """The whole file.

    Attributes:
        format: always 1.
        sources: the first folder of a source → the name under which its photos are counted and evaluated.
        defaults: what every dataset must be.
        datasets: what differs from that, by dataset.
    """

    format: Literal[1] = 1
    sources: dict[str, str] = {}
    defaults: SchemaRules = SchemaRules()
    datasets: dict[str, SchemaRules] = {}

    def rules(self, dataset: str) -> SchemaRules:
        """What this dataset must be: its own section laid over the defaults."""
        return self.datasets.get(dataset, self.defaults)

    def source(self, folder: str) -> str:
        """The name for photos out of this folder: the mapped one, or the folder's own."""
        return self.sources.get(folder, folder)


def load(path: Path = SCHEMA) -> Schema:
    """Read data/schema.yaml, strictly; where there is none, the defaults hold and no source is renamed.

    Raises:
        ParamsError: listing every unknown key (with the nearest known one), wrong type and impossible value at once.
    """
    try:
        document = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return Schema()
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read as text: {error}") from error
    try:
        schema = Schema.model_validate(_merge_defaults(document))
    except ValidationError as error:
        problems = describe_problems(Schema, error)
        raise ParamsError(f"{path} does not fit:\n{problems}", hint="data/README.md explains each key") from None
    for name in schema.datasets:
        require_name(name)
    return schema


def _merge_defaults(document: Any) -> Any:
    """Give each dataset's section what it leaves to the defaults."""
    if not isinstance(document, dict) or not isinstance(document.get("datasets"), dict):
        return document
    defaults = document.get("defaults")
    base = defaults if isinstance(defaults, dict) else {}
    datasets = {
        name: deep_merge(base, section) if isinstance(section, dict) else section
        for name, section in document["datasets"].items()
    }
    return {**document, "datasets": datasets}
