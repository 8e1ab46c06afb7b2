"""What the router demands at its front door: a rate that a client keeps to, a token, TLS.

Envoy enforces it by filters of its own. Tokens and keys are not in the bootstrap file: they are in files beside it, which
Envoy reads again when they are replaced (`serving.router.guard_files`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.request_headers import CHANNEL_HEADER
from serving.router.envoy_limits import RateLimits, rate_filter
from serving.router.envoy_secrets import (
    CALLERS,
    CERTIFICATE,
    CHOOSERS,
    engine_filter,
    from_file,
    hide_token_filter,
    token_filter,
)  # fmt: skip

__all__ = ["Guards", "TokenFiles", "guard_filters", "local_replies", "no_guards", "transport_socket"]

_RATES = "rates"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_HANDSHAKE_S = "10s"


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """Files of bearer tokens, as `serving.tokens` reads them.

    Attributes:
        callers: of the tokens that are accepted.
        channel: of the tokens that are accepted and may choose the channel; None: every accepted token may.
        engine: its first token is sent to the model server; None: none is. A caller's token is never passed on.
    """

    callers: Path
    channel: Path | None = None
    engine: Path | None = None


@dataclass(frozen=True, slots=True)
class Guards:
    """What the router demands of requests.

    Attributes:
        rates: None: no limit.
        tokens: None: every caller is accepted.
        tls: the files of the certificate chain and its key; None: plain text.
        proxies: how many proxies in front of the router add the client's address to x-forwarded-for.
        folder: of the files that Envoy follows.
    """

    rates: RateLimits | None = None
    tokens: TokenFiles | None = None
    tls: tuple[Path, Path] | None = None
    proxies: int = 0
    folder: Path = Path()


def guard_filters(guards: Guards) -> list[dict[str, Any]]:
    """Return the filters that a request passes first. The rate comes before the token, so guessing tokens is limited too."""
    filters: list[dict[str, Any]] = []
    if guards.rates:
        filters.append({"name": _RATES, "typed_config": rate_filter(guards.rates)})
    if guards.tokens:
        if guards.tokens.channel:
            filters.append(token_filter(CHOOSERS, guards.folder))
        filters.append(token_filter(CALLERS, guards.folder))
        filters.append(engine_filter(guards.folder) if guards.tokens.engine else hide_token_filter())
    return filters


def no_guards(guards: Guards, *, rates: bool = True) -> dict[str, Any]:
    """Return what opens a route to everybody, at any rate: a refused probe would restart the router.

    Args:
        guards: what other routes demand.
        rates: whether the rates are off, too.
    """
    names = [item["name"] for item in guard_filters(guards) if rates or item["name"] != _RATES]
    off = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    return {"typed_per_filter_config": dict.fromkeys(names, off)} if names else {}


def transport_socket(guards: Guards) -> dict[str, Any]:
    """Return what makes a filter chain speak TLS, HTTP/2 and HTTP/1.1 on one port; nothing without a certificate."""
    if not guards.tls:
        return {}
    certificate = {"name": CERTIFICATE, "sds_config": from_file(guards.folder, CERTIFICATE)}
    common = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [certificate],
    }
    return {
        "transport_socket": {"name": "tls", "typed_config": {"@type": _TLS, "common_tls_context": common}},
        "transport_socket_connect_timeout": _HANDSHAKE_S,
    }


def local_replies(guards: Guards) -> dict[str, Any]:
    """Return the form of what the router answers by itself: the API's JSON, over gRPC the text alone."""
    over_grpc = _header_filter("content-type", {"string_match": {"prefix": "application/grpc"}})
    plain = {"body_format_override": {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}}
    mappers: list[dict[str, Any]] = []
    for conditions, reply in _refusals(guards):
        mappers.append({"filter": _all_of(*conditions, over_grpc), **reply, **plain})
        mappers.append({"filter": _all_of(*conditions), **reply})
    return {
        "mappers": [*mappers, {"filter": over_grpc, **plain}],
        "body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}},
    }


def _refusals(guards: Guards) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Conditions and the reply under them. The filters of tokens answer 403, whichever of them refuses."""
    found: list[tuple[list[dict[str, Any]], dict[str, Any]]] = []
    if guards.rates:
        found.append(([_status(429)], _text("Too many requests: this client, or its address, is above its rate")))
    if guards.tokens and guards.tokens.channel:
        present = [_header_filter(name, {"present_match": True}) for name in ("authorization", CHANNEL_HEADER)]
        text = "The request may not choose the channel: its token is unknown, or not one of those that may"
        found.append(([_status(403), *present], _text(text)))
    if guards.tokens:
        challenge = {"header": {"key": "www-authenticate", "value": "Bearer"}}
        reply = {**_text("The request needs a valid bearer token"), "status_code": 401, "headers_to_add": [challenge]}
        found.append(([_status(403)], reply))
    return found


def _text(text: str) -> dict[str, Any]:
    return {"body": {"inline_string": text}}


def _status(code: int) -> dict[str, Any]:
    value = {"default_value": code, "runtime_key": f"orchard.refusal.{code}"}  # the key is required, and never set
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _header_filter(name: str, match: dict[str, Any]) -> dict[str, Any]:
    return {"header_filter": {"header": {"name": name, **match}}}


def _all_of(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"and_filter": {"filters": list(filters)}} if len(filters) > 1 else filters[0]
