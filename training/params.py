"""params.yaml, the parameters of the model and its training, read and checked as a whole. Only this module knows its form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from orchard import documents
from orchard.errors import ParamsError
from orchard.gate import GateThresholds
from orchard.key_names import NAME
from orchard.overrides import merge_params, read_yaml, set_by_path

__all__ = [
    "BACKBONES",
    "IMAGENET",
    "KERAS_APPLICATION",
    "OWN_ARCHITECTURES",
    "PROJECT_NETWORK",
    "RANDOM",
    "AugmentationParams",
    "CnnParams",
    "DistillationParams",
    "EarlyStoppingParams",
    "EvaluateParams",
    "ModelParams",
    "OptimizerParams",
    "Params",
    "ProbeParams",
    "ScheduleParams",
    "TrainParams",
    "describe_problems",
    "load",
    "parse",
]

DEFAULT_PATH = Path("params.yaml")
Share = Annotated[float, Field(ge=0, lt=1)]


class ParamsSection(BaseModel):
    """A section of params.yaml: unknown keys are errors, no value is converted to another type.

    A key is required, but those that came later have a default that changes nothing: files of before stay valid.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataParams(ParamsSection):
    """The dataset: the photos in the folder ``data/<name>/``."""

    name: str = Field(pattern=NAME)


class CnnParams(ParamsSection):
    """The convolutional network: one block for each number of filters."""

    filters: list[Annotated[int, Field(ge=1, le=1024)]] = Field(min_length=1, max_length=8)
    dropout: Share


OWN_ARCHITECTURES = ("cnn", "linear")
"""Networks that are trained from random weights only."""

BACKBONES = ("mobilenet_v2", "efficientnet_lite0", "efficientnet_lite2")
"""Networks whose ImageNet weights are in packages of the extra `backbones`."""

KERAS_APPLICATION = re.compile(r"[A-Z][A-Za-z0-9_]*")
PROJECT_NETWORK = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
"""Matches ``package.module:function`` as a whole; the groups are the module and the function."""

RANDOM, IMAGENET = "random", "imagenet"


class ModelParams(ParamsSection):
    """The architecture and its first weights, how photos become its pixels, and what its answers mean.

    ``weights`` is `RANDOM`, `IMAGENET` or the path of a file with weights. ``coverage`` is the share of photos for which
    the right class is among the classes that the model holds for possible; see `training.model.conformal`.
    """

    architecture: str
    weights: str = Field(default=RANDOM, min_length=1)
    image_size: int = Field(ge=8, le=512)
    resize: Literal["stretch", "crop"] = "stretch"
    mirrored: bool
    coverage: float = Field(default=0.95, ge=0.5, lt=1)
    cnn: CnnParams

    @property
    def crop(self) -> bool:
        """Whether photos are cut to the square in their middle."""
        return self.resize == "crop"

    @property
    def pretrained(self) -> bool:
        """Whether the network starts with weights that were trained elsewhere."""
        return self.weights != RANDOM

    @field_validator("architecture")
    @classmethod
    def _known(cls, name: str) -> str:
        known = (*OWN_ARCHITECTURES, *BACKBONES)
        if name in known or KERAS_APPLICATION.fullmatch(name) or PROJECT_NETWORK.fullmatch(name):
            return name
        near = difflib.get_close_matches(name, known, n=1)
        raise ValueError(
            f"expected {', '.join(known)}, a name of keras.applications such as MobileNetV3Small, or a function of your "
            f"project as package.module:function{f'; did you mean {near[0]}?' if near else ''}"
        )

    @model_validator(mode="after")
    def _weights_exist(self) -> Self:
        if self.pretrained and self.architecture in OWN_ARCHITECTURES:
            raise ValueError(
                f"weights is {self.weights}, but {self.architecture} has only random weights: weights: random"
            )
        if self.weights != IMAGENET and self.architecture in BACKBONES:
            raise ValueError(f"{self.architecture} is trained from its own weights only: weights: imagenet")
        if self.weights == IMAGENET and self.architecture not in BACKBONES:
            raise ValueError(
                f"weights is imagenet, but only {', '.join(BACKBONES)} bring such weights: nothing is downloaded while "
                "training runs; name a file with weights, or write weights: random"
            )
        return self

    @model_validator(mode="after")
    def _pixels_left(self) -> Self:
        halvings = len(self.cnn.filters) if self.architecture == "cnn" else 0
        if self.image_size < 2**halvings:
            raise ValueError(
                f"image_size {self.image_size} is too small for {halvings} filters, each of which halves it: "
                f"at least {2**halvings} pixels, or fewer filters"
            )
        return self


