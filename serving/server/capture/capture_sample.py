"""A request that was chosen to be captured, on its way through the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

__all__ = ["PHOTO_INPUT", "CaptureSample", "client_of"]

PHOTO_INPUT = "image_bytes"
"""The input of a model that gets photos."""

_CLIENT_HEADERS = ("x-client", "x-forwarded-for")
"""What names a client behind the router: the header by which it stays with a channel, else the addresses that it came through."""

_MAX_LABEL = 256


def client_of(headers: Mapping[str, str], remote: str) -> str:
    """Return what tells clients apart; it is stored as a hash only.

    Args:
        headers: the request's, or the metadata of a call.
        remote: the address of the connection, ``HOST:PORT``, or in gRPC's form ``ipv4:HOST:PORT``.
    """
    for name in _CLIENT_HEADERS:
        if value := headers.get(name):
            return str(value)
    return unquote(remote).removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0].strip("[]")


@dataclass(slots=True, eq=False)
class CaptureSample:
    """What is kept of a request until it is answered.

    Attributes:
        request_id: the request's id.
        client: of `client_of`.
        channel: the channel that the request named; None: none.
        alias: the input that gets the photos.
        photos: their bytes, once the request was read; empty: the request has no photos.
        outputs: what the model returned: for each output an array and its type; None: nothing yet.
    """

    request_id: str
    client: str
    channel: str | None
    alias: str = PHOTO_INPUT
    photos: Sequence[Any] = ()
    outputs: Mapping[str, tuple[Any, Any]] | None = None

    def read(self, inputs: Sequence[str], values: Sequence[Any]) -> None:
        """Find the photos in the arrays that are fed to a model.

        Args:
            inputs: the aliases of the model's inputs.
            values: an array for each; photos are an array[N] of bytes.
        """
        found = [value for alias, value in zip(inputs, values, strict=True) if alias == self.alias]
        if found and found[0].ndim == 1 and found[0].dtype.char == "O":
            self.photos = found[0].tolist()

    def take_predictions(self) -> list[tuple[str | None, float | None, bool | None]]:
        """Return label, probability and unsure of each photo, and forget the outputs; None: the model has no such output."""
        count = len(self.photos)
        columns = [self._column(alias, count) for alias in ("label", "probability", "unsure")]
        self.outputs = None
        return [
            (
                None if label is None else bytes(label).decode("utf-8", "replace")[:_MAX_LABEL],
                None if probability is None else float(probability),
                None if unsure is None else bool(unsure),
            )
            for label, probability, unsure in zip(*columns, strict=True)
        ]

    def _column(self, alias: str, count: int) -> list[Any]:
        kinds = {"label": "O", "probability": "efd", "unsure": "?"}[alias]
        array, _ = (self.outputs or {}).get(alias, (None, None))
        fits = array is not None and array.shape == (count,) and array.dtype.char in kinds
        return array.tolist() if fits and array is not None else [None] * count
