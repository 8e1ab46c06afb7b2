"""Orchard's library, which every program uses. It imports no TensorFlow, no Airflow and no Kubernetes.

Read the store, and predict::

    from pathlib import Path

    from orchard import Dataset, ModelServer, Registry, Settings, open_store

    photo = Path("photo.jpg").read_bytes()
    settings = Settings()  # ORCHARD_* of the environment; orchard.settings.load() reads .env too
    registry = Registry.open(settings)
    for version in registry.versions():
        print(version, registry.manifest(version).metrics)
    pointer = registry.channel("stable").read()  # verified; None: nothing was promoted yet
    data = Dataset(open_store(settings), settings.dataset).current()
    with ModelServer(settings.server_url) as server:
        print(server.predict([photo], settings.model, label="stable"))

Change a channel, with the signing key::

    from orchard.registry.channels import ChangeIntent

    stable = Registry.open(settings, sign=True).channel("stable")
    stable.promote(version, ChangeIntent("anna", "canary was fine"))
    stable.rollback(ChangeIntent("anna", "takes plums for grapes"), to=1)
    print([(entry.version, entry.why) for entry in stable.history()])

Each name is imported at its first use: `import orchard` alone loads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchard.client import ModelServer
    from orchard.dataset import Dataset
    from orchard.registry.registry import Registry
    from orchard.settings import Settings
    from orchard.store import open_store

__all__ = ["Dataset", "ModelServer", "Registry", "Settings", "__version__", "open_store"]

__version__ = "0.1.0"

_MODULES = {
    "Dataset": "orchard.dataset",
    "ModelServer": "orchard.client",
    "Registry": "orchard.registry.registry",
    "Settings": "orchard.settings",
    "open_store": "orchard.store",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
