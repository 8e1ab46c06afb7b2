"""`orchard evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from training.cli.options import params_option


@verb(
    extra="training",
    examples="orchard evaluate\norchard evaluate --json | jq .metrics\ndvc repro evaluate && dvc metrics show",
)
@params_option("The parameters; the section evaluate is read.")
def evaluate(reporter: Reporter, *, params: Path) -> None:
    """Evaluate the candidate on every test photo, once each.

    Runs the exported model of artifacts/candidate itself (bytes in, labels out) and writes to artifacts/evaluation:
    evaluation.json (all of it, by source and class), metrics.json and confusion.csv (for `dvc metrics` and `dvc plots`)
    and page.html, with pictures of the misses. `orchard gate` decides whether the model is good enough.
    """
    from orchard.disk import require_space
    from training import params as parameters
    from training.workspace import Workspace

    options = parameters.load(params).evaluate
    workspace = Workspace()
    require_space(workspace.evaluation, 0, "evaluating")  # before the work

    from training.evaluation import evaluate
    from training.evaluation.report import PAGE, flatten

    document = evaluate.evaluate(workspace, options, reporter)
    page = str(workspace.evaluation / PAGE)
    metrics = flatten(document)
    result = {"metrics": metrics, "latency_ms": document["latency_ms"], "page": page}
    reporter.result(result, _text(reporter, document, page))


def _text(reporter: Reporter, document: dict[str, Any], page: str) -> str:
    from orchard.formatting import accuracy_text, percent

    baseline = (document["baseline"] or {}).get("slices", {})
    rows = [
        [
            name,
            f"{part['correct']} of {part['n']}",
            accuracy_text(part["correct"], part["n"]),
            f"{part['worst']['label']} {percent(part['worst']['accuracy'], 1)} of {part['worst']['n']}",
            percent(baseline[name]["accuracy"]) if baseline else "-",
        ]
        for name, part in document["slices"].items()
        if part["n"]
    ]
    table = reporter.table(["photos", "right", "accuracy (95 % interval)", "worst class", "nearest photo"], rows)
    return f"{table}\nthe page: {page}"
