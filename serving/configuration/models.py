"""`models.config`: which versions of which models an engine serves, and which label points where.

The file is TF Serving's own (`--model_config_file`), so that sync drives TF Serving and our server alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.configuration.text import ConfigError, Entry, Message, Word, escape, parse_text

__all__ = ["All", "Latest", "ModelConfig", "Policy", "Specific", "parse", "render"]

_MAX_VERSION = (1 << 63) - 1


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


def _text(entry: Entry) -> str:
    if not isinstance(entry.value, str) or isinstance(entry.value, Word):
        raise ConfigError(f"{entry.where}: {entry.name} must be a quoted string")
    return entry.value


def _integer(entry: Entry) -> int:
    if not isinstance(entry.value, int) or not 0 <= entry.value <= _MAX_VERSION:
        raise ConfigError(f"{entry.where}: {entry.name} must be a whole number from 0 to {_MAX_VERSION}")
    return entry.value


def _message(entry: Entry) -> Message:
    if not isinstance(entry.value, Message):
        raise ConfigError(f"{entry.where}: {entry.name} must be a message in braces")
    return entry.value


def _ignored(entry: Entry) -> None:
    return None


def _read(message: Message, known: Mapping[str, Callable[[Entry], Any]], what: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in known}
    for entry in message.entries:
        if entry.name not in known:
            raise ConfigError(
                f"{entry.where}: {what} has no field {entry.name!r}; it has {', '.join(sorted(known))}",
            )
        found[entry.name].append(known[entry.name](entry))
    return found


def _latest(entry: Entry) -> Latest:
    numbers = _read(_message(entry), {"num_versions": _integer}, "latest")["num_versions"]
    return Latest(numbers[-1] if numbers and numbers[-1] else 1)


def _all(entry: Entry) -> All:
    _read(_message(entry), {}, "all")
    return All()


def _specific(entry: Entry) -> Specific:
    found = _read(_message(entry), {"versions": _integer}, "specific")["versions"]
    if not found:
        raise ConfigError(f"{entry.where}: specific names no version")
    return Specific(tuple(sorted(set(found))))


def _policy(entry: Entry) -> Policy:
    known = {"latest": _latest, "all": _all, "specific": _specific}
    found = [
        policy for policies in _read(_message(entry), known, "model_version_policy").values() for policy in policies
    ]
    if len(found) > 1:
        raise ConfigError(f"{entry.where}: model_version_policy must be one of latest, all and specific")
    return found[0] if found else Latest()


def _label(entry: Entry) -> tuple[str, int]:
    found = _read(_message(entry), {"key": _text, "value": _integer}, "version_labels")
    if not found["key"]:
        raise ConfigError(f"{entry.where}: version_labels needs a key")
    return found["key"][-1], found["value"][-1] if found["value"] else 0


def _config(entry: Entry) -> ModelConfig:
    known: dict[str, Callable[[Entry], Any]] = {
        "name": _text,
        "base_path": _text,
        "model_platform": _text,
        "model_type": _ignored,
        "model_version_policy": _policy,
        "version_labels": _label,
        "logging_config": _ignored,
    }
    found = _read(_message(entry), known, "config")
    for needed in ("name", "base_path"):
        if not found[needed] or not found[needed][-1]:
            raise ConfigError(f"{entry.where}: a config needs a {needed}")
    if found["model_platform"] and found["model_platform"][-1] != "tensorflow":
        raise ConfigError(f"{entry.where}: model_platform {found['model_platform'][-1]!r}: only tensorflow is served")
    policies = found["model_version_policy"]
    return ModelConfig(
        found["name"][-1], found["base_path"][-1], policies[-1] if policies else Latest(), dict(found["version_labels"])
    )


def parse(text: str) -> tuple[ModelConfig, ...]:
    """Read a models.config.

    Raises:
        ConfigError: naming line and column of what is wrong; or there is no list at all, as in a file that somebody has
            just begun to write. TF Serving takes no action then; an empty list is an order.
    """
    lists = _read(parse_text(text), {"model_config_list": _message}, "models.config")["model_config_list"]
    if not lists:
        raise ConfigError("there is no model_config_list in it")
    models = tuple(model for one in lists for model in _read(one, {"config": _config}, "model_config_list")["config"])
    names = [model.name for model in models]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f"the model {doubled[0]!r} stands twice in the file")
    return models


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
            f"    name: {escape(model.name)}",
            f"    base_path: {escape(model.base_path)}",
            '    model_platform: "tensorflow"',
            f"    model_version_policy {{ {_render_policy(model.policy)} }}",
            *(
                f"    version_labels {{ key: {escape(label)} value: {number} }}"
                for label, number in sorted(model.labels.items())
            ),
            "  }",
        ]
    return "\n".join([*lines, "}", ""])
