"""The clusters of Envoy's bootstrap file: the model servers that routes lead to, with the limits of each."""

from __future__ import annotations

from typing import Any

from orchard.channel_names import SHADOW
from serving.router.envoy_routes import DIVIDED, seconds
from serving.router.router_options import Endpoint, RouterOptions
from serving.traffic_weights import PROTOCOLS

__all__ = ["clusters"]

_HTTP = {"rest": "http_protocol_options", "grpc": "http2_protocol_options"}
_UPSTREAM = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(options: RouterOptions) -> list[dict[str, Any]]:
    """Return a cluster for each protocol and channel, one for each protocol that is mirrored, and the console's.

    A channel's requests and the copies for the shadow have limits of their own, so none takes the place of another.

    Args:
        options: what the router does.
    """
    found = []
    for protocol, server in zip(PROTOCOLS, (options.rest, options.grpc), strict=True):
        if server is None:
            continue
        mirror = options.mirror(protocol) if SHADOW in options.channels else None
        for channel in dict.fromkeys((*DIVIDED, *options.channels)):
            endpoint = mirror or server if channel == SHADOW else server
            found.append(_cluster(f"{protocol}_{channel}", protocol, endpoint, options.max_requests, options))
        if mirror:
            found.append(_cluster(f"mirror_{protocol}", protocol, mirror, options.max_shadow_requests, options))
    if options.console:
        found.append(_cluster("console", "rest", options.console, options.max_requests, options))
    return found


def _cluster(name: str, protocol: str, endpoint: Endpoint, most: int, options: RouterOptions) -> dict[str, Any]:
    address = {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": seconds(options.connect_timeout_s),
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": 0}
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
                "explicit_http_config": {_HTTP[protocol]: {}},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