class OptimizerParams(ParamsSection):
    """The optimizer. Only rmsprop and sgd read ``momentum``.

    ``stem_rate`` is the first layer's share of the learning rate; the last layer has all of it, and those between them
    fall geometrically.
    """

    name: Literal["adam", "rmsprop", "sgd"]
    learning_rate: float = Field(gt=0, le=10)
    momentum: Share
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    stem_rate: float = Field(default=1.0, gt=0, le=1)


class ScheduleParams(ParamsSection):
    """The schedule of the learning rate over the epochs."""

    name: Literal["cosine", "constant"]
    warmup_epochs: int = Field(ge=0)


class ValidationParams(ParamsSection):
    """The training photos that validate the epochs: their share, and how many of each source every epoch looks at."""

    share: float = Field(gt=0, le=0.5)
    photos: int = Field(default=100_000, ge=1)


class ProbeParams(ParamsSection):
    """The linear probe: a classifier on the features of a pretrained network, before all its layers are trained."""

    copies: int = Field(ge=0, le=20)
    strength: float = Field(gt=0, le=1000)


class DistillationParams(ParamsSection):
    """Networks that a new one learns from: folders of candidates, and their share of the targets."""

    teachers: list[Annotated[str, Field(min_length=1)]] = []
    share: float = Field(default=0.5, gt=0, le=1)


class EarlyStoppingParams(ParamsSection):
    """When training stops early, by the validation loss."""

    patience: int = Field(ge=1)
    min_delta: float = Field(ge=0)


class AugmentationParams(ParamsSection):
    """How far training photos are varied; 0, false and a zoom of 1 do not change them."""

    flip: bool
    rotation: float = Field(ge=0, le=180)
    zoom_in: float = Field(ge=1, le=8)
    zoom_out: float = Field(ge=1, le=8)
    shift: float = Field(ge=0, le=0.5)
    background: float = Field(ge=0, le=1)
    paste: float = Field(default=0.0, ge=0, le=1)
    brightness: Share
    colour: Share
    gamma: Share = 0.0
    patch: float = Field(ge=0, le=1)


class TrainParams(ParamsSection):
    """How the model is trained."""

    seed: int = Field(ge=0, lt=2**31)
    epochs: int = Field(ge=0, le=10_000)
    batch_size: int = Field(ge=1, le=8192)
    sizes: list[Annotated[int, Field(ge=8, le=512)]] = []
    repeat: dict[str, Annotated[float, Field(gt=0, le=100)]]
    averaging: Share
    label_smoothing: Share = 0.0
    probe: ProbeParams = ProbeParams(copies=2, strength=0.01)
    refit: bool = False
    distillation: DistillationParams = DistillationParams()
    optimizer: OptimizerParams
    schedule: ScheduleParams
    validation: ValidationParams
    early_stopping: EarlyStoppingParams
    augmentation: AugmentationParams

    @model_validator(mode="after")
    def _warm_before_the_end(self) -> Self:
        if self.schedule.warmup_epochs > self.epochs > 0:
            raise ValueError(
                f"schedule.warmup_epochs is {self.schedule.warmup_epochs}, more than all {self.epochs} epochs"
            )
        return self


class EvaluateParams(ParamsSection):
    """Options of the evaluation; `baseline` also evaluates the nearest training photo, which takes seconds."""

    baseline: bool = False


