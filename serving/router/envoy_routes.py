"""The routes of Envoy's bootstrap file: which request goes to which channel, and what is not answered at all."""

from __future__ import annotations

from typing import Any

from orchard.channel_names import CANARY, SHADOW, STABLE
from orchard.request_headers import CHANNEL_HEADER
from serving.router.envoy_guards import no_guards
from serving.router.envoy_limits import CLIENT_COOKIE, CLIENT_HEADER, COOKIE_PATTERN
from serving.router.router_options import RouterOptions
from serving.traffic_weights import KEY_PREFIX, MIRROR_KEY, TOTAL

__all__ = ["DIVIDED", "routes", "seconds"]

DIVIDED = (CANARY, STABLE)
"""The channels that share the traffic, in the order of Envoy's intervals: a greater weight only adds clients to the canary."""

_COOKIE_S = 30 * 86_400
_KNOWN_CLIENT: list[dict[str, Any]] = [
    {"header": {"header_name": CLIENT_HEADER}, "terminal": True},
    {"cookie": {"name": CLIENT_COOKIE}, "terminal": True},
    {"connection_properties": {"source_ip": True}},
]
_PREDICTIONS: dict[str, dict[str, Any]] = {
    "rest": {
        "safe_regex": {"regex": "/v1/models/[^/]+:(predict|classify|regress)|/v2/models/[^/]+/infer"},
        "headers": [{"name": ":method", "string_match": {"exact": "POST"}}],
    },
    "grpc": {
        "safe_regex": {"regex": r"/tensorflow\.serving\.PredictionService/(Predict|Classify|Regress|MultiInference)"},
        "grpc": {},
    },
}
"""What is mirrored: predictions. A path that names a version or a label is left out, because the shadow is another one."""
_REST: dict[str, Any] = {"safe_regex": {"regex": r"/v1/.*|/v2(/.*)?|/openapi\.json"}}
_SECURITY_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)


def seconds(value: float) -> str:
    """Return a duration as Envoy reads it."""
    return f"{value:.3f}s"


def routes(options: RouterOptions) -> dict[str, Any]:
    """Return the routes of the router, and the headers that every answer gets.

    Args:
        options: what the router does.
    """
    probes = ({"path": "/healthz"}, {"path": "/readyz"}, {"prefix": "/readyz/"})
    probe = {"route": _to("rest_stable", options), **no_guards(options.guards)}
    found: list[dict[str, Any]] = [{"match": match, **probe} for match in probes]
    found += _channel_routes("rest", _REST, options)
    if options.grpc:
        found += _channel_routes("grpc", {"prefix": "/tensorflow.serving.", "grpc": {}}, options)
        rpc = {"route": _to("grpc_stable", options)}
        found.append({"match": {"prefix": "/grpc.health.", "grpc": {}}, **rpc, **no_guards(options.guards)})
        found.append({"match": {"prefix": "/grpc.", "grpc": {}}, **rpc})
    if options.console:
        # it has a log-in of its own
        page = {"route": _to("console", options), **no_guards(options.guards, rates=False)}
        found += [{"match": match, **page} for match in ({"path": "/"}, {"prefix": "/console/"})]
    text = "Not found: the router has /v1/, /v2/, /openapi.json, /healthz, /readyz and, where they are configured, gRPC and the console"
    found.append({"match": {"prefix": "/"}, "direct_response": {"status": 404, "body": {"inline_string": text}}})
    return {
        "name": "models",
        "virtual_hosts": [{"name": "models", "domains": list(options.hosts), "routes": found}],
        "response_headers_to_add": [_header(*pair, "ADD_IF_ABSENT") for pair in _SECURITY_HEADERS],
    }


