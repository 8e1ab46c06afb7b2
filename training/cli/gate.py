"""`orchard gate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchard.cli.verb import verb
from orchard.formatting import first_lines
from orchard.reporter import Reporter
from training.cli.options import params_option

if TYPE_CHECKING:
    from training.release.gate_candidate import GateResult


@verb(
    group="Model",
    extra="training",
    examples=(
        "orchard gate\n"
        "orchard gate --json | jq '.checks[] | select(.passed == false) | .sentence'\n"
        'orchard gate --override-reason "the shop photos of Plum are mislabelled, see issue 12"'
    ),
)
@click.option(
    "--override-reason", metavar="TEXT", help="Accept a refused candidate; TEXT is the reason and is kept permanently."
)
@params_option("The parameters; the section gate has the thresholds.")
def gate(reporter: Reporter, *, override_reason: str | None, params: Path) -> None:
    """Decide whether the candidate may be published, and show why on one page.

    Compares artifacts/evaluation with the thresholds of params.yaml and with the version that the channel points to, on
    the same photos; that version is evaluated again if it was published with other photos. Refuses by default, with
    exit code 5. Writes artifacts/gate/verdict.json, artifacts/gate/page.html and the model card, artifacts/card. Where
    no object store is set, only the absolute thresholds count, and the verdict says so. A store that is set and does
    not answer is an error.
    """
    from orchard import settings
    from orchard.disk import require_space
    from orchard.errors import GateRefused
    from orchard.registry.registry import Registry
    from training import params as parameters
    from training.release import gate_candidate, model_card
    from training.workspace import Workspace

    workspace = Workspace()
    for written in (workspace.gate, workspace.card):
        require_space(written, 0, "the gate")  # before the version on the channel is evaluated
    thresholds = parameters.load(params).gate
    loaded = settings.load()
    channel = Registry.open(loaded).channel(loaded.channel) if loaded.store_url else None
    result = gate_candidate.gate(workspace, thresholds, channel, reporter, override_reason=override_reason)
    page = workspace.gate / gate_candidate.PAGE
    card = workspace.card / model_card.CARD
    reporter.result({**result.document, "page": str(page), "card": str(card)}, _text(result, page, card))
    if result.verdict.verdict == "refused":
        if reporter.as_json:  # the document has the whole verdict, and only one document is printed
            click.get_current_context().exit(GateRefused.exit_code)
        raise GateRefused(
            f"the gate refuses the candidate: {result.verdict.reason}",
            hint=f"{page} says why; `orchard gate --override-reason TEXT` accepts the candidate for a written reason",
        )


def _text(result: GateResult, page: Path, card: Path) -> str:
    verdict = result.verdict
    marks = {True: "✓", False: "✗"}
    # of the checks by class only those that failed: there are many
    shown = [
        check for check in verdict.checks if check.passed is False or (check.passed and check.name.count(".") == 1)
    ]
    lines = first_lines([f"! warning: {sentence}" for sentence in verdict.warnings], "warnings")
    lines += first_lines([f"{marks[bool(check.passed)]} {check.sentence}" for check in shown], "checks")
    head = verdict.verdict if verdict.verdict != "overridden" else f"overridden: {verdict.reason}"
    if verdict.warnings:
        head += f", with {len(verdict.warnings)} warning{'s' * (len(verdict.warnings) > 1)}"
    pages = [f"the page: {page}", f"the model card: {card}"]
    following = [] if verdict.verdict == "refused" else ["next: orchard publish"]
    return "\n".join([head, *lines, result.comparison["sentence"], *pages, *following])
