"""What the tests publish: small folders that look like SavedModels, the facts beside them, and keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchard.documents import canonical_json
from orchard.registry.channels import ChangeIntent
from orchard.registry.manifest import DatasetRef, GateRecord, ModelSignature, PublishMetadata
from orchard.registry.registry import Registry
from orchard.signing import SigningKey, sign
from orchard.store import ObjectStore

__all__ = ["BECAUSE", "KEY", "MODEL", "STRANGER", "TRUSTED", "facts", "registry_of", "resigned", "saved_model"]

MODEL = "fruits"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"1" * 32))
STRANGER = SigningKey(Ed25519PrivateKey.from_private_bytes(b"2" * 32))
TRUSTED = KEY.trusted
BECAUSE = ChangeIntent("anna@bench", "it was time")

_FACTS = PublishMetadata(
    signatures={"serving_default": ModelSignature({"image_bytes": "string[N]"}, {"label": "string[N]"})},
    ops=("MatMul", "Const"),
    classes=("Apple", "Plum"),
    dataset=DatasetRef("fruits", 1, "d" * 64),
    params_digest="e" * 64,
    code="0.1.0 at c0ffee",
    metrics={"shop.accuracy": 0.96, "shop.n": 200},
    gate=GateRecord("accepted", "all 4 checks passed", "a" * 64),
    created_by="anna@bench",
)


def facts(**changes: Any) -> PublishMetadata:
    """What a publisher knows beside the files; with changes."""
    return replace(_FACTS, **changes)


def registry_of(store: ObjectStore, key: SigningKey = KEY, model: str = MODEL) -> Registry:
    """The registry of a model in a store, for somebody who holds a key and trusts no other."""
    return Registry(store, model, key.trusted, key)


def saved_model(folder: Path, content: object = 0) -> Path:
    """Write a folder of two files, one of which every content shares; returns it."""
    (folder / "assets").mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(f"graph of {content}".encode() * 3)
    (folder / "assets/classes.txt").write_text("Apple\nPlum\n")
    return folder


def resigned(payload: dict[str, Any], key: SigningKey = KEY) -> bytes:
    """The bytes of a signed document, for putting forgeries where true ones belong."""
    return canonical_json(sign(payload, key))
