"""The clusters of Envoy's bootstrap file: the model servers that routes lead to, with the limits of each."""

from __future__ import annotations

from typing import Any

from serving.router.envoy_routes import DIVIDED, seconds
from serving.router.router_options import Endpoint, RouterOptions
from serving.traffic_weights import PROTOCOLS

__all__ = ["clusters"]

_UPSTREAM = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(options: RouterOptions) -> list[dict[str, Any]]:
    """Return a cluster for each protocol and channel.

    Args:
        options: what the router does.
    """
    console = [_cluster("console", options.console, options)] if options.console else []
    return console + [
        _cluster(f"{protocol}_{channel}", endpoint, options)
        for protocol, endpoint in zip(PROTOCOLS, (options.rest, options.grpc), strict=True)
        if endpoint is not None
        for channel in DIVIDED
    ]


def _cluster(name: str, endpoint: Endpoint, options: RouterOptions) -> dict[str, Any]:
    address = {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}}
    http2 = name.startswith("grpc_")
    return {
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": seconds(options.connect_timeout_s),
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
                "common_http_protocol_options": {
                    "idle_timeout": "20s",
                    **({"max_connection_duration": seconds(age)} if (age := options.connection_age_s) else {}),
                },
                "explicit_http_config": {"http2_protocol_options" if http2 else "http_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
