"""The options of the router, from which Envoy's bootstrap file is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from orchard.channel_names import DEFAULT_CHANNELS
from orchard.errors import SettingsError
from serving.router.envoy_guards import Guards

__all__ = ["Endpoint", "RouterOptions"]


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
        console: `orchard console`, for `/` and `/console/`; None: there is none.
        channels: the channels that a caller may choose, each with limits of its own; `stable` is one of them.
        shadow: the REST API of the model server that gets the shadow's copies; None: `rest`.
        shadow_grpc: its gRPC API; None: `grpc`, unless `shadow` is another server: then gRPC is not mirrored.
        max_shadow_requests: the most copies in flight, for each protocol; more are dropped.
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
        connection_age_s: how long such a connection takes new requests; None: without a limit.
        access_log: log each request, as JSON on stdout.
        guards: rates, tokens and TLS.
    """

    rest: Endpoint
    weights: Path
    admin_socket: Path
    grpc: Endpoint | None = None
    console: Endpoint | None = None
    channels: tuple[str, ...] = DEFAULT_CHANNELS
    shadow: Endpoint | None = None
    shadow_grpc: Endpoint | None = None
    max_shadow_requests: int = 16
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
    connection_age_s: float | None = None
    access_log: bool = True
    guards: Guards = field(default_factory=Guards)

    def mirror(self, protocol: str) -> Endpoint | None:
        """Return where the shadow's copies of a protocol's requests go; None: it is not mirrored.

        Args:
            protocol: one of `serving.traffic_weights.PROTOCOLS`.
        """
        if protocol == "rest":
            return self.shadow or self.rest
        return self.grpc and (self.shadow_grpc or (None if self.shadow else self.grpc))
