"""What a day's prediction is about, fixed before the first photo: every attempt, wherever and whenever, predicts exactly that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from orchard import layout
from orchard.documents import FORMAT, STRICT, canonical_json, decode, encode, parse
from orchard.errors import DataError, IntegrityError
from orchard.registry.channels import Channel
from orchard.store.conditional import create_once, get_or_none
from training.data.photo_objects import list_names

__all__ = ["BatchPlan", "NoVersion", "create_or_read_plan"]

MAX_BYTES = 64 << 20
"""Of a plan: half a million photos."""


class NoVersion(DataError):
    """The channel means no version yet: nobody can be asked, and nothing was written."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What is asked about which photos.

    Attributes:
        format: of the document, 1.
        day: ``YYYY-MM-DD``.
        model: the model's name.
        channel: whose version it was.
        version: the version that is asked.
        manifest_sha256: of that version's manifest.
        override_reason: why it was promoted though no gate had accepted it, else None.
        created: when (RFC 3339, UTC).
        by: who.
        run_id: the run that fixed it, None outside a run.
        photos: their names, sorted; what comes later is not asked about.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format: int
    day: str
    model: str
    channel: str
    version: int
    manifest_sha256: str
    override_reason: str | None
    created: str
    by: str
    run_id: str | None
    photos: tuple[str, ...]


def create_or_read_plan(channel: Channel, day: str, by: str, run_id: str | None) -> BatchPlan:
    """Write the plan of a day's prediction, unless an earlier attempt has; returns the plan in the store.

    Args:
        channel: whose version is asked.
        day: ``YYYY-MM-DD``.
        by: who.
        run_id: the run that this belongs to.

    Raises:
        NoVersion: the channel means no version.
        DataError: an earlier attempt fixed another model.
        IntegrityError: the channel or the plan is not what it must be.
        StoreError: the store did not answer.
    """
    key, store, model = layout.batch_output(day, "plan.json"), channel.registry.store, channel.registry.model
    there = get_or_none(store, key)
    body = there.body if there else create_once(store, key, _made(channel, day, by, run_id)).body
    plan = decode(BatchPlan, parse(body, key, limit=MAX_BYTES), key)
    if plan.day != day:
        raise IntegrityError(f"{key} is about {plan.day}")
    if plan.model != model:
        raise DataError(
            f"{day} was begun with the model {plan.model!r}, not {model!r}",
            hint=f"ORCHARD_MODEL={plan.model} ends it",
        )
    return plan


def _made(channel: Channel, day: str, by: str, run_id: str | None) -> bytes:
    registry, pointer = channel.registry, channel.read()
    if pointer is None:
        raise NoVersion(
            f"no version of {registry.model} is on {channel.name} yet",
            hint="`orchard promote` puts one there; the day is not marked done, run it again then",
        )
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    plan = BatchPlan(
        FORMAT,
        day,
        registry.model,
        channel.name,
        pointer.version,
        pointer.manifest_sha256,
        pointer.override_reason,
        created,
        by,
        run_id,
        tuple(list_names(registry.store, layout.batch_input(day))),
    )
    return canonical_json(encode(plan))