def _header(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _to(cluster: str, options: RouterOptions) -> dict[str, Any]:
    """A route's action. There is no retry policy: a POST that may have been answered is not sent twice."""
    return {"cluster": cluster, "timeout": seconds(options.timeout_s)}


def _channel_routes(protocol: str, match: dict[str, Any], options: RouterOptions) -> list[dict[str, Any]]:
    """The routes of a protocol: a channel that the caller chose, if it may; else one by the client's hash."""
    found = _chosen(protocol, match, options) if options.channel_header else []
    mirror = _mirror(protocol, options)
    parts: list[tuple[dict[str, Any], dict[str, Any]]] = [(match, {})]
    if mirror:
        parts.insert(0, (_PREDICTIONS[protocol], {"request_mirror_policies": mirror}))
    for part, shared in parts:
        if protocol == "rest":  # gRPC clients keep no cookies
            found.append(_unknown_client(part, shared, options))
        found.append({"match": part, "route": {**_weighted(protocol, _KNOWN_CLIENT, options), **shared}})
    return found


def _chosen(protocol: str, match: dict[str, Any], options: RouterOptions) -> list[dict[str, Any]]:
    """The routes by the channel's header. The model server answers for a channel that the router does not know."""
    known = [channel for channel in options.channels if channel != STABLE]
    values: list[tuple[dict[str, Any], str]] = [({"string_match": {"exact": channel}}, channel) for channel in known]
    return [
        {
            "match": {**match, "headers": [{"name": CHANNEL_HEADER, **value}]},
            "route": _to(f"{protocol}_{channel}", options),
            "response_headers_to_add": [_header(CHANNEL_HEADER, f"%REQ({CHANNEL_HEADER}):64%")],
        }
        for value, channel in (*values, ({"present_match": True}, STABLE))
    ]


def _mirror(protocol: str, options: RouterOptions) -> list[dict[str, Any]]:
    """The policies by which Envoy sends copies to the shadow; nothing waits for them."""
    if SHADOW not in options.channels or options.mirror(protocol) is None:
        return []
    return [
        {
            "cluster": f"mirror_{protocol}",
            "runtime_fraction": {
                "default_value": {"numerator": 0, "denominator": "TEN_THOUSAND"},  # until sync has written another
                "runtime_key": MIRROR_KEY,
            },
            "disable_shadow_host_suffix_append": True,
            "trace_sampled": False,
            "request_headers_mutations": [{"append": _header(CHANNEL_HEADER, SHADOW)}],
        }
    ]


def _unknown_client(match: dict[str, Any], shared: dict[str, Any], options: RouterOptions) -> dict[str, Any]:
    """The route of a client that has neither a name nor a cookie: it gets one.

    Envoy's own cookie of a hash policy is made after the channel was chosen. This one is the request's id, by whose hash
    the channel is chosen: the next request, which brings it as a cookie, has the same hash and goes to the same channel.
    """
    cookie = f"{CLIENT_COOKIE}=%REQ(x-request-id)%; Max-Age={_COOKIE_S}; Path=/; HttpOnly; SameSite=Lax"
    nameless = [
        {"name": CLIENT_HEADER, "present_match": True, "invert_match": True},
        {
            "name": "cookie",
            "string_match": {"safe_regex": {"regex": COOKIE_PATTERN}},
            "invert_match": True,
            "treat_missing_header_as_empty": True,
        },
    ]
    return {
        "match": {**match, "headers": [*match.get("headers", ()), *nameless]},
        "route": {**_weighted("rest", [{"header": {"header_name": "x-request-id"}}], options), **shared},
        "response_headers_to_add": [_header("set-cookie", cookie, "APPEND_IF_EXISTS_OR_ADD")],
    }


def _weighted(protocol: str, policies: list[dict[str, Any]], options: RouterOptions) -> dict[str, Any]:
    """An action that chooses the channel by the weights and a client's hash."""
    weights = {CANARY: 0, STABLE: TOTAL}  # until sync has written others
    return {
        "weighted_clusters": {
            "runtime_key_prefix": KEY_PREFIX,
            "use_hash_policy": True,
            "clusters": [
                {
                    "name": f"{protocol}_{channel}",
                    "weight": weights[channel],
                    "request_headers_to_add": [_header(CHANNEL_HEADER, channel)],
                    "response_headers_to_add": [_header(CHANNEL_HEADER, channel)],
                }
                for channel in DIVIDED
            ],
        },
        "hash_policy": policies,
        "timeout": seconds(options.timeout_s),
    }
