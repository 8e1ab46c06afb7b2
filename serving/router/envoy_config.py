"""Envoy's bootstrap file, made from typed options: what the router listens on, refuses, routes and logs.

There is no control plane: the file never changes while Envoy runs. Only the weights of canary and shadow do, in its runtime
(`serving.traffic_weights`). `orchard route --print-config` prints the file.
"""

from __future__ import annotations

from typing import Any

from orchard.request_headers import CHANNEL_HEADER
from serving.router.envoy_clusters import clusters
from serving.router.envoy_guards import guard_filters, local_replies, transport_socket
from serving.router.envoy_limits import REGEX_LAYER
from serving.router.envoy_routes import routes, seconds
from serving.router.router_options import RouterOptions
from serving.traffic_weights import LINK, SUBFOLDER

__all__ = ["STAT_PREFIX", "envoy_config"]

STAT_PREFIX = "front"

_TYPES = "type.googleapis.com/envoy.extensions"
_FRONT = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_BUFFER = f"{_TYPES}.filters.http.buffer.v3.Buffer"
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
            "clusters": clusters(options),
        },
    }


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
            "idle_timeout": seconds(options.idle_timeout_s),
            "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 128,
            "initial_stream_window_size": 1 << 18,
            "initial_connection_window_size": 1 << 20,
        },
        "max_request_headers_kb": 64,
        "request_headers_timeout": seconds(options.header_timeout_s),
        "request_timeout": seconds(options.body_timeout_s),
        "stream_idle_timeout": seconds(max(options.timeout_s, options.body_timeout_s)),
        "local_reply_config": local_replies(options.guards),
        "access_log": [_access_log()] if options.access_log else [],
        "http_filters": [*guard_filters(options.guards), *_filters(options)],
        "route_config": routes(options),
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
