"""`orchard serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from serving.server.limit_options import limit_options

if TYPE_CHECKING:
    from orchard.settings import Settings
    from serving.server.capture.photo_capture import CaptureOptions
    from serving.server.server_process import ServerOptions

__all__ = ["serve"]


def _options(settings: Settings, options: dict[str, Any]) -> ServerOptions:
    from orchard.errors import SettingsError
    from serving.server.limit_options import read_limits
    from serving.server.predictions import PredictionOptions
    from serving.server.server_process import ServerOptions

    certificate, key = options["tls_cert"], options["tls_key"]
    if (certificate is None) != (key is None):
        raise SettingsError("--tls-cert and --tls-key must be used together")
    return ServerOptions(
        config=options["models_config"] or settings.serving_dir / "models.config",
        host=options["host"],
        port=_port_of(settings.server_url) if options["port"] is None else options["port"],
        limits=read_limits(options),
        requests=PredictionOptions(
            timeout_s=options["timeout"], max_in_flight=options["max_in_flight"], max_values=options["max_values"]
        ),
        max_queue=options["max_queue"],
        token_file=options["token_file"],
        tls=(certificate, key) if certificate else None,
        grpc_port=options["grpc_port"],
        drain_delay_s=options["drain_delay"],
        drain_s=options["drain_timeout"],
        cors_origins=options["cors_origin"],
        as_json=settings.log_format == "json",
        access_log=options["access_log"],
        batching=options["batching"],
        capture=_capture(settings, options["capture"]),
    )


def _capture(settings: Settings, percent: float | None) -> CaptureOptions | None:
    from importlib.util import find_spec

    from orchard.errors import MissingExtra, install_hint
    from serving.server.capture.photo_capture import CaptureOptions

    percent = settings.capture if percent is None else percent
    if not percent:
        return None
    settings.require("store_url")
    if find_spec("arro3") is None:  # it is imported in the workers
        raise MissingExtra(
            "--capture needs arro3-core and arro3-io, which are not installed", hint=install_hint("serving")
        )
    return CaptureOptions(percent / 100, settings)


def _port_of(url: str) -> int:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


@verb(
    group="Serve",
    examples=(
        "orchard serve\n"
        "orchard serve --port 9000 --models-config .orchard/serving/models.config\n"
        "curl http://127.0.0.1:8501/v1/models/fruits"
    ),
    extra="serving",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; default: that of ORCHARD_SERVER_URL.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="Port of the gRPC API, usually 8500; unset: no gRPC.")
@click.option(
    "--models-config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="models.config to follow; default: ORCHARD_SERVING_DIR/models.config.",
)
@limit_options
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File of accepted bearer tokens, one a line."
)
@click.option(
    "--tls-cert", type=click.Path(path_type=Path, dir_okay=False), help="Certificate chain (PEM): serve HTTPS."
)
@click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False), help="Its private key (PEM).")
@click.option(
    "--drain-delay", type=click.FloatRange(0), default=0.0, show_default=True,
    help="Seconds after SIGTERM in which new requests are still accepted.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that share the port."
)
@click.option(
    "--worker-port", type=click.IntRange(1, 65535 - 64), metavar="PORT",
    help="First of --workers further ports, one for each worker: scrape metrics there.",
)  # fmt: skip
@click.option(
    "--batching", type=click.Choice(["off", "proved", "on"]), default="proved", show_default=True,
    help="Which requests run together: none, those proved not to affect each other, or all of the same shape.",
)  # fmt: skip
@click.option(
    "--cors-origin", multiple=True, metavar="ORIGIN",
    help="Origin whose pages may call from a browser; *: every one. May be given several times.",
)  # fmt: skip
@click.option(
    "--capture", type=click.FloatRange(0, 100), metavar="PERCENT",
    help="Share of the photos to store with their predictions; default: ORCHARD_CAPTURE, which is 0.",
)  # fmt: skip
@click.option("--access-log/--no-access-log", default=True, show_default=True, help="Log each request.")
def serve(reporter: Reporter, **options: Any) -> None:
    """Serve predictions with TF Serving's REST API and, with --grpc-port, its gRPC API.

    Follows models.config, which `orchard sync` or another program writes, and the version folders. A new version, or one
    whose files were changed, is loaded beside the old one and gets requests when it is warm. /readyz says whether every
    configured model is served, /healthz whether the process is alive; /monitoring/prometheus/metrics has the metrics.
    After SIGTERM the server answers requests in flight and ends.

    With --workers every process loads all models; a process that dies is replaced.

    With --capture a share of the photos goes to the store of ORCHARD_STORE_*, after the reply and without its metadata;
    `orchard captures` reads it. A request with the header x-orchard-no-capture is never stored: see docs/privacy.md.
    """
    from orchard import settings
    from serving.server.server_process import run_server
    from serving.server.supervisor import run_workers

    server_options = _options(settings.load(), options)
    if options["workers"] == 1:
        run_server(server_options)
    else:
        run_workers(server_options, options["workers"], options["worker_port"])
