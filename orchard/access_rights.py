"""The identities that share a store, and the rights that the work of each needs, by folder of the bucket."""

from __future__ import annotations

__all__ = ["DELETES", "IDENTITIES", "LOOP"]

_DATA, _MODELS, _RUNS, _UPLOADS = ("dvc", "datasets"), ("models",), ("runs",), ("incoming", "batch/in")
_UPKEEP = (*_MODELS, *_RUNS, "capture", "review", "logs")


def _rights(read: tuple[str, ...], write: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Return the rights by action: the right to write includes reading, and reading includes listing."""
    readable = tuple(dict.fromkeys((*read, *write)))
    return {"Read": readable, "List": readable, **({"Write": write} if write else {})}


IDENTITIES: dict[str, dict[str, tuple[str, ...]]] = {
    "ingest": _rights(("incoming",), (*_DATA, *_RUNS)),
    "trainer": _rights(_DATA, _RUNS),
    "publisher": _rights(_DATA, (*_MODELS, *_RUNS)),
    "sync": _rights(_MODELS),
    "console": _rights((*_MODELS, *_RUNS, "datasets"), ("review",)),
    "batch": _rights((*_MODELS, "batch/in"), ("batch/out", *_RUNS)),
    "housekeeping": _rights((*_DATA, *_UPKEEP), _UPKEEP),
    "notifier": _rights((*_MODELS, *_RUNS), ("webhooks",)),
    "airflow": _rights((), ("logs",)),
    "uploader": _rights(("batch/out",), _UPLOADS),
    "capture": {"Write": ("capture",)},
}
"""The rights of each identity, by action and folder of the bucket; without `admin`, which has all rights.

The model server is `capture`: it may add photos of the traffic, and can read none of them.
"""

DELETES: dict[str, tuple[str, ...]] = {"housekeeping": _UPKEEP}
"""The folders in which an identity deletes."""

LOOP: tuple[str, ...] = ("ingest", "trainer", "publisher", "sync")
"""The identities of the loop from photos to a served model."""
