"""Names of runs."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from orchard import layout
from orchestration.names import run_id


@given(st.sampled_from(("retrain", "batch_predict", "A.b-c")), st.text(min_size=1, max_size=250))
def test_kubernetes_and_the_store_accept_a_runs_name(dag_id, dag_run_id):
    name = run_id(dag_id, dag_run_id)

    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= 63
    assert layout.run_result(name, "gate")
    assert name == run_id(dag_id, dag_run_id)


def test_runs_of_two_dags_at_the_same_time_have_two_names():
    when = "scheduled__2026-11-24T03:00:00+00:00"

    assert run_id("retrain", when) != run_id("ingest", when)
    assert run_id("retrain", when) != run_id("retrain", when.replace("03", "04"))
    assert run_id("retrain", when).startswith("retrain-scheduled-2026-11-24t03-00-00")
