"""`orchard train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from training.cli.options import params_option, profile_option, schema_option


@verb(
    group="Model",
    extra="training",
    examples="orchard train\norchard train --profile transfer\norchard train --set train.epochs=3 --set model.architecture=linear\n"
    "dvc repro train\ndvc exp run -S train.epochs=10",
)
@params_option("The parameters of the model and of its training.")
@profile_option()
@schema_option("The schema: the exported model refuses photos that it rejects.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="A parameter for this run only.")
def train(reporter: Reporter, *, params: Path, profile: str | None, schema: Path, overrides: tuple[str, ...]) -> None:
    """Train a network on a dataset's photos and export it to artifacts/candidate.

    Reads data/NAME, where NAME is data.name of the parameters. A part of the training photos, whole arcs of each
    turntable, validates the epochs; the test photos are not read. A run that was killed resumes after its last whole
    epoch when it is started again. The candidate holds the SavedModel (bytes in, label out), model.keras, the curves
    and its data and parameters; the old candidate stays until the new one is complete.
    """
    from orchard.disk import require_space
    from training import params as parameters
    from training.workspace import CHECKPOINTS, Workspace

    loaded = parameters.load(
        params, overrides, profile
    )  # before TensorFlow is imported, so that a typo is reported at once
    workspace = Workspace()
    for written in (workspace.candidate, workspace.root / CHECKPOINTS):
        require_space(written, 0, "training")

    from training.model.backend import tensorflow

    tensorflow()
    from training.model.train import read_curves
    from training.model.train import train as fit_candidate

    document = fit_candidate(loaded, workspace, reporter, schema)
    best = next(row for row in read_curves(workspace.candidate) if row.epoch == document["best_epoch"])
    result = {name: document[name] for name in ("dataset", "params_digest", "parameters", "epochs_run", "best_epoch")}
    result |= {"seconds": document["seconds"], "peak_rss_bytes": document["peak_rss_bytes"]}
    result |= {"val_loss": best.val_loss, "val_accuracy": best.val_accuracy, "candidate": str(workspace.candidate)}
    reporter.result(result, _text(result))


def _text(result: dict[str, Any]) -> str:
    from orchard.formatting import percent

    epoch = f"epoch {result['best_epoch']} of {result['epochs_run']}" if result["best_epoch"] else "the linear probe"
    return (
        f"{result['candidate']}: {epoch} is the best, with "
        f"{percent(result['val_accuracy'])} of the validation photos right; {result['seconds']:.0f} s, "
        f"{result['peak_rss_bytes'] / 1e9:.1f} GB of memory at most\n"
        "next: orchard evaluate"
    )
