"""Envoy's bootstrap file, made from typed options: what the router listens on, refuses, routes and logs.

There is no control plane: the file never changes while Envoy runs. Only the weight of the canary does, in Envoy's runtime
(`serving.traffic_weights`). `orchard route --print-config` prints the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchard.errors import SettingsError
from orchard.layout import CHANNEL_HEADER
from serving.router.envoy_guards import Guards, guard_filters, local_replies, no_guards, transport_socket
from serving.router.envoy_limits import CLIENT_COOKIE, CLIENT_HEADER, REGEX_LAYER
from serving.traffic_weights import KEY_PREFIX, LINK, PROTOCOLS, SUBFOLDER, TOTAL

__all__ = ["STAT_PREFIX", "Endpoint", "RouterOptions", "envoy_config"]

STAT_PREFIX = "front"
_COOKIE_S = 30 * 86_400
_CHANNELS = ("canary", "stable")
"""In the order of Envoy's intervals: the canary's is the first, so a greater weight only adds clients to it."""

_TYPES = "type.googleapis.com/envoy.extensions"
_FRONT = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_BUFFER = f"{_TYPES}.filters.http.buffer.v3.Buffer"
_UPSTREAM = f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions"
_SECURITY_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)
_LOG_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "event": "routed",
    "remote": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):256%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "ms": "%DURATION%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "to": "%UPSTREAM_CLUSTER%",
    "channel": f"%RESP({CHANNEL_HEADER}):64%",
    "request_id": "%REQ(X-REQUEST-ID):64%",
    "traceparent": "%REQ(TRACEPARENT):64%",
    "flags": "%RESPONSE_FLAGS%",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a program listens.

    Attributes:
        host: a name or an address.
        port: the port, 1 to 65535.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        if not self.host or not 1 <= self.port <= 65535:
            raise SettingsError(f"{self.host}:{self.port} is not an endpoint: expected HOST:PORT")


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What the router does.

    Attributes:
        rest: the model server's REST API.
        weights: the folder of `serving.traffic_weights`.
        admin_socket: the path of the unix socket of Envoy's administration, which only this user may open.
        grpc: the model server's gRPC API; None: gRPC is not routed.
        host: the address to listen on.
        port: the port, for both protocols; 0: any free one.
        hosts: the names that clients may call it by (`*`: any; `*.example.com`: any below).
        channel_header: whether a caller may choose the channel itself by `x-orchard-channel`.
        max_body_bytes: the largest body of a request; a larger one gets 413.
        max_connections: the most open connections of clients.
        max_requests: the most requests in flight to the model server, for each channel and protocol; more get 503.
        max_heap_bytes: from this memory on, new requests get 503.
        timeout_s: for an answer, once the request has arrived.
        header_timeout_s: for the headers of a request.
        body_timeout_s: for a whole request.
        idle_timeout_s: how long a connection stays open after its last answer.
        connect_timeout_s: for a connection to the model server.
        access_log: log each request, as JSON on stdout.
        guards: rates, tokens and TLS.
    """

    rest: Endpoint
    weights: Path
    admin_socket: Path
    grpc: Endpoint | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    hosts: tuple[str, ...] = ("*",)
    channel_header: bool = True
    max_body_bytes: int = 32 << 20
    max_connections: int = 1024
    max_requests: int = 1024
    max_heap_bytes: int = 1 << 30
    timeout_s: float = 35.0
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 60.0
    connect_timeout_s: float = 2.0
    access_log: bool = True
    guards: Guards = field(default_factory=Guards)


def envoy_config(options: RouterOptions) -> dict[str, Any]:
    """Return the bootstrap file as a document for YAML or JSON; `envoy --mode validate` accepts it.

    Args:
        options: what the router does.
    """
    return {
        "node": {"id": "orchard-router", "cluster": "orchard"},
        "admin": {"address": {"pipe": {"path": str(options.admin_socket), "mode": 0o600}}},
        "layered_runtime": {
            "layers": [
                REGEX_LAYER,
                {
                    "name": "weights",
                    "disk_layer": {"symlink_root": str(options.weights / LINK), "subdirectory": SUBFOLDER},
                },
            ]
        },
        "overload_manager": _overload(options),
        "static_resources": {
            "listeners": [_listener(options)],
            "clusters": [
                _cluster(f"{protocol}_{channel}", endpoint, options)
                for protocol, endpoint in zip(PROTOCOLS, (options.rest, options.grpc), strict=True)
                if endpoint is not None
                for channel in _CHANNELS
            ],
        },
    }