class Params(ParamsSection):
    """All of params.yaml."""

    data: DataParams
    model: ModelParams
    train: TrainParams
    gate: GateThresholds
    evaluate: EvaluateParams

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        if self.train.epochs == 0 and not self.model.pretrained:
            raise ValueError("train.epochs is 0, but only a network with pretrained weights works without an epoch")
        return self

    @model_validator(mode="after")
    def _heads_are_refitted_after_an_epoch(self) -> Self:
        if self.train.refit and not (self.model.pretrained and self.train.epochs):
            raise ValueError(
                "train.refit is true, but only a network with pretrained weights that was trained has a head to fit again"
            )
        return self

    @model_validator(mode="after")
    def _one_network_fits_all_sizes(self) -> Self:
        if self.train.sizes and self.model.architecture == "linear":
            raise ValueError("train.sizes has several sizes, but the weights of linear fit one: sizes: []")
        return self

    @property
    def document(self) -> dict[str, Any]:
        """The values that the file sets, as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the document's canonical JSON: the same for every way to write the same values."""
        return documents.digest(self.document)


def load(path: Path = DEFAULT_PATH, overrides: Iterable[str] = (), profile: str | None = None) -> Params:
    """Read and check params.yaml.

    Args:
        path: the file.
        overrides: ``"train.epochs=3"``, as ``orchard train --set`` takes them: a key by its path, a value in YAML.
        profile: NAME of the file ``params.NAME.yaml`` beside it, which has what differs.

    Raises:
        ParamsError: a file is missing, is not valid YAML, or has invalid values; every problem is listed at once.
    """
    text = _read(
        path,
        "run in the project's folder, which has params.yaml (`orchard init` makes one), or name the file with --params",
    )
    if profile is None:
        return parse(text, str(path), overrides)
    over = path.with_name(f"{path.stem}.{profile}{path.suffix}")
    known = sorted(other.name.split(".")[1] for other in path.parent.glob(f"{path.stem}.*{path.suffix}"))
    found = [
        read_yaml(_read(over, f"profiles here: {', '.join(known) or 'none'}"), str(over)),
        read_yaml(text, str(path)),
    ]
    if not all(isinstance(document, dict) for document in found):
        raise ParamsError(f"{over} or {path} is not a mapping of sections")
    merged = yaml.safe_dump(merge_params(found[1], found[0]), sort_keys=False, allow_unicode=True)
    return parse(merged, f"{path} with {over.name}", overrides)


def _read(path: Path, hint: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"there is no {path} in {Path.cwd()}", hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read as text: {error}") from error


def parse(text: str, name: str = "params.yaml", overrides: Iterable[str] = ()) -> Params:
    """Check the YAML `text` of a params file, which messages call `name`; see `load`."""
    document = read_yaml(text, name)
    if not isinstance(document, dict):
        raise ParamsError(f"{name} holds {_name_type(document)}, not sections of keys", hint=_FORM)
    for override in overrides:
        set_by_path(document, override)
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        raise ParamsError(f"{name} is invalid:\n{describe_problems(Params, error)}", hint=_FORM) from None


_FORM = "the comments in params.yaml explain each key; `git diff params.yaml` shows what was changed"


def describe_problems(model: type[BaseModel], error: ValidationError) -> str:
    """List the problems of a document, one a line; for an unknown key with the nearest known one."""
    return "\n".join(dict.fromkeys(f"  {_describe(model, item)}"[:300] for item in error.errors()))


def _describe(model: type[BaseModel], item: ErrorDetails) -> str:
    # a union adds the names of its types
    where = ".".join(str(part) for part in item["loc"] if "[" not in str(part)) or "the file"
    if item["type"] == "extra_forbidden":
        return f"{where}: no such key{_suggest(model, item['loc'])}"
    if item["type"] == "missing":
        return f"{where}: missing"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if isinstance(item["input"], Mapping):
        return f"{where}: {message}"
    return f"{where}: {message}; it is {item['input']!r}{_explain(item['input'])}"


def _suggest(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    section: Any = model
    for part in location[:-1]:
        fields = getattr(section, "model_fields", {})
        # the second argument of a dict's type is the type of its values
        section = fields[part].annotation if part in fields else (*get_args(section), None, None)[1]
    near = difflib.get_close_matches(str(location[-1]), list(getattr(section, "model_fields", {})), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _explain(value: Any) -> str:
    """Explain why what looks like a number is text in YAML 1.1: 2e-3 needs a dot."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    return f", which YAML reads as text: write {number!r}"


def _name_type(value: Any) -> str:
    return {type(None): "nothing", list: "a list", str: "one text"}.get(type(value), f"one {type(value).__name__}")
