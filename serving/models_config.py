"""`models.config`: which versions of which models an engine serves, and which label points to which version.

The file is TF Serving's own (`--model_config_file`), so that sync drives TF Serving and our server alike. It is a protocol
buffer in text format: protobuf reads it, as it does for TF Serving. Writing it needs no library, and nobody who only
writes it imports one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchard.errors import OrchardError

__all__ = ["All", "ConfigError", "Latest", "ModelConfig", "Policy", "Specific", "parse", "read_model", "render"]

_MAX_CHARACTERS = 1 << 20
_SHOWN = 150


class ConfigError(OrchardError):
    """A models.config cannot be read or asks for something impossible."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Latest:
    """The highest versions that the folder holds."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class All:
    """Every version that the folder holds."""


@dataclass(frozen=True, slots=True)
class Specific:
    """These versions and no others."""

    versions: tuple[int, ...]


Policy = Latest | All | Specific


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model.

    Attributes:
        name: its name in requests.
        base_path: the folder whose numeric children are its versions.
        policy: which of them are served.
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
        raise ConfigError("specific names no version")
    if versions[0] < 0:
        raise ConfigError(f"specific: a version must be a whole number from 0, not {versions[0]}")
    return Specific(versions)


def read_model(proto: Any) -> ModelConfig:
    """Read one ModelConfig message.

    Raises:
        ConfigError: a field is missing or has a value that cannot be served.
    """
    for needed in ("name", "base_path"):
        if not getattr(proto, needed):
            raise ConfigError(f"a config needs a {needed}" + (f": the one of {proto.name!r}" if proto.name else ""))
    if proto.model_platform not in ("", "tensorflow"):
        raise ConfigError(f"{proto.name!r}: model_platform {proto.model_platform!r}: only tensorflow is served")
    for label, version in proto.version_labels.items():
        if not label:
            raise ConfigError(f"{proto.name!r}: version_labels needs a key")
        if version < 0:
            raise ConfigError(f"{proto.name!r}: version_labels: value must be a whole number from 0, not {version}")
    try:
        policy = _policy(proto.model_version_policy)
    except ConfigError as error:
        raise ConfigError(f"{proto.name!r}: model_version_policy: {error.message}") from None
    return ModelConfig(proto.name, proto.base_path, policy, dict(proto.version_labels))


def _shortened(reason: str) -> str:
    """Cut the line that protobuf quotes between the place and what was expected there."""
    return reason if len(reason) <= 2 * _SHOWN else f"{reason[:_SHOWN]} … {reason[-_SHOWN:]}"


def parse(text: str) -> tuple[ModelConfig, ...]:
    """Read a models.config.

    Raises:
        ConfigError: with line and column if it cannot be parsed, with the model's name if its values are invalid; or
            there is no list at all, as in a file that is being written. TF Serving takes no action then; an empty list
            is an order.
    """
    from google.protobuf import text_format  # type: ignore[import-untyped]

    from serving.protos import message

    if len(text) > _MAX_CHARACTERS:
        raise ConfigError(f"it has {len(text)} characters; at most {_MAX_CHARACTERS} are read")
    try:
        server = text_format.Parse(text, message("ModelServerConfig")())
    except (text_format.ParseError, RecursionError, ValueError) as error:
        raise ConfigError(_shortened(str(error).replace(" : ", ": ", 1))) from None
    if not server.HasField("model_config_list"):
        raise ConfigError("there is no model_config_list in it")
    models = tuple(map(read_model, server.model_config_list.config))
    names = [model.name for model in models]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f"the model {doubled[0]!r} is in the file twice")
    return models


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
