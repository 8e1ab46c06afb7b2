"""The page of a run, with links to the objects that its tasks wrote."""

from __future__ import annotations

import html

from orchard.runs.steps import steps_of
from orchestration.names import run_id

__all__ = ["page"]

_KINDS = {"batch_predict": "batch"}
"""The kinds of run whose DAG has another name."""

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{run}</title>
<style>body{{font:16px/1.6 system-ui;margin:2rem;background:Canvas;color:CanvasText}}code{{font-size:.9em}}</style>
<h1>Results of this run</h1><p>Run <code>{run}</code>. The results of steps that have not run yet are missing.</p>
<ul>{links}</ul><p>{note}</p></html>
"""


def _keys(dag_id: str, run: str) -> dict[str, str]:
    """Return the keys of a run's objects by link text: its pages, and the record if the run has only one step."""
    steps = steps_of(_KINDS.get(dag_id, dag_id))
    keys = {page.name: page.key for spec in steps.values() for page in spec.pages if "{day}" not in page.key}
    if len(steps) == 1:
        keys["result"] = f"runs/{{run}}/steps/{next(iter(steps))}.json"
    return {name: key.format(run=run) for name, key in keys.items()}


def page(dag_id: str, dag_run_id: str, address: str) -> str:
    """Return the page of a run, in HTML.

    Args:
        dag_id: the DAG's id.
        dag_run_id: Airflow's id of the run.
        address: the URL under which objects of the bucket can be viewed; empty: the page lists their keys.
    """
    run = run_id(dag_id, dag_run_id)
    links = "".join(
        f'<li><a href="{html.escape(f"{address}/{key}")}">{name}</a></li>'
        if address
        else f"<li>{name}: <code>{key}</code></li>"
        for name, key in _keys(dag_id, run).items()
    )
    note = "" if address else "With the chart's value <code>airflow.pagesUrl</code> these are links."
    return _PAGE.format(run=html.escape(run), links=links, note=note)
