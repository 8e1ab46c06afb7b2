"""A client of the model server: TF Serving's REST API, and errors with hints."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from orchard.errors import ServerError
from orchard.loopback import is_loopback
from orchard.photo_formats import as_served

__all__ = ["ModelServer", "Prediction", "VersionStatus"]

CONNECT_SECONDS = 3.05
READ_SECONDS = 60.0
CONNECT_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one photo.

    Attributes:
        label: the predicted class.
        probability: of that class, 0 to 1.
        probabilities: of every class, in the order of the model's classes; sum 1.
        classes: the model's classes, in that order; empty if the model does not say them.
        unsure: whether none or several classes are possible, at the coverage that the model was calibrated for.
    """

    label: str
    probability: float
    probabilities: tuple[float, ...]
    classes: tuple[str, ...] = ()
    unsure: bool = False

    def best(self, count: int) -> list[tuple[str, float]]:
        """Return the most probable classes with their probabilities, the most probable first: `count`, or all if fewer.

        Raises:
            ServerError: the model does not say its classes.
        """
        if len(self.classes) != len(self.probabilities):
            raise ServerError(
                f"the model gives {len(self.probabilities)} probabilities and names {len(self.classes)} classes",
                hint="it was exported before models named their classes: train and publish it again",
            )
        pairs = zip(self.classes, self.probabilities, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])[:count]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """A version at the server: its number, its state (`AVAILABLE`, `LOADING`, `END` …) and its error or an empty text."""

    version: int
    state: str
    error: str


class ModelServer:
    """The REST API of one model server; a context manager that closes its connections.

    Args:
        url: for example ``http://127.0.0.1:8501``.
        read_seconds: the longest time for an answer.
        token: the bearer token, if the server needs one.

    A connection is retried; a request that was sent is not. Every method raises `ServerError`.
    """

    def __init__(self, url: str, *, read_seconds: float = READ_SECONDS, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._timeout = (CONNECT_SECONDS, read_seconds)
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(urlsplit(self.url).hostname)
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"
        retry = Retry(total=None, connect=CONNECT_RETRIES, read=0, redirect=0, status=0, other=0, backoff_factor=0.2)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def __enter__(self) -> Self:
        """Return the client; it connects with the first request."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self._session.close()

    def _address(self, model: str, version: int | None, label: str | None) -> str:
        if version is not None and label is not None:
            raise ValueError("a version or a label, not both")
        address = f"{self.url}/v1/models/{quote(model, safe='')}"
        if version is not None:
            address += f"/versions/{version}"
        if label is not None:
            address += f"/labels/{quote(label, safe='')}"
        return address

    def _request(self, method: str, address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._session.request(method, address, json=body, timeout=self._timeout, allow_redirects=False)
        except requests.ConnectionError as error:
            raise ServerError(
                f"no model server answers at {self.url}",
                hint="is it running (`orchard serve`, `orchard demo`) and ORCHARD_SERVER_URL right?",
            ) from error
        except requests.Timeout as error:
            raise ServerError(
                f"the model server did not answer {address} within {self._timeout[1]:g} s",
                hint="it may be loading or overloaded; try again, or send fewer photos at once",
            ) from error
        except requests.RequestException as error:
            raise ServerError(f"the request to {address} failed: {error}", hint="check ORCHARD_SERVER_URL") from error
        return _document(answer, address)

    def predict(
        self, photos: Sequence[bytes], model: str, *, version: int | None = None, label: str | None = None
    ) -> list[Prediction]:
        """Predict the labels of photos, in one request.

        Args:
            photos: N photos, the bytes of JPEG or PNG files; other formats and colour profiles are converted as
                `orchard ingest` does.
            model: the model's name at the server.
            version: predict with this version; None, without `label`: the newest that is loaded.
            label: predict with the version that has this label (a channel: `stable`, `canary`).

        Returns:
            N predictions in the same order.

        Raises:
            DataError: a photo cannot be converted; nothing was sent.
        """
        if not photos:
            return []
        address = f"{self._address(model, version, label)}:predict"
        body = {"instances": [{"b64": base64.b64encode(as_served(photo)).decode("ascii")} for photo in photos]}
        items = self._request("POST", address, body).get("predictions")
        if not isinstance(items, list) or len(items) != len(photos):
            raise ServerError(f"{address} did not answer with one prediction for each of {len(photos)} photos")
        return [_prediction(item, address) for item in items]

    def status(self, model: str, *, version: int | None = None) -> list[VersionStatus]:
        """Return the versions that the server knows, in any state, newest first."""
        address = self._address(model, version, None)
        items = self._request("GET", address).get("model_version_status")
        try:
            statuses = [
                VersionStatus(int(item["version"]), str(item["state"]), str(item["status"]["error_message"]))
                for item in items or ()
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise ServerError(f"{address} did not answer with versions and their states") from error
        return sorted(statuses, key=lambda item: -item.version)

    def metadata(self, model: str, *, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Return the server's metadata of a loaded version: its signatures."""
        return self._request("GET", f"{self._address(model, version, label)}/metadata")


def _document(answer: requests.Response, address: str) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if answer.status_code == requests.codes.ok and isinstance(document, dict):
        return document
    text = document.get("error") if isinstance(document, dict) else None
    reason = str(text or answer.reason or "no reason").strip().splitlines()[0][:300]
    if answer.status_code == requests.codes.ok:
        raise ServerError(
            f"{address} did not answer with a JSON object", hint="is ORCHARD_SERVER_URL the address of a model server?"
        )
    raise ServerError(f"{address} answered {answer.status_code}: {reason}", hint=_hint(answer.status_code, reason))


def _hint(status: int, reason: str) -> str:
    if "version label" in reason:
        return (
            "no loaded version has that label: `orchard history` shows what the channel points to, `orchard sync` writes "
            "the labels of ORCHARD_CHANNELS, and `orchard predict --version N` needs no label"
        )
    if status == requests.codes.not_found:
        return "is that model or version loaded? `orchard history` shows what the channel points to"
    if status == requests.codes.unauthorized:
        return "the server needs a token: `orchard predict --token-file FILE`"
    if status == requests.codes.request_entity_too_large:
        return "the photo is larger than the server accepts; make it smaller"
    if status in {requests.codes.too_many_requests, requests.codes.service_unavailable}:
        return "the server is busy or has no version yet; try again in a moment"
    if status == requests.codes.bad_request:
        return "is the file a whole JPEG or PNG photo?"
    return "see the server's log"


def _prediction(item: Any, address: str) -> Prediction:
    try:
        label, probability = item["label"], float(item["probability"])
        probabilities = tuple(float(value) for value in item["probabilities"])
        classes = tuple(str(name) for name in item.get("classes", ()))
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError(
            f"{address} answered without label, probability and probabilities",
            hint="did Orchard export that model?",
        ) from error
    if not isinstance(label, str) or not all(map(math.isfinite, (probability, *probabilities))):
        raise ServerError(f"{address} answered with an invalid label or probability")
    return Prediction(label, probability, probabilities, classes, item.get("unsure") is True)
