"""The engine's configuration file, which sync writes and the server reads."""

from serving.configuration.models import All, Latest, ModelConfig, Policy, Specific, parse, render
from serving.configuration.text import ConfigError

__all__ = ["All", "ConfigError", "Latest", "ModelConfig", "Policy", "Specific", "parse", "render"]
