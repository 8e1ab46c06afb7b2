"""What every request passes first and every answer last: who may send it, security headers, the log."""

from __future__ import annotations

import time
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.console.access_control import AccessControl
from serving.console.html_pages import REPLY_POLICY
from serving.console.page_assets import PREFIX
from serving.console.prediction_proxy import error_response
from serving.log import EventLog

__all__ = ["LOG_IN", "ConsoleGate", "is_for_programs"]

LOG_IN = "/console/login"
_OPEN = (LOG_IN, "/healthz")
_FOR_PROGRAMS = ("/v1/", "/console/v1/", "/console/api/")
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", REPLY_POLICY),
    ("Cache-Control", "no-store"),
)
_MAX_PATH = 256


def is_for_programs(path: str) -> bool:
    """Whether the answers of a path are JSON, errors too."""
    return path.startswith(_FOR_PROGRAMS)


class ConsoleGate:
    """Wraps the whole application.

    Args:
        app: the application behind it.
        access: who may use it.
        log: the event log.
        log_requests: whether each request is logged.
    """

    def __init__(self, app: ASGIApp, access: AccessControl, log: EventLog, *, log_requests: bool) -> None:
        self._app = app
        self._access = access
        self._log = log
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.monotonic(), 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS:
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope, receive)
        try:
            refusal = self._refuse(request)
            await (refusal or self._app)(scope, receive, send_on)
        finally:
            self._write(request, status, begin)

    def _refuse(self, request: Request) -> Response | None:
        """Return the answer to a request that goes no further; None: it does."""
        path = request.scope["path"]
        if request.method not in ("GET", "HEAD") and _is_from_elsewhere(request):
            return error_response(403, "This request comes from a page of another origin")
        request.state.user = user = self._access.user(request)
        if user is not None or path in _OPEN or path.startswith(PREFIX):
            return None
        if is_for_programs(path) or not self._access.takes_tokens:
            return error_response(401, "Log in, or send Authorization: Bearer TOKEN", WWW_Authenticate="Bearer")
        query = request.scope["query_string"].decode("latin-1")
        place = path + (f"?{query}" if query else "")
        return RedirectResponse(f"{LOG_IN}?next={quote(place, safe='/')}", 303)

    def _write(self, request: Request, status: int, begin: float) -> None:
        path = request.scope["path"]
        if not self._log_requests or (status < 400 and (path == "/healthz" or path.startswith(PREFIX))):
            return
        self._log.write(
            "request",
            remote=request.client.host if request.client else "-",
            method=request.method,
            path=path[:_MAX_PATH],
            status=status,
            ms=round((time.monotonic() - begin) * 1e3, 2),
            user=getattr(request.state, "user", None) or "-",
        )


def _is_from_elsewhere(request: Request) -> bool:
    """Whether a browser sends a request for a page of another origin."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host", "")
