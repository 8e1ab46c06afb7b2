"""The console's routes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from orchard.errors import DataError, OrchardError, StoreError
from serving.console.access_control import COOKIE, SESSION_S, AccessControl
from serving.console.console_gate import LOG_IN, ConsoleGate, is_for_programs
from serving.console.correction_api import CorrectionApi
from serving.console.example_photos import ExamplePhotos
from serving.console.html_pages import CARD_POLICY, HtmlPages
from serving.console.loop_state import LoopReader
from serving.console.page_assets import PREFIX, PageAssets
from serving.console.prediction_proxy import PredictionProxy, error_response
from serving.log import EventLog

__all__ = ["ConsoleApp"]

_MAX_FORM = 4096
_LOCAL = re.compile(r"/(console/[A-Za-z0-9/_.-]*(\?[A-Za-z0-9=&._%-]*)?)?")
"""Where the log-in form may lead: pages of the console, and never another host."""


class ConsoleApp:
    """The application.

    Args:
        reader: reads the state of the loop.
        proxy: answers requests for the model's API.
        access: who may use the console.
        corrections: answers requests about corrections of answers.
        through_console: whether the page sends photos by the console even behind a router, for the model server's token.
    """

    def __init__(
        self,
        reader: LoopReader,
        proxy: PredictionProxy,
        access: AccessControl,
        corrections: CorrectionApi,
        *,
        through_console: bool = False,
    ) -> None:
        self.assets = PageAssets()
        self._reader = reader
        self._proxy = proxy
        self._access = access
        self._corrections = corrections
        self._example_photos = ExamplePhotos()
        self._pages = HtmlPages(self.assets, reader.model)
        self._api = "/console/v1" if through_console else "/v1"

    def build(self, log: EventLog, *, hosts: tuple[str, ...] = (), log_requests: bool = True) -> Starlette:
        """Return the application for a server.

        Args:
            log: the event log.
            hosts: the names that it answers to; empty: any.
            log_requests: whether each request is logged.
        """
        routes: list[tuple[str, Callable[[Request], object], str]] = [
            ("/", self._home, "GET"),
            ("/healthz", self._healthz, "GET"),
            ("/console/loop", self._loop, "GET"),
            ("/console/versions/{version}", self._version, "GET"),
            ("/console/versions/{version}/card", self._card, "GET"),
            ("/console/compare", self._compare, "GET"),
            ("/console/examples/{version:int}/{number:int}", self._example, "GET"),
            ("/console/api/state", self._state, "GET"),
            ("/console/api/examples", self._examples, "GET"),
            ("/console/api/model", self._model, "GET"),
            ("/console/api/labels/{version:int}", self._corrections.labels, "GET"),
            ("/console/api/corrections", self._corrections.describe, "GET"),
            ("/console/api/corrections", self._corrections.take, "POST"),
            (f"{PREFIX}{{digest}}/{{name}}", self.assets.answer, "GET"),
            (LOG_IN, self._log_in_form, "GET"),
            (LOG_IN, self._log_in, "POST"),
            ("/console/logout", self._log_out, "POST"),
            ("/console/v1/{rest:path}", self._pass_on, "GET POST"),
            ("/v1/{rest:path}", self._proxy.answer, "GET POST"),
        ]
        middleware = [Middleware(ConsoleGate, access=self._access, log=log, log_requests=log_requests)]
        if hosts:
            middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False))
        return Starlette(
            routes=[Route(path, endpoint, methods=methods.split()) for path, endpoint, methods in routes],
            middleware=middleware,
            exception_handlers={OrchardError: self._failed, HTTPException: self._refused, Exception: self._broken},
        )

    # the page

    async def _home(self, request: Request) -> HTMLResponse:
        return self._pages.response("page.html", api=self._api, **self._frame(request, "page"))

    async def _healthz(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    async def _pass_on(self, request: Request) -> Response:
        request.scope["path"] = request.scope["path"].removeprefix("/console")
        return await self._proxy.answer(request)

    # the state of the loop: these functions run in threads, for they wait for the store

    def _loop(self, request: Request) -> HTMLResponse:
        return self._pages.response("loop.html", loop_state=self._reader.snapshot(), **self._frame(request, "loop"))

    def _version(self, request: Request) -> HTMLResponse:
        found = self._reader.version(request.path_params["version"])
        return self._pages.response("version.html", details=found, **self._frame(request, "loop"))

    def _card(self, request: Request) -> Response:
        card = self._reader.card(request.path_params["version"])
        return HTMLResponse(card, headers={"Content-Security-Policy": CARD_POLICY})

    def _compare(self, request: Request) -> HTMLResponse:
        names = [request.query_params.get(name, "") for name in ("before", "after")]
        found = self._reader.compare(*names)
        return self._pages.response("compare.html", diff=found, **self._frame(request, "loop"))

    def _state(self, request: Request) -> JSONResponse:
        return JSONResponse(self._reader.snapshot().document)

    def _model(self, request: Request) -> JSONResponse:
        return JSONResponse(self._reader.snapshot().model_document)

    def _examples(self, request: Request) -> JSONResponse:
        version = self._reader.snapshot().example_version
        photos = () if version is None else self._example_photos.read(self._reader.registry, version)
        return JSONResponse({"photos": [f"/console/examples/{version}/{number}" for number in range(len(photos))]})

    def _example(self, request: Request) -> Response:
        number = request.path_params["number"]
        photo = self._example_photos.one(self._reader.registry, request.path_params["version"], number)
        headers = {"Cache-Control": "private, max-age=86400"}  # a version never changes
        return Response(photo.body, media_type=photo.media_type, headers=headers)

    def _frame(self, request: Request, here: str) -> dict[str, Any]:
        """What every page's frame needs."""
        user = getattr(request.state, "user", None)
        return {"here": here, "user": user, "logs_out": self._access.takes_tokens and COOKIE in request.cookies}

    # log-in

    async def _log_in_form(self, request: Request) -> HTMLResponse:
        place = request.query_params.get("next", "/")
        return self._pages.response("login.html", place=place, wrong=False, **self._frame(request, "login"))

    async def _log_in(self, request: Request) -> Response:
        form = await _read_form(request)
        if form is None:
            return error_response(413, f"The form has more than {_MAX_FORM} bytes", Connection="close")
        place = form.get("next", "/")
        cookie = self._access.begin_session(form.get("token", "").strip())
        if cookie is None:
            frame = self._frame(request, "login")
            return self._pages.response("login.html", 401, place=place, wrong=True, **frame)
        answer = RedirectResponse(place if _LOCAL.fullmatch(place) else "/", 303)
        secure = request.headers.get("x-forwarded-proto", request.scope["scheme"]) == "https"
        answer.set_cookie(COOKIE, cookie, max_age=SESSION_S, httponly=True, samesite="strict", secure=secure)
        return answer

    async def _log_out(self, request: Request) -> Response:
        answer = RedirectResponse(LOG_IN, 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    # errors

    def _problem(self, request: Request, status: int, message: str, hint: str = "") -> Response:
        if is_for_programs(request.scope["path"]):
            return error_response(status, message)
        return self._pages.problem(status, message, hint, **self._frame(request, ""))

    async def _failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, OrchardError)  # noqa: S101  what it is registered for
        status = 404 if isinstance(error, DataError) else 503 if isinstance(error, StoreError) else 502
        return self._problem(request, status, error.message, error.hint)

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  what it is registered for
        texts = {404: "There is no such page", 405: f"{request.method} is not supported here"}
        answer = self._problem(request, error.status_code, texts.get(error.status_code, error.detail))
        answer.headers.update(error.headers or {})
        return answer

    async def _broken(self, request: Request, error: Exception) -> Response:
        return self._problem(request, 500, "The console failed; its log has the reason")


async def _read_form(request: Request) -> dict[str, str] | None:
    """Return the fields of a form, the last of each name; None: it is too large."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM:
                return None
    except ClientDisconnect:
        return {}
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=8)
    except ValueError:
        return {}
    return {name: values[-1] for name, values in fields.items()}
