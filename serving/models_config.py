"""`models.config`: the models and versions that an engine serves, and the version that each label points to.

The format is that of TF Serving's `--model_config_file`, so that sync drives TF Serving and our server in the same way. It is
a protocol buffer in text format. protobuf reads it, as it does for TF Serving; writing it needs no library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchard.errors import OrchardError

__all__ = ["All", "ConfigError", "Latest", "ModelConfig", "Policy", "Specific", "parse", "read_models", "render"]

_MAX_CHARACTERS = 1 << 20
_SHOWN = 150


class ConfigError(OrchardError):
    """A models.config cannot be read, or its values cannot be served."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Latest:
    """The highest versions in the folder."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class All:
    """Every version in the folder."""


@dataclass(frozen=True, slots=True)
class Specific:
    """Exactly these versions."""

    versions: tuple[int, ...]


Policy = Latest | All | Specific


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model.

    Attributes:
        name: the name in requests.
        base_path: the folder whose subfolders with numeric names are the versions.
        policy: which versions are served.
        labels: version numbers by label.
    """

    name: str
    base_path: str
    policy: Policy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)


def _policy(proto: Any) -> Policy:
    kind = proto.WhichOneof("policy_choice")
    if kind == "all":
        return All()
    if kind != "specific":
        return Latest(proto.latest.num_versions or 1)
    versions = tuple(sorted(set(proto.specific.versions)))
    if not versions:
        raise ConfigError("specific: at least one version is required")
    if versions[0] < 0:
        raise ConfigError(f"specific: a version must be an integer of at least 0, not {versions[0]}")
    return Specific(versions)


def _read_model(proto: Any) -> ModelConfig:
    """Read one ModelConfig message.

    Raises:
        ConfigError: a field is missing or invalid.
    """
    for name in ("name", "base_path"):
        if not getattr(proto, name):
            raise ConfigError(f"a config needs a {name}" + (f": the one of {proto.name!r}" if proto.name else ""))
    if proto.model_platform not in ("", "tensorflow"):
        raise ConfigError(f"{proto.name!r}: model_platform {proto.model_platform!r}: only tensorflow is served")
    for label, version in proto.version_labels.items():
        if not label:
            raise ConfigError(f"{proto.name!r}: version_labels needs a key")
        if version < 0:
            raise ConfigError(f"{proto.name!r}: version_labels: value must be an integer of at least 0, not {version}")
    try:
        policy = _policy(proto.model_version_policy)
    except ConfigError as error:
        raise ConfigError(f"{proto.name!r}: model_version_policy: {error.message}") from None
    return ModelConfig(proto.name, proto.base_path, policy, dict(proto.version_labels))


def read_models(protos: Iterable[Any]) -> tuple[ModelConfig, ...]:
    """Read the ModelConfig messages of one configuration.

    Raises:
        ConfigError: a field is missing or invalid, or two have the same name.
    """
    models = tuple(map(_read_model, protos))
    names = [model.name for model in models]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ConfigError(f"the model {duplicates[0]!r} is in the file twice")
    return models


def _shortened(reason: str) -> str:
    """Shorten the line of the file that protobuf quotes between the position and the expected token."""
    return reason if len(reason) <= 2 * _SHOWN else f"{reason[:_SHOWN]} … {reason[-_SHOWN:]}"


def parse(text: str) -> tuple[ModelConfig, ...]:
    """Read a models.config.

    Raises:
        ConfigError: the text cannot be parsed (with line and column), a value is invalid (with the model's name), or
            there is no list at all, as in a file that is being written. TF Serving takes no action then. An empty list
            is valid: it unloads every model.
    """
    from google.protobuf import text_format  # type: ignore[import-untyped]

    from serving.protos import message

    if len(text) > _MAX_CHARACTERS:
        raise ConfigError(f"the file has {len(text)} characters; the maximum is {_MAX_CHARACTERS}")
    try:
        server = text_format.Parse(text, message("ModelServerConfig")())
    except (text_format.ParseError, RecursionError, ValueError) as error:
        raise ConfigError(_shortened(str(error).replace(" : ", ": ", 1))) from None
    if not server.HasField("model_config_list"):
        raise ConfigError("there is no model_config_list in the file" + ("" if text.strip() else ", which is empty"))
    return read_models(server.model_config_list.config)


def _quote(text: str) -> str:
    """Return `text` as a string in text format."""
    out = []
    for character in text:
        if character in '"\\':
            out.append("\\" + character)
        elif " " <= character <= "~" or character >= "\u00a0":
            out.append(character)
        else:
            out.append("".join(f"\\{byte:03o}" for byte in character.encode()))
    return '"' + "".join(out) + '"'


def _render_policy(policy: Policy) -> str:
    if isinstance(policy, Specific):
        return "specific { " + " ".join(f"versions: {number}" for number in policy.versions) + " }"
    return "all {}" if isinstance(policy, All) else f"latest {{ num_versions: {policy.count} }}"


def render(models: Iterable[ModelConfig]) -> str:
    """Write a models.config; `parse` reads the same models back."""
    lines = ["model_config_list {"]
    for model in models:
        lines += [
            "  config {",
            f"    name: {_quote(model.name)}",
            f"    base_path: {_quote(model.base_path)}",
            '    model_platform: "tensorflow"',
            f"    model_version_policy {{ {_render_policy(model.policy)} }}",
            *(
                f"    version_labels {{ key: {_quote(label)} value: {number} }}"
                for label, number in sorted(model.labels.items())
            ),
            "  }",
        ]
    return "\n".join([*lines, "}", ""])
