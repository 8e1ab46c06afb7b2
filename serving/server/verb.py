"""`orchard serve`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.output import Output
from orchard.cli.verb import verb

__all__ = ["serve"]


def _port_of(url: str) -> int:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


@verb(
    examples=(
        "orchard serve\n"
        "orchard serve --port 9000 --models-config .orchard/serving/models.config\n"
        "curl http://127.0.0.1:8501/v1/models/fruits"
    ),
    extra="serving",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; default: ORCHARD_SERVER_URL's.")
@click.option(
    "--models-config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TF Serving's models.config to follow; default: ORCHARD_SERVING_DIR/models.config.",
)
@click.option("--max-body", type=click.IntRange(1), default=16, show_default=True, help="Largest body, in MiB.")
@click.option("--max-queue", type=click.IntRange(1), default=512, show_default=True, help="Requests that may wait.")
@click.option(
    "--max-in-flight", type=click.IntRange(1), default=1024, show_default=True, help="Requests that may be under way."
)
@click.option("--timeout", type=click.FloatRange(0.01), default=30.0, show_default=True, help="Seconds for a request.")
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="Bearer tokens that may ask, one a line."
)
@click.option(
    "--tls-cert", type=click.Path(path_type=Path, dir_okay=False), help="Certificate chain (PEM): serve HTTPS."
)
@click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False), help="Its private key (PEM).")
@click.option(
    "--drain-delay", type=click.FloatRange(0), default=0.0, show_default=True,
    help="Seconds after SIGTERM in which new requests are still taken.",
)  # fmt: skip
@click.option("--access-log/--no-access-log", default=True, show_default=True, help="Log each request.")
def serve(
    out: Output,
    host: str,
    port: int | None,
    models_config: Path | None,
    max_body: int,
    max_queue: int,
    max_in_flight: int,
    timeout: float,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    drain_delay: float,
    access_log: bool,
) -> None:
    """Answer predictions with TF Serving's REST API.

    Follows models.config as `orchard sync` or anybody else writes it: new versions are loaded beside the old ones
    and switched when they are warm. /readyz tells when every configured model is served, /healthz that the process
    lives, /monitoring/prometheus/metrics how it fares. SIGTERM answers what is under way and ends.
    """
    from orchard import settings as orchard_settings
    from orchard.errors import SettingsError
    from serving.server.application import Options
    from serving.server.http.messages import Limits
    from serving.server.process import ServerOptions, run_server

    settings = orchard_settings.load()
    if (tls_cert is None) != (tls_key is None):
        raise SettingsError("--tls-cert and --tls-key belong together")
    run_server(
        ServerOptions(
            config=models_config or settings.serving_dir / "models.config",
            host=host,
            port=_port_of(settings.server_url) if port is None else port,
            limits=Limits(body_bytes=max_body << 20),
            requests=Options(timeout_s=timeout, max_in_flight=max_in_flight),
            max_queue=max_queue,
            token_file=token_file,
            tls=(tls_cert, tls_key) if tls_cert and tls_key else None,
            drain_delay_s=drain_delay,
            as_json=settings.log_format == "json",
            access_log=access_log,
        )
    )
