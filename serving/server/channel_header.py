"""The header `x-orchard-channel`: which channel answers a request that names no version and no label.

sync writes each channel as a label of the model, so a channel's name is looked up among the labels. A version or a label
of the request itself wins: the header is the caller's, or the router's, default for requests that leave the choice open.
Unlike an unknown label, which TF Serving calls an invalid argument, an unknown channel is NOT_FOUND: 404 in REST.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchard.request_headers import CHANNEL_HEADER
from serving.server.model_repository import ModelRepository
from serving.server.rest.paths import RequestTarget
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["choose_by_channel", "specify_channel"]

_SHOWN = 64


def _has_label(repository: ModelRepository, model: str, channel: str) -> bool:
    """Check that a model has the channel's label. False: there is no such model, which is reported as without the header.

    Raises:
        ServingError: NOT_FOUND, the model has no such channel.
    """
    snapshot = repository.snapshots.get(model)
    if snapshot is None or channel in snapshot.labels:
        return snapshot is not None
    known = ", ".join(sorted(snapshot.labels)) or "none"
    name = channel if len(channel) <= _SHOWN else channel[:_SHOWN] + "…"
    text = f"Unknown channel of {model}: {name} (header {CHANNEL_HEADER}); channels that are served: {known}"
    raise ServingError(StatusCode.NOT_FOUND, text)


def choose_by_channel(target: RequestTarget, channel: str | None, repository: ModelRepository) -> RequestTarget:
    """Return the target of a REST request with the label that its channel header chooses.

    Args:
        target: the target of the URL.
        channel: the header's value; None: there is none.
        repository: the served models.

    Raises:
        ServingError: NOT_FOUND, the model has no such channel.
    """
    if channel is None or target.version is not None or target.label is not None:
        return target
    return replace(target, label=channel) if _has_label(repository, target.model, channel) else target


def specify_channel(request: Any, channel: str | None, repository: ModelRepository) -> None:
    """Set the label that the channel header chooses in the model specs of a gRPC request.

    Args:
        request: the message, with a `model_spec`, or with `tasks` that have one each.
        channel: the value of the call's metadata; None: there is none.
        repository: the served models.

    Raises:
        ServingError: NOT_FOUND, the model has no such channel.
    """
    if channel is None:
        return
    for part in getattr(request, "tasks", (request,)):
        if not part.HasField("model_spec") or part.model_spec.WhichOneof("version_choice") is not None:
            continue
        if _has_label(repository, part.model_spec.name, channel):
            part.model_spec.version_label = channel
