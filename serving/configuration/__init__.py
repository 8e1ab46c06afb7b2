"""The engine's configuration file, which sync writes and the server reads."""

from serving.models_config import All, ConfigError, Latest, ModelConfig, Policy, Specific, parse, read_model, render

__all__ = ["All", "ConfigError", "Latest", "ModelConfig", "Policy", "Specific", "parse", "read_model", "render"]
