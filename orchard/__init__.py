"""Orchard's library: what every program shares. It imports no TensorFlow, no Airflow and no Kubernetes."""

__all__ = ["__version__"]

__version__ = "0.1.0"
