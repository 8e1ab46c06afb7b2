"""data/schema.yaml: the rules for datasets. `ingest` checks photos against it, `validate` checks whole datasets.

A dataset without a section is checked against the defaults, so the same file serves the real photos, a subset of them,
synthetic photos and a user's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orchard.errors import ParamsError
from orchard.key_names import require_name
from orchard.overrides import deep_merge, read_yaml
from training.params import describe_problems

__all__ = ["SCHEMA", "DataCard", "MinimumCounts", "PhotoOrigin", "Schema", "SchemaRules", "SideLimits", "load"]

SCHEMA = Path("data") / "schema.yaml"
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MinimumCounts(_StrictModel):
    """The minimum number of photos of each class, by split."""

    train: Whole = 10
    test: Whole = 1


class SideLimits(_StrictModel):
    """The minimum of a photo's shorter side and the maximum of its longer side, in pixels."""

    min: Positive = 32
    max: Positive = 20_000

    @model_validator(mode="after")
    def _in_order(self) -> SideLimits:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class SchemaRules(_StrictModel):
    """The rules for one dataset.

    Attributes:
        classes: all its classes; ``"any"``: there is no list.
        photos: the minimum number of photos of each class.
        balance: the largest allowed ratio between the train photos of the largest and the smallest class.
        side: the limits of a photo's sides, in pixels.
        pixels: the most pixels of a photo; more is a decompression bomb.
        full_size: the most pixels that are decoded at full size. A larger JPEG is decoded at a half, a quarter or an
            eighth; a larger photo in another format is rejected.
        bytes: the size of the largest file that is read.
    """

    classes: tuple[str, ...] | Literal["any"] = "any"
    photos: MinimumCounts = MinimumCounts()
    balance: Annotated[float, Field(ge=1, strict=False)] = 20.0
    side: SideLimits = SideLimits()
    pixels: Positive = 250_000_000
    full_size: Positive = 50_000_000
    bytes: Positive = 100_000_000

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
        """The classes, sorted; None where any class is allowed."""
        return None if isinstance(self.classes, str) else tuple(sorted(self.classes))


class PhotoOrigin(_StrictModel):
    """Where the photos of one source come from. Empty: it is not stated.

    Attributes:
        title: the name of the collection, with its release.
        by: its authors.
        licence: its licence, as SPDX writes it, for example ``MIT``.
        content: what the photos show.
    """

    title: str = ""
    by: str = ""
    licence: str = ""
    content: str = ""


class DataCard(_StrictModel):
    """What a person must know about a dataset to judge a model that learned from it; the model card shows it.

    Attributes:
        sources: the origin of the photos of each source.
        purpose: what models are made for from it.
        measures: what its test photos can measure.
        limits: what they cannot measure, and known faults.
        model_licence: the licence of the models that are trained on it, as SPDX writes it; empty: none is stated.
    """

    sources: dict[str, PhotoOrigin] = {}
    purpose: str = ""
    measures: str = ""
    limits: tuple[str, ...] = ()
    model_licence: str = ""

    @field_validator("limits", mode="before")
    @classmethod
    def _a_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Schema(_StrictModel):
    """The whole file.

    Attributes:
        format: always 1.
        sources: the first folder of a source → the name of its photos' source in counts and evaluations.
        defaults: the rules for every dataset.
        datasets: the rules of single datasets, merged with the defaults.
        cards: what is known about single datasets, for the model card.
    """

    format: Literal[1] = 1
    sources: dict[str, str] = {}
    defaults: SchemaRules = SchemaRules()
    datasets: dict[str, SchemaRules] = {}
    cards: dict[str, DataCard] = {}

    def rules(self, dataset: str) -> SchemaRules:
        """The rules for this dataset: its section merged with the defaults."""
        return self.datasets.get(dataset, self.defaults)

    def source(self, folder: str) -> str:
        """The name of the source of photos from this folder: the mapped one, or the folder's own."""
        return self.sources.get(folder, folder)


def load(path: Path = SCHEMA) -> Schema:
    """Read data/schema.yaml strictly. Without a file, the defaults hold and no source is renamed.

    Raises:
        ParamsError: the file is invalid; lists every unknown key (with the nearest known one), wrong type and wrong value.
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
        raise ParamsError(
            f"{path} is invalid:\n{problems}",
            hint="the comments in it explain each key; data/README.md of Orchard's sources has all of them",
        ) from None
    for name in (*schema.datasets, *schema.cards):
        require_name(name)
    return schema


def _merge_defaults(document: Any) -> Any:
    """Add the defaults to each dataset's section."""
    if not isinstance(document, dict) or not isinstance(document.get("datasets"), dict):
        return document
    defaults = document.get("defaults")
    base = defaults if isinstance(defaults, dict) else {}
    datasets = {
        name: deep_merge(base, section) if isinstance(section, dict) else section
        for name, section in document["datasets"].items()
    }
    return {**document, "datasets": datasets}
