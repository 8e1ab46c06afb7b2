"""Requests to the model's API, passed on to the model server, so that the page works without a router.

Behind `orchard route` the page's requests never come here: the router sends them to the model server itself. Only the paths
of one model pass, with a bounded body, a bounded answer and a deadline. Nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from urllib.parse import urlsplit

import anyio.to_thread
import requests
import urllib3
from anyio import CapacityLimiter
from requests.adapters import HTTPAdapter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from orchard.errors import OrchardError
from orchard.loopback import is_loopback
from orchard.request_headers import CHANNEL_HEADER, NO_CAPTURE_HEADER
from serving.tokens import first_token

__all__ = ["PredictionProxy", "ProxyOptions", "RequestRefused", "error_response"]

_IN_FLIGHT = 16
_CONNECT_S, _BODY_S = 3.05, 60.0
_MAX_ANSWER = 32 << 20
_REQUEST_HEADERS = (
    "content-type", "content-encoding", "accept", "x-client", "x-request-id", "traceparent", "x-orchard-non-finite",
    NO_CAPTURE_HEADER,
)  # fmt: skip
_ANSWER_HEADERS = ("content-type", "x-request-id", "retry-after", CHANNEL_HEADER)
_QUERY = re.compile(r"(top=\d{1,6})?")
_CHANNEL = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Where requests go, and what limits them.

    Attributes:
        server_url: the model server's REST address.
        channel: the channel of a request that names neither a channel nor a version.
        token_file: the first line is the model server's bearer token; None: it needs none.
        max_body_bytes: the largest body of a request.
        timeout_s: for an answer, once the request has arrived.
    """

    server_url: str
    channel: str = "stable"
    token_file: Path | None = None
    max_body_bytes: int = 32 << 20
    timeout_s: float = 35.0


def error_response(status: int, message: str, **headers: str) -> JSONResponse:
    """Return an error in the form of the model server's API."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": message}, status, headers=named)


class RequestRefused(Exception):
    """A request goes no further.

    Args:
        answer: what its sender gets.
    """

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


class PredictionProxy:
    """Passes requests for one model on to the model server.

    Args:
        model: the model's name.
        options: see `ProxyOptions`.

    Raises:
        SettingsError: the token file cannot be read or has no token.
    """

    def __init__(self, model: str, options: ProxyOptions) -> None:
        self._options = options
        self._path = re.compile(
            rf"/v1/models/{re.escape(model)}(/versions/\d{{1,12}}|/labels/[A-Za-z0-9_-]{{1,64}})?(:predict|/metadata)?"
        )
        self._model = model
        self._server = options.server_url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(urlsplit(self._server).hostname)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one caller's is not another's
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=_IN_FLIGHT))
        self._limiter: CapacityLimiter | None = None
        self._in_flight = 0
        self._token()  # its error is one of the start

    def _token(self) -> str | None:
        return first_token(self._options.token_file) if self._options.token_file else None

    async def answer(self, request: Request) -> Response:
        """Answer a request for the model's API, whatever its path is."""
        path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
        match = self._path.fullmatch(path)
        predicts = match is not None and match[2] == ":predict"
        if match is None or not _QUERY.fullmatch(query):
            return error_response(
                404, "The console passes on only the page's own requests for its model: see docs/console.md"
            )
        if request.method != ("POST" if predicts else "GET"):
            return error_response(405, f"{request.method} is not supported here", Allow="POST" if predicts else "GET")
        try:
            with self.slot():
                body = await self.read_body(request)
                return await self._pass_on(request, path, query, body, self._channel(request, plain=match[1] is None))
        except RequestRefused as error:
            return error.answer
        except OrchardError as error:
            return error_response(502, error.message)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Count a request while it is under way: each holds a body. Raises `RequestRefused` if too many are."""
        if self._in_flight >= _IN_FLIGHT:
            raise RequestRefused(error_response(503, "Too many requests are under way: try again", Retry_After="1"))
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def _channel(self, request: Request, *, plain: bool) -> str:
        """The channel of a request: the one it names, else the default; empty: its path has a version or a label."""
        named = request.headers.get(CHANNEL_HEADER, "")
        if named and not _CHANNEL.fullmatch(named):
            raise RequestRefused(error_response(400, f"{CHANNEL_HEADER} does not have the name of a channel"))
        return (named or self._options.channel) if plain else ""

    async def read_body(self, request: Request) -> bytes:
        """Read the body of a request, up to the limit. Raises `RequestRefused`."""
        limit = self._options.max_body_bytes
        too_large = error_response(413, f"The request is larger than {limit >> 20} MiB", Connection="close")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 12 or int(length) > limit:
            raise RequestRefused(too_large)
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise RequestRefused(too_large)
        except TimeoutError:
            raise RequestRefused(error_response(408, "The request arrived too slowly", Connection="close")) from None
        except ClientDisconnect:
            raise RequestRefused(error_response(400, "The client has gone")) from None
        return bytes(body)

    async def _pass_on(self, request: Request, path: str, query: str, body: bytes, channel: str) -> Response:
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        if channel:
            headers[CHANNEL_HEADER] = channel
        answer = await self._forward(request.method, f"{path}?{query}" if query else path, body, headers)
        if channel and answer.status_code == requests.codes.ok:
            answer.headers.setdefault(CHANNEL_HEADER, channel)
        return answer

    async def predict(self, photo: bytes, media_type: str, version: int) -> Response:
        """Return the answer of one version to a photo as it is, which was captured, or not, with its first answer.

        Raises:
            OrchardError: the token cannot be read.
        """
        path = f"/v1/models/{self._model}/versions/{version}:predict"
        return await self._forward("POST", path, photo, {"content-type": media_type, NO_CAPTURE_HEADER: "1"})

    async def _forward(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Response:
        if token := self._token():
            headers["authorization"] = f"Bearer {token}"
        self._limiter = self._limiter or CapacityLimiter(_IN_FLIGHT)
        return await anyio.to_thread.run_sync(
            self._send, method, f"{self._server}{target}", body, headers, limiter=self._limiter
        )

    def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        try:
            with self._session.request(
                method, url, data=body or None, headers=headers, stream=True, allow_redirects=False,
                timeout=(_CONNECT_S, self._options.timeout_s),
            ) as found:  # fmt: skip
                content = found.raw.read(_MAX_ANSWER + 1, decode_content=True)
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            return error_response(504, f"The model server did not answer within {self._options.timeout_s:g} s")
        except (requests.RequestException, urllib3.exceptions.HTTPError):
            return error_response(503, "The model server does not answer: is it running?", Retry_After="1")
        if len(content) > _MAX_ANSWER:
            return error_response(502, f"The model server's answer is larger than {_MAX_ANSWER >> 20} MiB")
        kept = {name: found.headers[name] for name in _ANSWER_HEADERS if name in found.headers}
        return Response(content, found.status_code, headers=kept)
