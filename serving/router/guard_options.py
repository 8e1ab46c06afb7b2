"""The options of `orchard route` for its front door: rates, tokens and TLS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.errors import SettingsError

if TYPE_CHECKING:
    from serving.router.envoy_guards import Guards, TokenFiles
    from serving.router.envoy_limits import RateLimits

__all__ = ["guard_options", "read_guards"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_RATE = click.FloatRange(0.01, 1e6)
_BURST_S, _ADDRESS_CLIENTS = 2, 10
_OPTIONS: tuple[tuple[str, Any, str | None, str], ...] = (
    ("--client-rate", _RATE, "N", "Requests a second of a client: a name at an address.  [default: no limit]"),
    (
        "--client-burst",
        click.IntRange(1, 1_000_000),
        "N",
        "Requests of a client at once.  [default: 2 s of --client-rate]",
    ),
    (
        "--address-rate",
        _RATE,
        "N",
        "Requests a second of an address, of all its names.  [default: 10 times --client-rate]",
    ),
    ("--trusted-proxies", click.IntRange(0, 10), "N", "Proxies in front that write x-forwarded-for.  [default: 0]"),
    ("--token-file", _FILE, None, "File of accepted bearer tokens, one a line."),
    ("--channel-token-file", _FILE, None, "File of accepted tokens that alone may choose the channel by the header."),
    ("--engine-token-file", _FILE, None, "A file whose first line is the bearer token for the model server."),
    ("--tls-cert", _FILE, None, "Certificate chain (PEM): TLS for REST and gRPC."),
    ("--tls-key", _FILE, None, "Its private key (PEM)."),
)


def guard_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for name, kind, metavar, text in reversed(_OPTIONS):
        command = click.option(name, type=kind, metavar=metavar, help=text)(command)
    return command


def read_guards(options: Mapping[str, Any]) -> Guards:
    """Return the guards that the options set.

    Raises:
        SettingsError: the options contradict each other.
    """
    from serving.router.envoy_guards import Guards

    certificate, key = options["tls_cert"], options["tls_key"]
    if (certificate is None) != (key is None):
        raise SettingsError("--tls-cert and --tls-key must be used together")
    return Guards(
        rates=_read_rates(options),
        tokens=_read_token_files(options),
        tls=(certificate, key) if certificate else None,
        proxies=options["trusted_proxies"] or 0,
    )


def _read_rates(options: Mapping[str, Any]) -> RateLimits | None:
    from serving.router.envoy_limits import RateLimits

    rate, burst, address = (options[name] for name in ("client_rate", "client_burst", "address_rate"))
    if rate is None:
        if burst is not None or address is not None:
            raise SettingsError("--client-burst and --address-rate need --client-rate")
        return None
    return RateLimits(
        rate,
        max(round(_BURST_S * rate), 1) if burst is None else burst,
        _ADDRESS_CLIENTS * rate if address is None else address,
    )


def _read_token_files(options: Mapping[str, Any]) -> TokenFiles | None:
    from serving.router.envoy_guards import TokenFiles

    callers, channel, engine = (options[f"{name}token_file"] for name in ("", "channel_", "engine_"))
    if callers is None:
        if channel is not None:
            raise SettingsError("--channel-token-file needs --token-file", hint="the file of the other callers' tokens")
        if engine is not None:
            raise SettingsError(
                "--engine-token-file needs --token-file: without it everybody could use the model server's token"
            )
        return None
    if channel is not None and not options["channel_header"]:
        raise SettingsError("--channel-token-file cannot be combined with --no-channel-header")
    return TokenFiles(callers, channel, engine)
