"""`orchard route`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from serving.router.guard_options import guard_options, read_guards

if TYPE_CHECKING:
    from orchard.settings import Settings
    from serving.router.router_options import Endpoint, RouterOptions

__all__ = ["route"]

_MIB = 1 << 20


@verb(
    group="Serve",
    examples=(
        "orchard route\n"
        "orchard route --port 9000 --grpc-server 127.0.0.1:8500\n"
        "orchard route --console 127.0.0.1:8503     # with the page, http://127.0.0.1:8080/\n"
        "orchard route --token-file tokens --tls-cert cert.pem --tls-key key.pem --client-rate 50\n"
        "orchard route --print-config | less\n"
        "curl http://127.0.0.1:8080/v1/models/fruits"
    ),
    extra="router",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0: any free one.")
@click.option("--server", metavar="URL", help="The model server's REST API.  [default: ORCHARD_SERVER_URL]")
@click.option("--grpc-server", metavar="HOST:PORT", help="The model server's gRPC API; unset: gRPC is not routed.")
@click.option("--console", metavar="HOST:PORT", help="`orchard console`, for / and /console/; unset: they are 404.")
@click.option("--shadow-server", metavar="URL", help="The REST API that gets the shadow's copies.  [default: --server]")
@click.option(
    "--shadow-grpc-server", metavar="HOST:PORT",
    help="The gRPC API that gets the shadow's copies.  [default: --grpc-server, unless --shadow-server is given]",
)  # fmt: skip
@click.option(
    "--max-shadow-requests", type=click.IntRange(1), default=16, show_default=True,
    help="The shadow's copies in flight; more are dropped.",
)  # fmt: skip
@click.option(
    "--router-dir", type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the weights, which sync writes.  [default: ORCHARD_SERVING_DIR/.router]",
)  # fmt: skip
@click.option(
    "--weights-from", metavar="URL",
    help="The status page of sync (http://HOST:8502), where it is on another machine: every address behind the name is "
    "asked each second.  [default: sync writes --router-dir]",
)  # fmt: skip
@click.option(
    "--connection-age", type=click.FloatRange(0.1),
    help="Seconds after which a connection to the model server takes no new request; less than the time that a server "
    "still answers once it is no longer reachable by its name.  [default: no limit]",
)  # fmt: skip
@click.option(
    "--channel-header/--no-channel-header", default=True, show_default=True,
    help="Whether a caller may choose the channel by the header x-orchard-channel.",
)  # fmt: skip
@click.option(
    "--name", "names", multiple=True, metavar="HOST", help="A name to answer to; several times.  [default: any]"
)
@click.option("--max-body", type=click.IntRange(1), default=32, show_default=True, help="Largest body, in MiB.")
@click.option("--max-connections", type=click.IntRange(1), default=1024, show_default=True, help="Open connections.")
@click.option(
    "--max-requests", type=click.IntRange(1), default=1024, show_default=True, help="Requests in flight, per channel."
)
@click.option("--max-memory", type=click.IntRange(64), default=1024, show_default=True, help="Envoy's memory, in MiB.")
@click.option("--timeout", type=click.FloatRange(0.1), default=35.0, show_default=True, help="Seconds for an answer.")
@click.option(
    "--body-timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds to receive a request."
)
@guard_options
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Envoy's worker threads.")
@click.option(
    "--drain-delay", type=click.FloatRange(0), default=0.0, show_default=True,
    help="Seconds after SIGTERM in which new requests are still accepted.",
)  # fmt: skip
@click.option(
    "--drain-timeout", type=click.FloatRange(0), default=25.0, show_default=True,
    help="Seconds after --drain-delay for requests in flight to end.",
)  # fmt: skip
@click.option("--access-log/--no-access-log", default=True, show_default=True, help="Log each request, on stdout.")
@click.option("--print-config", is_flag=True, help="Print Envoy's bootstrap file and end.")
def route(reporter: Reporter, **options: Any) -> None:
    """Route requests to the channels stable and canary of a model server, and copies to its shadow, by their weights.

    `orchard canary WEIGHT` and `orchard shadow WEIGHT` set the weights, a running `orchard sync` brings them here: within
    seconds, without a restart and without a lost request. A client stays with its channel: by the header x-client, else
    by a cookie, over gRPC by its address. REST (/v1/…, /v2/…) and gRPC have the same port.

    A caller may choose each channel of ORCHARD_CHANNELS by the header x-orchard-channel. Nobody waits for the shadow.

    The router is Envoy, with one bootstrap file that --print-config prints. It limits bodies, connections, memory and
    time, logs each request as JSON, and never tries a request again. After SIGTERM it answers the requests in flight.

    --client-rate limits the requests of each client, and with a larger limit those of each address. --token-file and the
    files of TLS are those of `orchard serve`; they are read again when they change.
    """
    from orchard import settings
    from serving.log import EventLog
    from serving.router.router_process import DrainOptions, render_config, run_router
    from serving.router.weight_follower import WeightFollower

    config = settings.load()
    router_options = _options(config, options)
    if options["print_config"]:
        text = render_config(router_options)
        reporter.result({"config": text}, text.rstrip("\n"))
        return
    drain = DrainOptions(options["drain_delay"], options["drain_timeout"])
    log = EventLog(as_json=config.log_format == "json")
    follower = None
    if options["weights_from"]:
        pages = _endpoint_of_url(options["weights_from"])
        follower = WeightFollower(pages.host, pages.port, router_options.weights, log)
    run_router(router_options, drain, log, threads=options["threads"], follower=follower)


def _options(settings: Settings, options: dict[str, Any]) -> RouterOptions:
    from serving.router.router_options import RouterOptions
    from serving.traffic_weights import ROUTER_FOLDER

    weights: Path = options["router_dir"] or settings.serving_dir / ROUTER_FOLDER
    return RouterOptions(
        rest=_endpoint_of_url(options["server"] or settings.server_url),
        weights=weights.absolute(),
        admin_socket=Path("admin.sock"),  # replaced when it runs
        grpc=_endpoint(options["grpc_server"]) if options["grpc_server"] else None,
        console=_endpoint(options["console"]) if options["console"] else None,
        channels=settings.channels,
        shadow=_endpoint_of_url(options["shadow_server"]) if options["shadow_server"] else None,
        shadow_grpc=_endpoint(options["shadow_grpc_server"]) if options["shadow_grpc_server"] else None,
        max_shadow_requests=options["max_shadow_requests"],
        host=options["host"],
        port=options["port"],
        hosts=options["names"] or ("*",),
        channel_header=options["channel_header"],
        max_body_bytes=options["max_body"] * _MIB,
        max_connections=options["max_connections"],
        max_requests=options["max_requests"],
        max_heap_bytes=options["max_memory"] * _MIB,
        timeout_s=options["timeout"],
        body_timeout_s=options["body_timeout"],
        connection_age_s=options["connection_age"],
        access_log=options["access_log"],
        guards=read_guards(options),
    )


def _endpoint(text: str) -> Endpoint:
    from orchard.errors import SettingsError
    from serving.router.router_options import Endpoint

    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise SettingsError(f"{text!r} is not an endpoint: expected HOST:PORT")
    return Endpoint(host.strip("[]"), int(port))


def _endpoint_of_url(url: str) -> Endpoint:
    from urllib.parse import urlsplit

    from orchard.errors import SettingsError
    from serving.router.router_options import Endpoint

    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise SettingsError(
            f"{url!r} cannot be routed to: expected http://HOST:PORT",
            hint="the router and the model server are on one machine or in one cluster, without TLS between them",
        )
    return Endpoint(parts.hostname, parts.port or 80)