def _seconds(value: float) -> str:
    return f"{value:.3f}s"


def _overload(options: RouterOptions) -> dict[str, Any]:
    """Refuse requests before the memory ends, and connections above the limit."""
    heap = f"{_TYPES}.resource_monitors.fixed_heap.v3.FixedHeapConfig"
    connections = f"{_TYPES}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.fixed_heap",
                "typed_config": {"@type": heap, "max_heap_size_bytes": options.max_heap_bytes},
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {"@type": connections, "max_active_downstream_connections": options.max_connections},
            },
        ],
        "actions": [
            {
                "name": f"envoy.overload_actions.{action}",
                "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": value}}],
            }
            for action, value in (("shrink_heap", 0.8), ("stop_accepting_requests", 0.95))
        ],
    }


def _listener(options: RouterOptions) -> dict[str, Any]:
    return {
        "name": STAT_PREFIX,
        "address": {"socket_address": {"address": options.host, "port_value": options.port}},
        "enable_reuse_port": False,  # a second router on the same port is an error
        "per_connection_buffer_limit_bytes": 1 << 20,
        "filter_chains": [
            {"filters": [{"name": "http", "typed_config": _front(options)}], **transport_socket(options.guards)}
        ],
    }


def _front(options: RouterOptions) -> dict[str, Any]:
    """The HTTP front: what it refuses by itself, and in which form."""
    return {
        "@type": _FRONT,
        "stat_prefix": STAT_PREFIX,
        "codec_type": "AUTO",
        "server_name": "orchard",
        "use_remote_address": True,
        "xff_num_trusted_hops": options.guards.proxies,
        "normalize_path": True,  # or /v1/../ would pass for a path of the API
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "common_http_protocol_options": {
            "idle_timeout": _seconds(options.idle_timeout_s),
            "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 128,
            "initial_stream_window_size": 1 << 18,
            "initial_connection_window_size": 1 << 20,
        },
        "max_request_headers_kb": 64,
        "request_headers_timeout": _seconds(options.header_timeout_s),
        "request_timeout": _seconds(options.body_timeout_s),
        "stream_idle_timeout": _seconds(max(options.timeout_s, options.body_timeout_s)),
        "local_reply_config": local_replies(options.guards),
        "access_log": [_access_log()] if options.access_log else [],
        "http_filters": [*guard_filters(options.guards), *_filters(options)],
        "route_config": _routes(options),
    }


def _filters(options: RouterOptions) -> list[dict[str, Any]]:
    buffer = {"@type": _BUFFER, "max_request_bytes": options.max_body_bytes}
    router = {"@type": f"{_TYPES}.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    return [
        {"name": "envoy.filters.http.buffer", "typed_config": buffer},
        {"name": "envoy.filters.http.router", "typed_config": router},
    ]


def _access_log() -> dict[str, Any]:
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": _LOG_FIELDS},
        },
    }


def _routes(options: RouterOptions) -> dict[str, Any]:
    probes = ({"path": "/healthz"}, {"path": "/readyz"}, {"prefix": "/readyz/"})
    probe = {"route": _to("rest_stable", options), **no_guards(options.guards)}
    routes: list[dict[str, Any]] = [{"match": match, **probe} for match in probes]
    routes += _channel_routes("rest", {"prefix": "/v1/"}, options)
    if options.grpc:
        routes += _channel_routes("grpc", {"prefix": "/tensorflow.serving.", "grpc": {}}, options)
        rpc = {"route": _to("grpc_stable", options)}
        routes.append({"match": {"prefix": "/grpc.health.", "grpc": {}}, **rpc, **no_guards(options.guards)})
        routes.append({"match": {"prefix": "/grpc.", "grpc": {}}, **rpc})
    text = "Not found: the router has /v1/, /healthz, /readyz and, where it is configured, gRPC"
    routes.append({"match": {"prefix": "/"}, "direct_response": {"status": 404, "body": {"inline_string": text}}})
    return {
        "name": "models",
        "virtual_hosts": [{"name": "models", "domains": list(options.hosts), "routes": routes}],
        "response_headers_to_add": [_header(*pair, "ADD_IF_ABSENT") for pair in _SECURITY_HEADERS],
    }


