"""The other side of sync: versions published, promoted and damaged, in a registry on a real store."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.stack import facts_of as facts_of_model
from orchard import layout
from orchard.registry.channels import ChangeIntent
from orchard.registry.manifest import PublishMetadata
from orchard.registry.registry import Registry
from orchard.signing import SigningKey, create_pair, load_key
from orchard.store import ObjectStore
from serving.sync.channel_watcher import TrustedKeysFile
from tests.serving.programs import Serve, Sync

__all__ = ["ENVIRONMENT", "MODEL", "ServedRegistry", "facts_of"]

MODEL = "fruits"
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("ORCHARD_", "AWS_")) and not name.lower().endswith("_proxy")
}
"""This process's environment without variables that would affect a test."""


def facts_of(photos: Path, name: str, **changes: Any) -> PublishMetadata:
    """The metadata in the manifest of one of the zoo's photo models."""
    return replace(facts_of_model(photos / name), **{"created_by": "anna@bench", **changes})


class ServedRegistry:
    """A registry with a key pair, and the programs that serve from it."""

    def __init__(self, store: ObjectStore, environment: dict[str, str], photos: Path, folder: Path) -> None:
        pair = create_pair(folder / "keys")
        self.store = store
        self.photos = photos
        self.folder = folder
        self.serving = folder / "serving"
        self.key: SigningKey = load_key(pair.private)
        self.trust = TrustedKeysFile(pair.public)
        self.environment = {
            **ENVIRONMENT,
            **environment,
            "ORCHARD_TRUSTED_KEYS_FILE": str(pair.public),
            "ORCHARD_SERVING_DIR": str(self.serving),
            "ORCHARD_MODEL": MODEL,
        }

    @property
    def registry(self) -> Registry:
        return Registry(self.store, MODEL, self.trust.current(), self.key)

    def facts(self, name: str, **changes: Any) -> PublishMetadata:
        return facts_of(self.photos, name, **changes)

    def publish(self, name: str, folder: Path | None = None, **changes: Any) -> int:
        """Publish one of the zoo's photo models, or `folder` with that model's facts."""
        facts = self.facts(name, **changes)
        return self.registry.publish(folder or self.photos / name, facts).version

    def promote(self, version: int, channel: str = "stable", why: str = "it is better") -> None:
        self.registry.channel(channel).promote(version, ChangeIntent("anna@bench", why))

    def release(self, name: str, channel: str = "stable", **changes: Any) -> int:
        """Publish and promote; returns the version."""
        version = self.publish(name, **changes)
        self.promote(version, channel)
        return version

    def rollback(self, to: int | None = None) -> None:
        self.registry.channel("stable").rollback(ChangeIntent("ben@bench", f"back to {to}"), to=to)

    def blobs(self, version: int) -> dict[str, str]:
        """The keys of a version's blobs, by file."""
        manifest = self.registry.manifest(version)
        return {file.path: layout.blob(MODEL, file.sha256) for file in manifest.files}

    # programs

    def serve(self, *options: str, port: int = 0) -> Serve:
        """A server that follows the serving folder; it is up, perhaps without any model."""
        running = Serve(
            self.serving / "models.config", self.folder / "serve.log", self.environment, *options, port=port, wait=False
        )
        self.environment["ORCHARD_SERVER_URL"] = f"http://127.0.0.1:{running.port}"
        return running

    def sync(self, *options: str) -> Sync:
        return Sync(self.folder / "sync.log", self.environment, *options)

    def test_photo(self) -> bytes:
        """A photo that every good model classifies correctly."""
        return (self.photos / "test_photos" / "0.jpg").read_bytes()
