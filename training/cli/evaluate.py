"""`orchard evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchard.cli.verb import verb
from orchard.formatting import first_lines
from orchard.reporter import Reporter
from training.cli.options import params_option, schema_option

WORST = 5
"""Classes that the text shows of each source; the page has all."""

MAX_CLASSES = 1500
"""The most classes, over all sources, whose figures are in the JSON document; evaluation.json always has all."""

FIGURES = {"precision": "precision", "recall": "recall", "f1": "F1", "top3": "top 3"}


@verb(
    group="Model",
    extra="training",
    examples="orchard evaluate\norchard evaluate --json | jq .metrics\ndvc repro evaluate && dvc metrics show",
)
@params_option("The parameters; the section evaluate is read.")
@schema_option("The schema; the model card shows its card of the dataset.")
def evaluate(reporter: Reporter, *, params: Path, schema: Path) -> None:
    """Evaluate the candidate on every test photo, once each.

    Runs the exported model of artifacts/candidate itself (bytes in, labels out) and writes to artifacts/evaluation:
    evaluation.json (all of it: precision, recall, F1 and top-3 accuracy by source and class, with 95 % intervals),
    metrics.json and confusion.csv (for `dvc metrics` and `dvc plots`), pictures.json (misses, for the model card) and
    page.html. `orchard gate` decides whether the model is good enough.

    Each candidate is a look at the test photos; .orchard/looks has the record. The same candidate again is no new look.
    """
    from orchard.disk import require_space
    from training import params as parameters
    from training.workspace import Workspace

    options = parameters.load(params).evaluate
    workspace = Workspace()
    for written in (workspace.evaluation, workspace.looks):
        require_space(written, 0, "evaluating")  # before the work

    from training.evaluation import evaluate
    from training.evaluation.report import PAGE, flatten

    document = evaluate.evaluate(workspace, options, reporter, schema)
    page = str(workspace.evaluation / PAGE)
    result = {"metrics": flatten(document), "latency_ms": document["latency_ms"], "page": page, **_shown(document)}
    reporter.result(result, _text(reporter, document, result["warnings"], page))


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    """The figures, looks and warnings for ``--json``. More classes than that do not fit into the record of a step."""
    from orchard.gate import find_warnings
    from training.evaluation.scores import ALL

    figures = {name: part for name, part in document["figures"].items() if name != ALL and part["n"]}
    if sum(len(part["classes"]) for part in figures.values()) > MAX_CLASSES:
        figures = {name: {**part, "classes": None} for name, part in figures.items()}
    looks = {name: document["looks"][name] for name in ("number", "total")}
    return {"figures": figures, "looks": looks, "warnings": list(find_warnings(document))}


def _text(reporter: Reporter, document: dict[str, Any], warnings: list[str], page: str) -> str:
    from training.evaluation.looks import look_sentence

    sentence = look_sentence(document["looks"])
    lines = [_sources(reporter, document), "", _classes(reporter, document)]
    lines += first_lines([f"! warning: {warning}" for warning in warnings], "warnings")
    return "\n".join([*lines, f"{sentence[0].upper()}{sentence[1:]}.", f"the page: {page}", "next: orchard gate"])


def _classes(reporter: Reporter, document: dict[str, Any]) -> str:
    """The worst classes of each source."""
    from training.pages import figure

    rows = []
    for name, part in document["figures"].items():
        seen = {label: item for label, item in part["classes"].items() if item["n"] and item["f1"]["value"] < 1}
        worst = sorted(seen, key=lambda label: (seen[label]["f1"]["value"], -seen[label]["n"], label))[:WORST]
        rows += [
            [name, label, seen[label]["n"], *(figure(seen[label][key]) for key in FIGURES)]
            for label in worst
            if name != "all"
        ]
    return reporter.table(["photos", "lowest F1", "n", *FIGURES.values()], rows)


def _sources(reporter: Reporter, document: dict[str, Any]) -> str:
    from orchard.formatting import accuracy_text, percent
    from training.pages import figure

    baseline = (document["baseline"] or {}).get("slices", {})
    rows = [
        [
            name,
            f"{part['correct']} of {part['n']}",
            accuracy_text(part["correct"], part["n"]),
            figure(document["figures"][name]["top3"]),
            figure(document["figures"][name]["macro_f1"]),
            figure(document["figures"][name]["unsure"]),
            figure(document["figures"][name]["sure_accuracy"]),
            f"{part['worst']['label']} {percent(part['worst']['accuracy'])} of {part['worst']['n']}",
            percent(baseline[name]["accuracy"]) if baseline else "-",
        ]
        for name, part in document["slices"].items()
        if part["n"]
    ]
    columns = ["photos", "right", "accuracy (95 % interval)", "top 3", "macro F1", "unsure", "accuracy if sure"]
    columns += ["worst class", "nearest photo"]
    return reporter.table(columns, rows)
