"""`orchard prune` and `orchard housekeeping`: delete from the store what is no longer needed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.registry.pruning import PruneResult

__all__ = ["housekeeping", "prune"]

_DAYS = click.IntRange(1)

_keep = click.option(
    "--keep",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Newest versions to keep, and steps back on each channel.",
)

_serving = click.option(
    "--serving", multiple=True, metavar="URL", help="A model server whose versions are kept too; may be repeated."
)


def _loaded_versions(servers: Iterable[str], model: str) -> frozenset[int]:
    """Return the versions of a model that servers have loaded, by the servers' URLs."""
    from orchard.client import ModelServer

    return frozenset(status.version for url in servers for status in ModelServer(url).status(model))


@verb(
    group="Registry",
    examples=(
        "orchard prune                            # what would be deleted, and what is kept and why\n"
        "orchard prune --delete\n"
        "orchard prune --delete --keep 30 --serving http://127.0.0.1:8501\n"
        "orchard prune --json | jq .size"
    ),
)
@click.option("--delete", is_flag=True, help="Delete; without it nothing is changed.")
@_keep
@_serving
@click.option("--resume", is_flag=True, help="Resume a prune that was killed. Only while no other prune runs.")
@click.option(
    "--unfinished", is_flag=True, help="Also delete the files of killed publishes. Only while nobody publishes."
)
def prune(
    reporter: Reporter, *, delete: bool, keep: int, serving: tuple[str, ...], resume: bool, unfinished: bool
) -> None:
    """Delete the files of old versions from the store.

    Kept are the newest versions, the versions that a channel points to or can be rolled back to, those that a model
    server named with --serving has loaded, and those that somebody publishes or promotes at this moment. Manifests and
    histories are never deleted. A pruned version cannot be promoted; publish the same files again to restore it.
    """
    from orchard import settings
    from orchard.registry.pruning import PruneOptions
    from orchard.registry.registry import Registry

    registry = Registry.open(settings.load())
    options = PruneOptions(keep, _loaded_versions(serving, registry.model), delete, resume, unfinished)
    with reporter.status(f"searching for files that no version of {registry.model} needs"):
        done = registry.prune(options)
    document = {
        "model": registry.model,
        "deleted": done.deleted,
        "blobs": done.blobs,
        "size": done.size,
        "held": done.held,
        "kept": [{"version": version, "why": list(why)} for version, why in done.kept.items()],
    }
    reporter.result(document, _describe(reporter, registry.model, done))


def _describe(reporter: Reporter, model: str, done: PruneResult) -> str:
    rows = [[version, "; ".join(why)] for version, why in done.kept.items()]
    verdict = "were deleted" if done.deleted else "would be deleted (--delete does it)"
    held = f"\n{done.held} running or killed publishes or promotions have leases on blobs" if done.held else ""
    table = reporter.table(["kept", "why"], rows) if rows else f"{model} has no versions"
    return f"{table}{held}\n{done.blobs} blobs, {done.size / 1e6:.1f} MB, {verdict}"


@verb(
    group="Operate",
    examples=(
        "orchard housekeeping --dry-run\n"
        "orchard housekeeping --serving http://127.0.0.1:8501\n"
        "orchard housekeeping --files-days 7 --json | jq .files"
    ),
)
@click.option("--dry-run", is_flag=True, help="Only report what would be deleted.")
@_keep
@click.option("--files-days", type=_DAYS, default=30, show_default=True, help="Days to keep the files of runs.")
@click.option("--pages-days", type=_DAYS, default=180, show_default=True, help="Days to keep the pages of runs.")
@click.option("--capture-days", type=_DAYS, default=30, show_default=True, help="Days to keep captured requests.")
@click.option(
    "--logs-days", type=_DAYS, default=90, show_default=True, help="Days to keep the logs of Airflow's tasks."
)
@click.option(
    "--corrections-days", type=_DAYS, default=180, show_default=True, help="Days to keep people's corrections."
)
@_serving
def housekeeping(
    reporter: Reporter,
    *,
    dry_run: bool,
    keep: int,
    files_days: int,
    pages_days: int,
    capture_days: int,
    logs_days: int,
    corrections_days: int,
    serving: tuple[str, ...],
) -> None:
    """Delete what is no longer needed: files of old versions, files and pages of old runs, old captures, corrections and logs.

    Versions are pruned as by `orchard prune`: those that a channel points to or can be rolled back to, and those that a
    server named with --serving has loaded, are kept. A prune that was killed more than an hour ago is resumed. Records
    of runs, manifests and histories are never deleted. If the command is killed, the next one does the rest.
    """
    from orchard import settings
    from orchard.housekeeping import RetentionPolicy, sweep
    from orchard.registry.registry import Registry

    registry = Registry.open(settings.load())
    served = _loaded_versions(serving, registry.model)
    policy = RetentionPolicy(keep, files_days, pages_days, capture_days, logs_days, served, corrections_days)
    with reporter.status("searching for what is no longer needed"):
        done = sweep(registry, policy, datetime.now(UTC), delete=not dry_run)
    parts = (
        ("versions", "old versions", done.pruned.blobs, done.pruned.size),
        ("files", "files of runs", done.files.objects, done.files.bytes),
        ("pages", "pages of runs", done.pages.objects, done.pages.bytes),
        ("captures", "captures", done.captures.objects, done.captures.bytes),
        ("logs", "logs of tasks", done.logs.objects, done.logs.bytes),
        ("corrections", "corrections", done.corrections.objects, done.corrections.bytes),
    )
    deleted: dict[str, dict[str, Any]] = {key: {"objects": count, "bytes": size} for key, _, count, size in parts}
    deleted["versions"]["kept"] = sorted(done.pruned.kept)
    table = reporter.table(
        ["what", "objects", "size"], [[what, count, f"{size / 1e6:.1f} MB"] for _, what, count, size in parts]
    )
    verdict = "would be deleted" if dry_run else "were deleted"
    text = f"{table}\n\n{sum(count for _, _, count, _ in parts)} objects {verdict}"
    reporter.result({"model": registry.model, "dry_run": dry_run, **deleted}, text)
