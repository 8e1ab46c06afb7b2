"""`orchard cross-validate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from training.cli.backbone_options import (
    DEFAULT_BACKBONE,
    backbone_option,
    choose_backbones,
    load_libraries,
    source_option,
)
from training.cli.options import params_option, profile_option

if TYPE_CHECKING:
    from training.model.cross_validation import CrossValidation
    from training.model.grouped_photos import GroupedPhotos


@verb(
    group="Model",
    extra="training",
    examples="orchard cross-validate --source shop\n"
    "orchard cross-validate --source shop --backbone mobilenet_v2 --backbone efficientnet_lite2\n"
    "orchard cross-validate --source shop --folds 3 --json | jq .accuracy",
)
@params_option("The parameters: data.name is the dataset, model.architecture the default backbone.")
@profile_option()
@backbone_option(f"model.architecture, or {DEFAULT_BACKBONE}")
@source_option()
@click.option("--folds", type=click.Choice(["5", "3"]), default="5", show_default=True, help="3 is the harsher check.")
@click.option(
    "--fold", "only", type=click.IntRange(0, 4), multiple=True, help="Only this fold, from 0; may be repeated."
)
@click.option("--train", "trained", is_flag=True, help="Train the parameters' network on each fold. It takes hours.")
def cross_validate(
    reporter: Reporter,
    *,
    params: Path,
    profile: str | None,
    backbones: tuple[str, ...],
    sources: tuple[str, ...],
    folds: str,
    only: tuple[int, ...],
    trained: bool,
) -> None:
    """Compare networks, cross-validated on groups of photos that look alike: a linear probe on frozen features.

    Each fold leaves out one group of every class: whole bursts of nearly equal photos, whole arcs of a turntable. Folds
    at random have a part of each burst on both sides, and then every network looks right. Reads the training photos
    only. Embeddings are computed once and kept in .orchard/embeddings.

    With --train, the network of the parameters is trained on each fold instead, as `orchard train` does; photos of other
    sources are always learned from. A run that was killed resumes after its last whole epoch.
    """
    from training import params as parameters
    from training.workspace import Workspace

    if trained and backbones:
        raise click.UsageError("--backbone and --train exclude each other: --train has the network of the parameters")
    loaded, workspace = parameters.load(params, profile=profile), Workspace()
    folder = workspace.dataset(loaded.data.name)
    judged = choose_backbones(backbones, loaded)

    load_libraries()
    from training.data.shards import read_index
    from training.model.grouped_photos import MIXTURE, join_photos, probe_folds, read_grouped
    from training.model.trained_folds import require_no_teachers, train_folds

    if trained:
        require_no_teachers(loaded)  # before the embeddings, which take minutes
    index, k = read_index(folder), int(folds)
    photos = join_photos(read_grouped(folder, index, judged, sources, k=k, reporter=reporter))
    train = partial(train_folds, params=loaded, workspace=workspace) if trained else probe_folds
    validated = train(photos, index, k, reporter=reporter, only=only)
    about = {"backbones": judged, "trained": trained, "only": list(only), "grouped_by": list(MIXTURE)}
    document = {
        "format": 1,
        "dataset": {"name": index.name, "digest": index.digest},
        **about,
        **validated.document,
        "sources": _by_source(photos, validated),
    }
    reporter.result(document, _text(reporter, document, k))


def _by_source(photos: GroupedPhotos, validated: CrossValidation) -> dict[str, Any]:
    import numpy as np

    names = np.array([row.source for row in photos.rows])
    return {name: validated.count(names == name) for name in sorted(set(names.tolist()))}


def _text(reporter: Reporter, document: dict[str, Any], k: int) -> str:
    from orchard.formatting import accuracy_text

    def row(name: str, part: dict[str, Any]) -> list[str]:
        return [name, f"{part['correct']} of {part['n']}", accuracy_text(part["correct"], part["n"])]

    known = {label: part for label, part in document["classes"].items() if part["n"] or part["never_tested"]}
    worst = sorted(known.items(), key=lambda item: (item[1]["accuracy"] is None, item[1]["accuracy"] or 0, item[0]))
    several = document["sources"].items() if len(document["sources"]) > 1 else ()
    rows = [row("all", document), *(row(name, part) for name, part in several)]
    table = reporter.table(["photos", "right", "accuracy (95 % interval)"], rows)
    classes = reporter.table(
        ["class, the worst first", "right", "accuracy (95 % interval)"], [row(*pair) for pair in worst]
    )
    never = document["never_tested"]
    why = "their class has one group only" + (", or they are in the other folds" if document["only"] else "")
    note = f"\n{never} photos were never tested: {why}" if never else ""
    what = "the trained network" if document["trained"] else " + ".join(document["backbones"])
    of = f"fold {', '.join(map(str, document['only']))} of {k}" if document["only"] else f"{k} folds"
    return f"{what}, {of} of groups\n\n{table}\n\n{classes}{note}"
