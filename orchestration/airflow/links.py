"""What a run left to be looked at: the links of its tasks, and a page of them for the run itself."""

from __future__ import annotations

import html
from collections.abc import Mapping

from orchestration.names import run_id

__all__ = ["LEFT", "page"]

LEFT: dict[str, Mapping[str, str]] = {
    "retrain": {
        "evaluation": "pages/evaluate.html",
        "gate": "pages/gate.html",
        "version": "steps/publish.json",
        "dataset": "pages/validate.html",
    },
    "ingest": {"report": "pages/ingest.json", "result": "steps/ingest.json"},
    "batch_predict": {"result": "steps/batch.json"},
    "housekeeping": {"result": "steps/housekeeping.json"},
}
"""What a run of a DAG leaves, as objects in the run's folder."""

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{run}</title>
<style>body{{font:16px/1.6 system-ui;margin:2rem;background:Canvas;color:CanvasText}}code{{font-size:.9em}}</style>
<h1>What this run leaves</h1><p>Run <code>{run}</code>. What its steps have not come to is not there yet.</p>
<ul>{links}</ul><p>{note}</p></html>
"""


def page(dag_id: str, dag_run_id: str, address: str) -> str:
    """Make the page of a run, in HTML.

    Args:
        dag_id: of its DAG.
        dag_run_id: Airflow's name for it.
        address: where objects of the bucket can be looked at; empty: nowhere, then their keys are told.
    """
    run = run_id(dag_id, dag_run_id)
    keys = {what: f"runs/{run}/{key}" for what, key in LEFT.get(dag_id, {}).items()}
    links = "".join(
        f'<li><a href="{html.escape(f"{address}/{key}")}">{what}</a></li>'
        if address
        else f"<li>{what}: <code>{key}</code></li>"
        for what, key in keys.items()
    )
    note = "" if address else "With <code>airflow.pagesUrl</code> of the chart these would be links."
    return _PAGE.format(run=html.escape(run), links=links, note=note)
