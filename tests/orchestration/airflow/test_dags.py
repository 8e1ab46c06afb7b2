"""The DAGs as documents: parsing, schedules, the values of their forms, and our rules."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pendulum
import pytest
import yaml
from conftest import ROOT, VERBS, template

NAMES = ("batch_predict", "housekeeping", "ingest", "retrain")
DAGS = ROOT / "orchestration" / "airflow" / "dags"


@pytest.fixture(params=NAMES)
def dag(bag, request):
    return bag.dags[request.param]


def test_every_dag_is_read_without_an_error(bag):
    assert bag.import_errors == {}
    assert sorted(bag.dags) == list(NAMES)


def test_reading_all_dags_imports_nothing_heavy():
    code = (
        "import sys, time\n"
        "import airflow.providers.cncf.kubernetes.operators.pod\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "begin = time.monotonic()\n"
        "bag = DagBag(dag_folder=sys.argv[1])\n"
        "print(f'{len(bag.dags)} DAGs parsed in {time.monotonic() - begin:.2f} s', file=sys.stderr)\n"
        "heavy = {'tensorflow', 'keras', 'dvc', 'pandas', 'numpy', 'pyarrow', 'training', 'serving'}\n"
        "light = {'orchard', 'orchard.runs', 'orchard.runs.steps'}\n"
        "orchard = {name for name in sys.modules if name.partition('.')[0] == 'orchard'}\n"
        "print(len(bag.dags), sorted(heavy & set(sys.modules) | orchard - light))"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(DAGS)], capture_output=True, text=True, check=True)

    print(ran.stderr.splitlines()[-1])
    assert ran.stdout.splitlines()[-1] == "4 []"


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_a_dag_file_is_short_and_holds_no_logic(path):
    text = path.read_text()
    nodes = {type(node) for node in ast.walk(ast.parse(text))}

    assert text.count("\n") <= 60
    assert not nodes & {ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.Lambda, ast.ListComp, ast.Try}


def test_a_dag_documents_its_purpose_and_what_to_do_when_it_fails(dag):
    for heading in ("Purpose", "Triage", "Owner", "Rollback"):
        assert f"\n## {heading}\n" in dag.doc_md
    assert dag.description
    assert dag.owner == "vision"


def test_a_new_row_in_the_table_of_steps_is_a_task_with_its_options_and_links(tmp_path):
    for verb in (*VERBS, "calibrate"):
        (tmp_path / f"{verb}.yaml").write_text(yaml.safe_dump(template(verb)))
    code = (
        "import sys\n"
        "from tests.contract.test_steps_table import ROW\n"
        "exec(ROW)\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "from orchestration.airflow.operator import LINKS\n"
        "task = DagBag(dag_folder=sys.argv[1]).dags['retrain'].get_task('calibrate')\n"
        "print(*task.upstream_task_ids, *task.downstream_task_ids, *task.options.items())\n"
        "print(*(link.name for link in LINKS['calibrate']))"
    )
    environment = os.environ | {"ORCHARD_PODS_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code, str(DAGS / "retrain_dag.py")]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines()[-2:] == [
        "evaluate gate ('--skip-code', '99') ('--profile', \"{{ params.profile or '' }}\")",
        "calibration evaluation dataset",
    ]


def test_tags_are_ours(dag):
    from orchestration.airflow.config import DagTag

    assert DagTag.ORCHARD in dag.tags
    assert set(dag.tags) <= set(DagTag)


def test_a_run_waits_for_the_one_before_and_missed_runs_are_not_started(dag):
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert dag.dagrun_timeout is not None


def test_every_task_is_retried_and_has_a_time_limit(dag):
    for task in dag.tasks:
        assert task.retries == 5
        assert task.retry_exponential_backoff == 2.0
    for task in dag.tasks:
        if task.task_type == "OrchardStepOperator":
            assert task.deferrable
            assert task.execution_timeout.total_seconds() > 600, "the pod's own deadline comes first"


def test_a_dag_survives_being_written_and_read(dag):
    from airflow.serialization.serialized_objects import DagSerialization

    read = DagSerialization.from_dict(DagSerialization.to_dict(dag))

    assert read.task_ids == dag.task_ids
    assert read.max_active_runs == 1
    assert read.params.dump() == dag.params.dump()
    links = {name for task in read.tasks for name in task.operator_extra_link_dict}
    expected = {
        "retrain": {"evaluation", "gate", "card", "version", "dataset"},
        "batch_predict": {"predictions"},
        "ingest": {"report"},
    }
    assert links == expected.get(dag.dag_id, set())


def test_retraining_starts_by_the_clock_and_when_photos_are_new(bag):
    schedule = bag.dags["retrain"].schedule
    (ingest,) = bag.dags["ingest"].tasks

    assert schedule.timetable.expression == "0 3 * * 1"
    assert ingest.outlets == [schedule.asset_condition]
    assert ingest.outlets[0].uri == "x-orchard://orchard/datasets/fruits"


@pytest.mark.parametrize(("cron", "kind"), [("", "Asset"), ("0 3 * * *", "AssetOrTimeSchedule")])
def test_without_a_cron_nothing_is_started_by_the_clock(cron, kind):
    from orchestration.airflow.config import AirflowConfig

    release = AirflowConfig.read({"ORCHARD_SCHEDULE_RETRAIN": cron, "ORCHARD_SCHEDULE_INGEST": cron})

    assert type(release.schedule_or_photos("retrain")).__name__ == kind
    assert (release.daily_schedule("ingest") is None) is (cron == "")
    assert release.schedule("housekeeping") is None


def test_a_backfill_of_three_days_is_a_run_for_each_of_them(bag):
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags["batch_predict"]))
    first, last = pendulum.datetime(2026, 11, 18), pendulum.datetime(2026, 11, 21)

    days = [f"{info.data_interval.start:%Y-%m-%d}" for info in dag.iter_dagrun_infos_between(first, last)]

    assert days == ["2026-11-18", "2026-11-19", "2026-11-20"]


def test_every_field_of_a_form_has_one_line(bag):
    """The page shows a box of six lines where a field has several types, and neither a choice nor examples."""
    for dag in bag.dags.values():
        for name, param in dag.params.items():
            schema = dag.params.get_param(name).schema
            types = [kind for kind in [schema.get("type")] if isinstance(kind, str)] or schema.get("type") or []
            several = len([kind for kind in types if kind != "null"]) > 1
            assert not several or schema.get("enum") or schema.get("examples"), (dag.dag_id, name)
            assert schema.get("format") != "multiline", (dag.dag_id, name, param)


def checked(dag, **values):
    """Return a form's validated values; raises ParamValidationError for invalid ones."""
    params = dag.params.deep_merge(values) if hasattr(dag.params, "deep_merge") else dag.params
    for name, value in values.items():
        params[name] = value
    return params.validate()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("retrain", {"dataset_version": "newest"}),
        ("retrain", {"dataset_version": "0"}),
        ("retrain", {"dataset_version": 0}),
        ("retrain", {"dataset_version": ""}),
        ("retrain", {"dataset_version": None}),
        ("retrain", {"dataset_version": "3; rm"}),
        ("retrain", {"profile": "long"}),
        ("retrain", {"force": ""}),
        ("retrain", {"force": "            "}),
        ("retrain", {"force": "because"}),
        ("retrain", {"force": True}),
        ("ingest", {"day": "24.11.2026"}),
        ("batch_predict", {"day": "2026-13-01"}),
        ("batch_predict", {"day": ""}),
        ("housekeeping", {"dry_run": "maybe"}),
        ("housekeeping", {"keep_hours": -1}),
    ],
)
def test_invalid_values_of_the_form_are_refused(bag, name, values):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        checked(bag.dags[name], **values)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("retrain", {"dataset_version": "latest", "profile": "full", "force": None}),
        ("retrain", {"dataset_version": "12", "profile": "short"}),
        ("retrain", {"dataset_version": 12}),
        ("retrain", {"force": "shop photos were mislabelled, see the report"}),
        ("batch_predict", {"day": "2026-11-24"}),
        ("housekeeping", {"dry_run": True, "keep_hours": 0}),
    ],
)
def test_valid_values_of_the_form_are_accepted(bag, name, values):
    assert values.items() <= checked(bag.dags[name], **values).items()
