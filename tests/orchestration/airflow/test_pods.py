"""The pods that the operator creates, as documents: the template and the additions."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from conftest import VERBS, context, template


@pytest.mark.parametrize("verb", VERBS)
def test_a_pod_is_its_template_with_a_command_line(build, verb):
    pod, expected = build(verb), template(verb)
    (base,), (before,) = pod["spec"].pop("containers"), expected["spec"].pop("containers")

    assert without_empty(base) == without_empty(before) | {
        "args": ["step", verb],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    assert without_empty(pod["spec"]) == without_empty(expected["spec"])
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert expected["metadata"]["labels"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["namespace"] == "orchard"


def without_empty(document):
    """Return a document without empty values, which the client writes too."""
    return {name: value for name, value in document.items() if value not in ([], {}, False)}


def test_a_run_has_the_same_name_in_every_try_and_before_variables_that_quote_it(build):
    first, second = (build("train", context=context(tries=tries))["spec"]["containers"][0]["env"] for tries in (1, 2))

    assert first == second
    assert [item["name"] for item in first] == [
        "ORCHARD_RUN_ID",
        "ORCHARD_ACTOR",
        "ORCHARD_STEP_SUMMARY",
        "QUOTES",
        "ORCHARD_STORE_CREDENTIALS_FILE",
    ]
    assert first[0]["value"].startswith("retrain-scheduled-2026-11-24t03-00-00-")


def test_the_actor_of_a_run_is_recorded(build):
    (actor,) = (
        item["value"]
        for item in build("promote", context=context(user="mara"))["spec"]["containers"][0]["env"]
        if item["name"] == "ORCHARD_ACTOR"
    )

    assert actor == "airflow/retrain for mara"


def test_a_pod_is_found_by_run_and_verb(build):
    metadata = build("train", context=context())["metadata"]

    assert metadata["labels"]["orchard.run/verb"] == "train"
    assert metadata["labels"]["orchard.run/id"].startswith("retrain-scheduled-")
    assert metadata["annotations"]["orchard.run/dag-run"] == "retrain/scheduled__2026-11-24T03:00:00+00:00"


def test_options_that_are_empty_are_left_out_and_flags_have_no_value(build):
    args = build("gate", {"--force": "", "--dry-run": "True", "--day": "2026-11-24"})["spec"]["containers"][0]["args"]

    assert args == ["step", "gate", "--dry-run", "--day=2026-11-24"]


def test_what_a_person_wrote_is_one_argument_in_which_nothing_is_replaced(build):
    reason = "--skip $(ORCHARD_STORE_CREDENTIALS_FILE); rm -rf / {{ conn }}"

    args = build("gate", {"--force": reason})["spec"]["containers"][0]["args"]

    assert args == ["step", "gate", f"--force={reason.replace('$(', '$$(')}"]


def test_a_verb_without_a_template_is_refused_with_the_path(build):
    with pytest.raises(ValueError, match=r"no pod template .*/pods/deploy\.yaml"):
        build("deploy")


def test_links_lead_to_the_results_of_the_run():
    from orchestration.airflow.operator import LINKS
    from orchestration.pod_status import PodResult

    key = SimpleNamespace(dag_id="retrain", run_id="manual__x")
    operator = SimpleNamespace(
        verb="gate", pod_result=PodResult("refused", "", 99, links={"gate": "runs/r/pages/gate.html"})
    )
    addresses = {link.name: link.get_link(operator, ti_key=key) for link in LINKS["gate"]}

    assert addresses["gate"] == "https://pages.example/bucket/runs/r/pages/gate.html"
    assert addresses["evaluation"].startswith("https://pages.example/bucket/runs/retrain-manual-x-")
    assert addresses["evaluation"].endswith("/pages/evaluate.html")


def test_a_step_without_a_result_links_to_nothing():
    from orchestration.airflow.operator import LINKS

    operator = SimpleNamespace(verb="batch", pod_result=None)

    assert [link.get_link(operator, ti_key=None) for link in LINKS["batch"]] == [""]
