"""What a run left to be looked at: the links of its tasks, and a page of them for the run itself."""

from __future__ import annotations

import html

from orchard.runs.steps import steps_of
from orchestration.names import run_id

__all__ = ["page"]

_KINDS = {"batch_predict": "batch"}
"""The kinds of run that a DAG has another name for."""

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{run}</title>
<style>body{{font:16px/1.6 system-ui;margin:2rem;background:Canvas;color:CanvasText}}code{{font-size:.9em}}</style>
<h1>What this run leaves</h1><p>Run <code>{run}</code>. What its steps have not come to is not there yet.</p>
<ul>{links}</ul><p>{note}</p></html>
"""


def _keys(dag_id: str, run: str) -> dict[str, str]:
    """The objects that a run leaves, by the text of their link: pages, and the record of a run of one step."""
    steps = steps_of(_KINDS.get(dag_id, dag_id))
    keys = {page.name: page.key for spec in steps.values() for page in spec.pages if "{day}" not in page.key}
    if len(steps) == 1:
        keys["result"] = f"runs/{{run}}/steps/{next(iter(steps))}.json"
    return {name: key.format(run=run) for name, key in keys.items()}


def page(dag_id: str, dag_run_id: str, address: str) -> str:
    """Make the page of a run, in HTML.

    Args:
        dag_id: of its DAG.
        dag_run_id: Airflow's name for it.
        address: where objects of the bucket can be looked at; empty: nowhere, then their keys are told.
    """
    run = run_id(dag_id, dag_run_id)
    links = "".join(
        f'<li><a href="{html.escape(f"{address}/{key}")}">{what}</a></li>'
        if address
        else f"<li>{what}: <code>{key}</code></li>"
        for what, key in _keys(dag_id, run).items()
    )
    note = "" if address else "With <code>airflow.pagesUrl</code> of the chart these would be links."
    return _PAGE.format(run=html.escape(run), links=links, note=note)