def _header(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _to(cluster: str, options: RouterOptions) -> dict[str, Any]:
    """A route's action. There is no retry policy: a POST that may have been answered is not sent twice."""
    return {"cluster": cluster, "timeout": _seconds(options.timeout_s)}


def _channel_routes(protocol: str, match: dict[str, Any], options: RouterOptions) -> list[dict[str, Any]]:
    """The routes of a protocol: a channel that the caller chose, if it may; else one by the client's hash."""
    chosen: list[dict[str, Any]] = []
    if options.channel_header:
        exact: dict[str, Any] = {"string_match": {"exact": "canary"}}
        for value, channel in ((exact, "canary"), ({"present_match": True}, "stable")):
            chosen.append(
                {
                    "match": {**match, "headers": [{"name": CHANNEL_HEADER, **value}]},
                    "route": _to(f"{protocol}_{channel}", options),
                    "response_headers_to_add": [_header(CHANNEL_HEADER, f"%REQ({CHANNEL_HEADER}):64%")],
                }
            )
    if protocol == "rest":  # gRPC clients keep no cookies
        chosen.append(_unknown_client(match, options))
    known: tuple[dict[str, Any], ...] = (
        {"header": {"header_name": CLIENT_HEADER}},
        {"cookie": {"name": CLIENT_COOKIE}},
    )
    policies: list[dict[str, Any]] = [
        *({**policy, "terminal": True} for policy in known),
        {"connection_properties": {"source_ip": True}},
    ]
    return [*chosen, {"match": match, "route": _weighted(protocol, policies, options)}]


def _unknown_client(match: dict[str, Any], options: RouterOptions) -> dict[str, Any]:
    """The route of a client that has neither a name nor a cookie: it gets one.

    Envoy's own cookie of a hash policy is made after the channel was chosen. This one is the request's id, by whose hash
    the channel is chosen: the next request, which brings it as a cookie, has the same hash and goes to the same channel.
    """
    cookie = f"{CLIENT_COOKIE}=%REQ(x-request-id)%; Max-Age={_COOKIE_S}; Path=/; HttpOnly; SameSite=Lax"
    nameless = [
        {"name": CLIENT_HEADER, "present_match": True, "invert_match": True},
        {
            "name": "cookie",
            "string_match": {"safe_regex": {"regex": f"(.*;)? *{CLIENT_COOKIE}=[^;].*"}},
            "invert_match": True,
            "treat_missing_header_as_empty": True,
        },
    ]
    return {
        "match": {**match, "headers": nameless},
        "route": _weighted("rest", [{"header": {"header_name": "x-request-id"}}], options),
        "response_headers_to_add": [_header("set-cookie", cookie, "APPEND_IF_EXISTS_OR_ADD")],
    }


def _weighted(protocol: str, policies: list[dict[str, Any]], options: RouterOptions) -> dict[str, Any]:
    """An action that chooses the channel by the weights and a client's hash."""
    weights = {"canary": 0, "stable": TOTAL}  # until sync has written others
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
                for channel in _CHANNELS
            ],
        },
        "hash_policy": policies,
        "timeout": _seconds(options.timeout_s),
    }


def _cluster(name: str, endpoint: Endpoint, options: RouterOptions) -> dict[str, Any]:
    address = {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}}
    http2 = name.startswith("grpc_")
    return {
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": _seconds(options.connect_timeout_s),
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": options.max_requests,
                    "max_pending_requests": options.max_requests,
                    "max_requests": options.max_requests,
                    "max_retries": 0,
                }
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _UPSTREAM,
                # shorter than the model server's, which must never close a connection that a request is sent on
                "common_http_protocol_options": {"idle_timeout": "20s"},
                "explicit_http_config": {"http2_protocol_options" if http2 else "http_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
