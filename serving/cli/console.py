"""`orchard console`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.settings import Settings
    from serving.console.console_process import ConsoleOptions

__all__ = ["console"]

_MIB = 1 << 20


@verb(
    group="Serve",
    examples=(
        "orchard console                            # the page: http://127.0.0.1:8503/\n"
        "orchard console --sync http://127.0.0.1:8502\n"
        "orchard console --host 0.0.0.0 --token-file tokens --name fruits.example.com\n"
        "orchard route --console 127.0.0.1:8503     # the page and the API on one address\n"
        "curl http://127.0.0.1:8503/console/api/state"
    ),
    extra="console",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8503, show_default=True, help="Port; 0: any free one.")
@click.option(
    "--server", metavar="URL",
    help="The model server's REST API, for the page without a router.  [default: ORCHARD_SERVER_URL]",
)  # fmt: skip
@click.option(
    "--server-token-file", type=click.Path(path_type=Path, dir_okay=False),
    help="A file whose first line is the bearer token for the model server.",
)  # fmt: skip
@click.option("--sync", metavar="URL", help="Sync's status page; unset: refused versions are not shown.")
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False),
    help="File of accepted bearer tokens, one a line: people log in with one.",
)  # fmt: skip
@click.option("--trusted-user-header", metavar="NAME", help="The header in which a proxy names the user it logged in.")
@click.option(
    "--trusted-proxy", "trusted_proxies", multiple=True, metavar="CIDR",
    help="Addresses of proxies, whose X-Forwarded-For counts and who may name users; several times.",
)  # fmt: skip
@click.option(
    "--name", "names", multiple=True, metavar="HOST", help="A name to answer to; several times.  [default: any]"
)
@click.option("--max-body", type=click.IntRange(1), default=32, show_default=True, help="Largest body, in MiB.")
@click.option("--timeout", type=click.FloatRange(0.1), default=35.0, show_default=True, help="Seconds for an answer.")
@click.option(
    "--corrections-per-hour", type=click.IntRange(1), default=30, show_default=True,
    help="Corrections that one client may send in an hour.",
)  # fmt: skip
@click.option(
    "--corrections-space", type=click.IntRange(0), default=1024, show_default=True,
    help="MiB of corrected photos that may wait for review; 0: no corrections are taken.",
)  # fmt: skip
@click.option("--access-log/--no-access-log", default=True, show_default=True, help="Log each request.")
def console(reporter: Reporter, **options: Any) -> None:
    """Serve a page to try the model with photos of one's own, and the state of the loop.

    The page (/) takes photos by drop, paste, choice or a phone's camera, and shows the most probable classes, the version and
    the channel that answered, and what the network looked at. The state of the loop (/console/loop) shows channels with
    weights and history, versions with figures and model cards, comparisons, runs, and what sync refuses.

    Who sees a wrong answer can say what it is: photo and name wait in the store for `orchard corrections`. The console
    writes nothing else. It needs the settings of the store and ORCHARD_TRUSTED_KEYS_FILE. Without a router it passes the
    page's photos on to the model server; `orchard route --console` puts both on one address.
    """
    from orchard import settings
    from serving.console.console_process import run_console
    from serving.log import EventLog

    config = settings.load()
    run_console(_options(config, options), config, EventLog(as_json=config.log_format == "json"))


def _options(settings: Settings, options: dict[str, Any]) -> ConsoleOptions:
    from serving.console.access_control import TrustedProxy, networks_of
    from serving.console.console_process import ConsoleOptions
    from serving.console.correction_desk import CorrectionLimits
    from serving.console.prediction_proxy import ProxyOptions

    header, proxies = options["trusted_user_header"], options["trusted_proxies"]
    if header and not proxies:
        raise click.UsageError(
            "--trusted-user-header needs --trusted-proxy: from anybody else the header is not trusted"
        )
    return ConsoleOptions(
        proxy=ProxyOptions(
            _address(options["server"] or settings.server_url, "--server"),
            settings.channel,
            options["server_token_file"],
            options["max_body"] * _MIB,
            options["timeout"],
        ),
        host=options["host"],
        port=options["port"],
        hosts=options["names"],
        sync_url=_address(options["sync"], "--sync") if options["sync"] else None,
        token_file=options["token_file"],
        trusted_proxy=TrustedProxy.of(header, proxies) if header else None,
        proxies=networks_of(proxies),
        corrections=CorrectionLimits(options["corrections_per_hour"], options["corrections_space"] * _MIB),
        access_log=options["access_log"],
    )


def _address(url: str, option: str) -> str:
    from urllib.parse import urlsplit

    from orchard.errors import SettingsError

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise SettingsError(f"{option} {url!r} is not an address: expected http(s)://HOST[:PORT]")
    return url.rstrip("/")
