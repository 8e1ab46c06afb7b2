"""What the page sends when an answer is wrong: checked, answered by the model again, and kept for review.

The version that answered gets the photo once more, as it will be stored: so what is stored is a photo that the model reads,
and the record's answer is the model's own, whatever the browser says. No decoder runs in the console.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchard.documents import FORMAT, parse, sha256_hex
from orchard.errors import DataError, IntegrityError, OrchardError, StoreError
from orchard.photo_formats import SERVED
from orchard.registry.version_overview import VersionSummary
from orchard.review.correction import Correction, checked_label, correction_id
from serving.console.access_control import UNNAMED
from serving.console.client_digests import ClientDigest, ClientDigests
from serving.console.client_quota import ClientQuota
from serving.console.correction_desk import CorrectionDesk
from serving.console.loop_state import LoopReader
from serving.console.prediction_proxy import PredictionProxy, RequestRefused, error_response
from serving.photo_metadata import follows_picture, without_metadata

__all__ = ["CorrectionApi"]

_MAX_ANSWERED = 200
_JPEG, _PNG = SERVED
_PADDING = b"\0\xff"


@dataclass(frozen=True, slots=True)
class _CorrectionClaim:
    """What the page says of an answer."""

    label: str
    version: int
    channel: str


class CorrectionApi:
    """Answers the page's requests about corrections.

    Args:
        desk: keeps them.
        proxy: reads bodies, and asks the model server.
        reader: knows the classes and channels of versions.
        clients: tells clients apart.
    """

    def __init__(
        self, desk: CorrectionDesk, proxy: PredictionProxy, reader: LoopReader, clients: ClientDigests
    ) -> None:
        self._desk = desk
        self._proxy = proxy
        self._reader = reader
        self._clients = clients
        self._quota = ClientQuota(desk.limits.per_hour)

    def describe(self, request: Request) -> JSONResponse:
        """Whether corrections are taken, and why not."""
        problem = self._desk.problem()
        return JSONResponse({"taken": not problem, "reason": problem})

    def labels(self, request: Request) -> JSONResponse:
        """The classes of a version; none if they are not known."""
        known = self._summary(request.path_params["version"])
        return JSONResponse({"labels": list(known.manifest.classes) if known and known.manifest else []})

    async def take(self, request: Request) -> Response:
        """Keep a correction: the body is the photo, the query has `label`, `version` and perhaps `channel`."""
        try:
            with self._proxy.slot():
                body = await self._proxy.read_body(request)  # first: who still sends a photo reads no answer
                return await self._take(request, body)
        except RequestRefused as error:
            return error.answer
        except DataError as error:
            return error_response(400, error.message)
        except StoreError:
            return error_response(503, "Your correction could not be stored: try again in a moment", Retry_After="5")
        except OrchardError as error:
            return error_response(502, error.message)

    async def _take(self, request: Request, body: bytes) -> Response:
        claim, client = _claimed(request), await self._admit(request)
        photo = await run_sync(_plain, body)
        media_type = "image/jpeg" if photo.startswith(_JPEG) else "image/png"
        answered = _label_of(await self._proxy.predict(photo, media_type, claim.version), claim.version)
        known = await run_sync(self._summary, claim.version)
        classes = known.manifest.classes if known and known.manifest else ()
        label = next((name for name in classes if name.casefold() == claim.label.casefold()), claim.label)
        if label == answered:
            raise DataError(f"The model answers {answered}, too: there is nothing to correct")
        sha256 = sha256_hex(photo)
        correction = Correction(
            FORMAT, correction_id(sha256, label, client.client), self._reader.model, sha256, label, label in classes, answered,
            claim.version, claim.channel if known and claim.channel in known.channels else "",
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), client.client, client.salt,
        )  # fmt: skip
        new = await run_sync(self._desk.keep, correction, photo, media_type)
        return JSONResponse({"id": correction.id, "label": label, "known": correction.known, "new": new}, 201)

    async def _admit(self, request: Request) -> ClientDigest:
        """Return who sends a correction. Raises `RequestRefused`: it has sent enough, or none are taken."""
        user = getattr(request.state, "user", None)
        client = self._clients.of(request, None if user in UNNAMED else user)
        if wait := self._quota.wait_s(client.client):
            text = f"You have sent {self._desk.limits.per_hour} corrections within an hour: try again in {-(-wait // 60)} minutes"
            raise RequestRefused(error_response(429, text, Retry_After=str(wait)))
        if problem := await run_sync(self._desk.problem):
            raise RequestRefused(error_response(503, problem))
        return client

    def _summary(self, version: int) -> VersionSummary | None:
        return next((one for one in self._reader.snapshot().versions if one.version == version), None)


def _claimed(request: Request) -> _CorrectionClaim:
    """Read the query of a correction. Raises `DataError`."""
    query = request.query_params
    version = query.get("version", "")
    if not (version.isascii() and version.isdecimal() and len(version) <= 12 and int(version) > 0):
        raise DataError("A correction names the version that answered: version=NUMBER")
    return _CorrectionClaim(checked_label(query.get("label", "")), int(version), query.get("channel", ""))


def _plain(body: bytes) -> bytes:
    """Return a photo as it is stored, without metadata. Raises `DataError`: it is none, or something else besides."""
    photo = without_metadata(body)
    if photo is None:
        raise DataError("This is not a whole JPEG or PNG file")
    if not _is_of_a_phone(follows_picture(body)):
        raise DataError("This file goes on after its picture, as if it were another file, too: save the photo again")
    return photo


def _is_of_a_phone(rest: bytes) -> bool:
    """Whether what follows a picture is what phones append: more pictures, a film, Samsung's data. It is never stored."""
    rest = rest.strip(_PADDING[:1]) if rest.startswith(_PADDING[:1]) else rest
    return not rest.strip(_PADDING) or rest.startswith(_JPEG) or rest[4:8] == b"ftyp" or rest.endswith(b"SEFT")


def _label_of(answer: Response, version: int) -> str:
    """Return the label of the model's answer to a photo. Raises `RequestRefused`."""
    document = _document(answer)
    if answer.status_code == 404:
        text = f"Version {version} is not served any more: send the photo again, and correct that answer"
        raise RequestRefused(error_response(409, text))
    if answer.status_code == 400:
        reason = str(document.get("error", "")).partition("\n")[0][:300]
        raise RequestRefused(error_response(400, f"The model refuses this photo. {reason}"))
    if answer.status_code in (429, 503, 504):
        raise RequestRefused(error_response(503, "The model server cannot answer now: try again", Retry_After="1"))
    predictions = document.get("predictions")
    first = predictions[0] if isinstance(predictions, list) and predictions else None
    label = first.get("label") if isinstance(first, dict) else None
    if answer.status_code != 200 or not isinstance(label, str) or not label.isprintable() or len(label) > _MAX_ANSWERED:
        raise RequestRefused(error_response(502, "The model's answer has no label that could be corrected"))
    return label


def _document(answer: Response) -> dict[str, object]:
    try:
        return parse(bytes(answer.body), "the answer")
    except IntegrityError:
        return {}
