"""`orchard prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchard.cli.options import keep_option, loaded_versions, serving_option
from orchard.cli.output import Output
from orchard.cli.verb import verb

if TYPE_CHECKING:
    from orchard.registry.pruning import PruneResult

__all__ = ["prune"]


@verb(
    examples=(
        "orchard prune                            # what would go, and what stays and why\n"
        "orchard prune --delete\n"
        "orchard prune --delete --keep 30 --serving http://127.0.0.1:8501\n"
        "orchard prune --json | jq .size"
    )
)
@click.option("--delete", is_flag=True, help="Delete; without it nothing is changed.")
@keep_option
@serving_option
@click.option("--resume", is_flag=True, help="Go on with a prune that was killed. Only while no other prune runs.")
@click.option(
    "--unfinished", is_flag=True, help="Also what publishes that never ended have sent. Only while nobody publishes."
)
def prune(out: Output, *, delete: bool, keep: int, serving: tuple[str, ...], resume: bool, unfinished: bool) -> None:
    """Delete the files of old versions from the store; nothing else ever deletes anything there.

    What stays whole: the newest versions, what a channel means, what it can be rolled back to, what a model server
    named with --serving has loaded, and what somebody publishes or promotes at this moment. Manifests and histories
    stay for ever. A pruned version cannot be promoted; publishing the same files again brings it back.
    """
    from orchard import settings
    from orchard.registry.pruning import PruneOptions
    from orchard.registry.pruning import prune as prune_model
    from orchard.signing import load_trusted
    from orchard.store import open_store

    found = settings.load()
    found.require("store_url", "trusted_keys_file")
    trusted = load_trusted(found.trusted_keys_file)  # type: ignore[arg-type]  # required the line before
    wish = PruneOptions(keep, loaded_versions(serving, found.model), delete, resume, unfinished)
    with out.status(f"looking for what nobody needs of {found.model}"):
        done = prune_model(open_store(found), found.model, trusted, wish)
    out.result(_document(found.model, done), _text(out, found.model, done))


def _document(model: str, done: PruneResult) -> dict[str, object]:
    kept = [{"version": version, "why": list(why)} for version, why in done.kept.items()]
    return {
        "model": model,
        "deleted": done.deleted,
        "blobs": done.blobs,
        "size": done.size,
        "held": done.held,
        "kept": kept,
    }


def _text(out: Output, model: str, done: PruneResult) -> str:
    rows = [[version, "; ".join(why)] for version, why in done.kept.items()]
    verdict = "were deleted" if done.deleted else "would be deleted (--delete does it)"
    held = f"\n{done.held} publishes or promotions at work, or killed, hold blobs" if done.held else ""
    table = out.table(["kept", "why"], rows) if rows else f"no version of {model} is kept: there is none"
    return f"{table}{held}\n{done.blobs} blobs, {done.size / 1e6:.1f} MB, {verdict}"
