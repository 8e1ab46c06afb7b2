"""Cross-origin requests (CORS): pages of the configured origins may call the server from a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from orchard.errors import SettingsError
from serving.http.http_messages import Answer, HttpRequest, HttpResponse

__all__ = ["CrossOriginPolicy"]

_ORIGIN = re.compile(r"https?://[A-Za-z0-9._~\[\]:-]+")
_VARY = ("Vary", "Origin")
_EXPOSED = ("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, Traceparent, X-Client, X-Orchard-Channel, X-Orchard-No-Capture, X-Request-Id",
    ),
    ("Access-Control-Max-Age", "7200"),
)


class CrossOriginPolicy:
    """The origins whose pages may read answers.

    Args:
        origins: for example ``https://shop.example``; ``*``: every origin.

    Raises:
        SettingsError: one of them is not an origin.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    f"{origin!r} is not a valid origin",
                    hint="an origin is scheme, host and port without a path: --cors-origin https://shop.example",
                )
        self._any = "*" in origins
        self._origins = frozenset(origin.lower() for origin in origins)

    def headers(self, request: HttpRequest) -> tuple[tuple[str, str], ...]:
        """Return the headers that let the page of a request read its answer, also if that is an error."""
        origin = request.headers.get("origin", "")
        if self._any:
            return (("Access-Control-Allow-Origin", "*"), _EXPOSED) if origin else ()
        if origin.lower() in self._origins:
            return ("Access-Control-Allow-Origin", origin), _VARY, _EXPOSED
        return (_VARY,)

    def answering_preflights(
        self, handle: Callable[[HttpRequest, Answer], None]
    ) -> Callable[[HttpRequest, Answer], None]:
        """Return a handler that answers preflights, which have no token, and gives other requests to `handle`."""

        def answer_or_handle(request: HttpRequest, answer: Answer) -> None:
            if request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
                handle(request, answer)
            elif len(self.headers(request)) > 1:
                answer(HttpResponse(200, b"", headers=_PREFLIGHT))
            else:
                answer(HttpResponse(403, b""))

        return answer_or_handle
