"""`orchard housekeeping`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from orchard.cli.options import keep_option, loaded_versions, serving_option
from orchard.cli.output import Output
from orchard.cli.verb import verb

if TYPE_CHECKING:
    from orchard.housekeeping import SweepResult

_DAYS = click.IntRange(1)


@verb(
    examples=(
        "orchard housekeeping --dry-run\n"
        "orchard housekeeping --serving http://127.0.0.1:8501\n"
        "orchard housekeeping --files-days 7 --json | jq .files"
    )
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@keep_option
@click.option("--files-days", type=_DAYS, default=30, show_default=True, help="Days to keep the files of runs.")
@click.option("--pages-days", type=_DAYS, default=180, show_default=True, help="Days to keep the pages of runs.")
@click.option("--capture-days", type=_DAYS, default=30, show_default=True, help="Days to keep captured requests.")
@click.option(
    "--logs-days", type=_DAYS, default=90, show_default=True, help="Days to keep the logs of Airflow's tasks."
)
@serving_option
def housekeeping(
    out: Output,
    *,
    dry_run: bool,
    keep: int,
    files_days: int,
    pages_days: int,
    capture_days: int,
    logs_days: int,
    serving: tuple[str, ...],
) -> None:
    """Delete what nobody needs any more: bytes of old versions, files and pages of old runs, old captures, old logs.

    Versions go as `orchard prune` says, so what a channel means, can be rolled back to, or a server named with --serving
    has loaded stays; a prune that was killed more than an hour ago is gone on with. What runs said, manifests and
    histories stay for ever. Killed anywhere, the next one does the rest.
    """
    from orchard import settings
    from orchard.housekeeping import RetentionPolicy, sweep
    from orchard.signing import load_trusted
    from orchard.store import open_store

    found = settings.load()
    found.require("store_url", "trusted_keys_file")
    trusted = load_trusted(found.trusted_keys_file)  # type: ignore[arg-type]  # required the line before
    kept = RetentionPolicy(keep, files_days, pages_days, capture_days, logs_days, loaded_versions(serving, found.model))
    with out.status("looking for what nobody needs"):
        done = sweep(open_store(found), found.model, trusted, kept, datetime.now(UTC), delete=not dry_run)
    document = {
        "model": found.model,
        "dry_run": dry_run,
        "versions": {"objects": done.pruned.blobs, "bytes": done.pruned.size, "kept": sorted(done.pruned.kept)},
        "files": {"objects": done.files.objects, "bytes": done.files.bytes},
        "pages": {"objects": done.pages.objects, "bytes": done.pages.bytes},
        "captures": {"objects": done.captures.objects, "bytes": done.captures.bytes},
        "logs": {"objects": done.logs.objects, "bytes": done.logs.bytes},
    }
    out.result(document, _text(out, done, dry_run))


def _text(out: Output, done: SweepResult, dry_run: bool) -> str:
    found = (
        ("old versions", done.pruned.blobs, done.pruned.size),
        ("files of runs", done.files.objects, done.files.bytes),
        ("pages of runs", done.pages.objects, done.pages.bytes),
        ("captures", done.captures.objects, done.captures.bytes),
        ("logs of tasks", done.logs.objects, done.logs.bytes),
    )
    table = out.table(
        ["what", "objects", "size"], [[what, count, f"{size / 1e6:.1f} MB"] for what, count, size in found]
    )
    verdict = "would be deleted" if dry_run else "were deleted"
    return f"{table}\n\n{sum(count for _, count, _ in found)} objects {verdict}"
