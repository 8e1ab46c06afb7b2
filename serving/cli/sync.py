"""`orchard sync`."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from orchard.running_store import DIRECTORY

if TYPE_CHECKING:
    from orchard.processes import ChildProcess
    from orchard.settings import Settings
    from serving.sync.reconciler import SyncOptions
    from serving.sync.sync_process import SyncResult

__all__ = ["sync"]

_MIB = 1 << 20


@verb(
    group="Serve",
    examples=(
        "orchard sync\n"
        "orchard sync --serve                     # with a model server (and the store of this folder), until Ctrl-C\n"
        "orchard sync --once\n"
        "orchard sync --once --no-engine\n"
        "orchard sync --engine-token-file tokens  # of a server that was started with --token-file tokens\n"
        "curl http://127.0.0.1:8502/status"
    ),
    extra="serving",
)
@click.option("--once", is_flag=True, help="Return when the channel's version is live (exit 8: it was refused).")
@click.option("--no-engine", is_flag=True, help="Only download and check versions, without a model server.")
@click.option("--serve", "with_server", is_flag=True, help="Run `orchard serve` beside it; both end together.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the status page.")
@click.option("--port", type=click.IntRange(0, 65535), default=8502, show_default=True, help="Port of the status page.")
@click.option(
    "--poll",
    type=click.FloatRange(0.02, 60),
    show_default="0.15 for a store on this machine or in the cluster, else 5",
    help="Longest time between two polls of the store, in seconds; polls are more frequent after a change.",
)
@click.option("--keep", type=click.IntRange(0), default=2, show_default=True, help="Previous versions to keep on disk.")
@click.option("--max-version", type=click.IntRange(1), default=2048, show_default=True, help="Largest version, in MiB.")
@click.option("--max-total", type=click.IntRange(1), default=16384, show_default=True, help="All versions, in MiB.")
@click.option(
    "--engine-token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file whose first line is the bearer token for the model server; with --serve: the tokens that it accepts.",
)
@click.option(
    "--router-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the canary's weight, which `orchard route` reads.  [default: ORCHARD_SERVING_DIR/.router]",
)
@click.option("--timeout", type=click.FloatRange(0.1), default=120.0, show_default=True, help="Seconds for --once.")
def sync(
    reporter: Reporter,
    once: bool,
    no_engine: bool,
    with_server: bool,
    host: str,
    port: int,
    poll: float | None,
    keep: int,
    max_version: int,
    max_total: int,
    engine_token_file: Path | None,
    router_dir: Path | None,
    timeout: float,
) -> None:
    """Download the channels' versions, verify them, and let the model server serve them.

    Watches the channels of ORCHARD_CHANNELS in the store. A channel's label moves to a version when its manifest is signed by a
    trusted key, every byte matches the manifest, its graph has only allowed operations and the model server answers its
    golden photos correctly. A version that fails is refused with its reason (see /status), and the version before is
    still served, even without the store.

    The weight of the channel canary (`orchard canary`) goes to the router as soon as the model server serves its version.

    Where no store is set (ORCHARD_STORE_*) and none runs in this folder, the embedded one that ran here before, in
    .orchard/store, runs as long as this command.
    """
    from orchard import settings as orchard_settings
    from orchard.store import open_store
    from serving.log import EventLog
    from serving.sync.channel_watcher import TrustedKeysFile, default_poll_s
    from serving.sync.sync_process import SyncSource, run_sync, sync_once

    _check(with_server=with_server, once=once, no_engine=no_engine, token=engine_token_file is not None)
    with _store_of_folder(reporter):
        settings = orchard_settings.load()
        settings.require("store_url", "trusted_keys_file")
        assert settings.trusted_keys_file  # noqa: S101  required above
        poll_s = poll or default_poll_s(settings.store_endpoint)
        source = SyncSource(open_store(settings), TrustedKeysFile(settings.trusted_keys_file), poll_s)
        sizes = (max_version * _MIB, max_total * _MIB)
        options = _options(settings, None if no_engine else settings.server_url, keep, sizes, router_dir)
        options = replace(options, token_file=engine_token_file)
        if once:
            log_event = partial(_print_event, reporter)
            _print(sync_once(source, options, settings.channel, timeout, log_event), settings.model, reporter)
            return
        log = EventLog(as_json=settings.log_format == "json")
        with _server(engine_token_file) if with_server else nullcontext() as engine:
            run_sync(source, options, host, port, log, engine)
    _end()


def _options(
    settings: Settings, server_url: str | None, keep: int, sizes: tuple[int, int], router_dir: Path | None
) -> SyncOptions:
    """Return the options of sync; `sizes` are the largest version and all versions, in bytes."""
    from serving.sync.download import DiskQuota
    from serving.sync.reconciler import SyncOptions
    from serving.traffic_weights import ROUTER_FOLDER

    quota = DiskQuota(version_bytes=sizes[0], total_bytes=sizes[1])
    weights = router_dir or settings.serving_dir / ROUTER_FOLDER
    names = settings.channels
    return SyncOptions(
        settings.serving_dir, settings.model, server_url, keep, quota, router_dir=weights, channels=names
    )


def _end() -> NoReturn:
    """End this process without a wait for a request to a store that hangs."""
    sys.stdout.flush()
    os._exit(0)


def _store_of_folder(reporter: Reporter) -> AbstractContextManager[object]:
    """Start the embedded store that ran in this folder before, unless a store is set or runs here."""
    from orchard import settings as orchard_settings

    if orchard_settings.load().store_url is not None or not (DIRECTORY / "secrets.json").exists():
        return nullcontext()
    from orchard.store.project_store import store_of_project

    return store_of_project(reporter.note)


def _print_event(reporter: Reporter, event: str, **fields: object) -> None:
    from serving.log import event_text

    reporter.note(event_text(event, fields))


def _check(*, with_server: bool, once: bool, no_engine: bool, token: bool) -> None:
    if with_server and (once or no_engine):
        raise click.UsageError("--serve cannot be combined with --once or --no-engine")
    if no_engine and token:
        raise click.UsageError("--engine-token-file cannot be combined with --no-engine")


def _server(token_file: Path | None) -> ChildProcess:
    """Start `orchard serve` with this process's settings, at ORCHARD_SERVER_URL, following ORCHARD_SERVING_DIR."""
    from orchard.processes import ChildProcess

    tokens = ["--token-file", str(token_file)] if token_file else []
    return ChildProcess([sys.executable, "-m", "orchard", "serve", *tokens])


def _print(result: SyncResult, model: str, reporter: Reporter) -> None:
    state = "live" if result.live else "downloaded"
    document = {
        "model": model,
        "channel": result.channel,
        "version": result.version,
        "generation": result.generation,
        "state": state,
    }
    following = "orchard predict PHOTO" if result.live else "orchard serve"
    reporter.result(document, f"version {result.version} of {model} is {state} ({result.channel})\nnext: {following}")
