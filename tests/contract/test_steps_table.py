"""A step is one row: whatever runs, shows or deploys steps derives them from the table, and nothing else lists them."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys

import yaml

from orchard import layout
from orchard.runs.steps import STEPS, steps_before, steps_of
from tests.charts.conftest import run_helm, scenario_options
from tests.contract.test_house import PROGRAMS, ROOT, tracked

ROW = """
from orchard.runs import steps
rows = list(steps.STEPS.values())
page = steps.StepPage("calibration", "runs/{run}/pages/calibrate.html", "artifacts/calibration/page.html")
rows.insert(3, steps.StepSpec("calibrate", "retrain", "Calibrate it.", identity="trainer", weight="light",
    inputs=("train",), outputs=("artifacts/calibration",), pages=(page,), options=("profile",), skips=True))
steps.STEPS.clear()
steps.STEPS.update({spec.verb: spec for spec in rows})
"""
"""The table with one more row, before other modules derive from it."""


def with_row(code: str, *, python: str = sys.executable) -> str:
    """Run code with one more row in the table; return its output."""
    return subprocess.run([python, "-c", ROW + code], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_a_row_reaches_the_runner_and_its_commands():
    printed = with_row(
        "from training.pipeline.run_step import STEPS\n"
        "from training.cli.step import step\n"
        "from orchard.runs.summary import RunSummary\n"
        "from types import SimpleNamespace as Any\n"
        "done = Any(outcome='done', reason='')\n"
        "entry = RunSummary(Any(kind='retrain'), {name: done for name in ('validate', 'train', 'evaluate')}, {})\n"
        "command = step.commands['calibrate']\n"
        "print(command.help, [option.name for option in command.params][:3], STEPS['calibrate'].outputs, entry.state)"
    )

    assert printed.strip() == (
        "Calibrate it. ['as_json', 'json_file', 'profile'] ('artifacts/calibration',) at calibrate"
    )


def test_a_row_reaches_the_summary_and_the_page_of_the_run():
    printed = with_row(
        "from types import SimpleNamespace as Any\n"
        "from training.pipeline.step_summary import links\n"
        "from orchestration.airflow.links import page\n"
        "ended = Any(outcome='done', pages=('runs/r/pages/calibrate.html',))\n"
        "print(links('calibrate', 'r', ended), 'pages/calibrate.html' in page('retrain', 'x', 'https://pages.example'))"
    )

    assert printed.strip() == "{'calibration': 'runs/r/pages/calibrate.html'} True"


def test_a_row_reaches_luigi_and_make_retrain():
    printed = with_row(
        "from orchestration.luigi.pipeline import Retrain\n"
        "from orchestration.cluster.deploy import retrain_run\n"
        "print(*(Retrain(name='r', verb=verb).requires()[0].verb for verb in ('calibrate', 'gate')))\n"
        "print('calibrate' in retrain_run.STEPS)"
    )

    assert printed.split() == ["evaluate", "calibrate", "True"]


def test_a_row_reaches_the_chart(tmp_path):
    chart = tmp_path / "chart"
    shutil.copytree(ROOT / "charts" / "orchard", chart)
    with_row(f"import runpy, sys\nsys.argv[1:] = [{str(chart)!r}]\nrunpy.run_path('scripts/chart')")
    done = run_helm("template", "fruit", str(chart), "--kube-version", "1.34.0", *scenario_options("airflow"))

    assert done.returncode == 0, done.stderr
    documents = [item for item in yaml.safe_load_all(done.stdout) if item]
    (spec,) = (item["template"]["spec"] for item in documents if item["metadata"]["name"] == "fruit-orchard-train")
    names = [container["name"] for container in spec["initContainers"]]
    assert names[names.index("evaluate") : names.index("gate") + 1] == ["evaluate", "calibrate", "gate"]
    (pods,) = (item["data"] for item in documents if item["metadata"]["name"].endswith("-pods"))
    assert yaml.safe_load(pods["calibrate.yaml"])["spec"]["containers"][0]["args"] == ["step", "calibrate"]


def test_no_other_source_lists_the_steps_of_a_retraining():
    """No literal of Python, and no file of the chart, the scripts or the DAGs, names more than two of them.

    Sections of params.yaml that have the name of a verb are not a list of steps.
    """
    verbs, sections = set(steps_of("retrain")), set(yaml.safe_load((ROOT / "params.yaml").read_text()))
    for path in tracked(*(f"{program}/*.py" for program in (*PROGRAMS, "scripts"))):
        for node in ast.walk(ast.parse(path.read_text())):
            inside = ast.iter_child_nodes(node) if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict) else ()
            found = {item.value for item in inside if isinstance(item, ast.Constant)} & verbs
            assert len(found) <= 2 or found <= sections, f"{path.relative_to(ROOT)}:{node.lineno} lists {sorted(found)}"
    for path in tracked("charts/orchard/templates/**", "scripts/*", "orchestration/airflow/dags/*.py"):
        words = set(re.findall(r"\"(\w+)\"", path.read_text()))
        assert len(words & verbs) <= 2, f"{path.relative_to(ROOT)} lists {sorted(words & verbs)}"


def test_the_rows_agree_with_each_other_and_with_the_layout():
    for verb, spec in STEPS.items():
        assert set(spec.inputs) <= set(steps_before(verb)), f"{verb} needs the outputs of a later step"
        for page in spec.pages:
            if page.file:
                assert any(page.file.startswith(f"{output}/") for output in spec.outputs), page
    keys = {page.name: page.key.format(run="r", day="2026-11-24") for spec in STEPS.values() for page in spec.pages}
    assert keys == {
        "dataset": layout.run_page("r", "validate"),
        "evaluation": layout.run_page("r", "evaluate"),
        "gate": layout.run_page("r", "gate"),
        "card": layout.run_page("r", "publish"),
        "version": layout.run_step("r", "publish"),
        "report": layout.run_page("r", "ingest", ".json"),
        "predictions": layout.batch_output("2026-11-24", "index.html"),
    }


def test_airflows_image_can_import_what_it_copies_of_the_library(tmp_path):
    """Without the package's own __init__ and without a third-party package."""
    copied = re.findall(
        r"^COPY (orchard/\S+) /opt/orchard/(\S+)$", (ROOT / "orchestration/Dockerfile").read_text(), re.M
    )
    for source, target in copied:
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, tmp_path / target)
    imported = {
        node.module
        for folder in ("orchestration", "orchestration/airflow", "orchestration/airflow/dags")
        for path in (ROOT / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "orchard"
    }
    code = f"import sys, json; sys.path.insert(0, {str(tmp_path)!r})\n" + "\n".join(
        f"import {name}" for name in imported
    )
    code += "\nprint(json.dumps([name for name in sys.modules if name.startswith('orchard')]))"
    printed = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True
    ).stdout

    assert imported <= set(json.loads(printed))
    assert imported
