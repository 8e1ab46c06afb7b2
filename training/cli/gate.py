"""`orchard gate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from training.release.gate_candidate import GateResult


@verb(
    extra="training",
    examples=(
        "orchard gate\n"
        "orchard gate --json | jq '.checks[] | select(.passed == false) | .sentence'\n"
        'orchard gate --override-reason "the shop photos of Plum are mislabelled, see issue 12"'
    ),
)
@click.option(
    "--override-reason", metavar="TEXT", help="Accept a refused candidate; TEXT says why, and is kept for ever."
)
@click.option(
    "--params",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("params.yaml"),
    show_default=True,
    help="The parameters; the section gate holds the bars.",
)
def gate(reporter: Reporter, *, override_reason: str | None, params: Path) -> None:
    """Decide whether the candidate may be published, and say why on one page.

    Holds artifacts/evaluation against the bars of params.yaml and against the version that the channel means, on the
    same photos; that version is asked again where it was published on others. Refuses by default, with exit code 5.
    Writes artifacts/gate/verdict.json and artifacts/gate/page.html. Where no object store is set, only the absolute bars
    count, and the verdict says so; a store that is set and does not answer is an error.
    """
    from orchard import settings
    from orchard.errors import GateRefused
    from orchard.registry.registry import Registry
    from training import params as parameters
    from training.release import gate_candidate
    from training.workspace import Workspace

    workspace = Workspace()
    bars = parameters.load(params).gate
    found = settings.load()
    channel = Registry.open(found).channel(found.channel) if found.store_url else None
    judged = gate_candidate.gate(workspace, bars, channel, reporter, override_reason=override_reason)
    page = workspace.gate / gate_candidate.PAGE
    reporter.result({**judged.document, "page": str(page)}, _text(judged, page))
    if judged.verdict.verdict == "refused":
        if reporter.as_json:  # the document has said it all, and there is only one
            click.get_current_context().exit(GateRefused.exit_code)
        raise GateRefused(
            f"the gate refuses the candidate: {judged.verdict.reason}",
            hint=f"{page} says why; `orchard gate --override-reason TEXT` accepts it all the same, for a written reason",
        )


def _text(judged: GateResult, page: Path) -> str:
    verdict = judged.verdict
    marks = {True: "✓", False: "✗"}
    # of the checks by class only those that failed: there are many
    told = [check for check in verdict.checks if check.passed is False or (check.passed and check.name.count(".") == 1)]
    lines = [f"{marks[bool(check.passed)]} {check.sentence}" for check in told]
    head = verdict.verdict if verdict.verdict != "overridden" else f"overridden: {verdict.reason}"
    return "\n".join([head, *lines, judged.comparison["sentence"], f"the page: {page}"])
