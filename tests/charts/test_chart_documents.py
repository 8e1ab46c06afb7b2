"""Generated files are up to date, and every value is explained."""

from __future__ import annotations

import re
import subprocess
import sys

import yaml

from tests.charts.conftest import CHART, ROOT, SCENARIOS


def test_generated_files_are_up_to_date(tmp_path):
    subprocess.run([sys.executable, ROOT / "scripts" / "chart", tmp_path], check=True)

    for name in ("README.md", "files/images.env", "files/steps.yaml"):
        assert (CHART / name).read_text() == (tmp_path / name).read_text(), f"{name} is stale: run scripts/chart"


def leaves(values, path=()):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key))


def test_every_value_is_explained():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| (.*?) \| ", (CHART / "README.md").read_text(), re.MULTILINE))
    sections = tuple(f"{name}." for name, default in rows.items() if not default.strip())

    assert [leaf for leaf in leaves(values) if leaf not in rows and not leaf.startswith(sections)] == []


AMOUNTS = ("#/$defs/quantity", "#/$defs/amounts", "#/$defs/resources")
"""Requests and limits: the values have some of them."""


def test_the_schema_has_exactly_the_values():
    import json

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def keys(node, path=()):
        for key, value in node.get("properties", {}).items():
            if "properties" in value:
                assert value["additionalProperties"] is False, (*path, key)
                yield from keys(value, (*path, key))
            elif value.get("$ref") not in AMOUNTS and key != "global" and not value.get("deprecated"):
                yield ".".join((*path, key))

    known = {leaf for leaf in leaves(values) if not re.search(r"\.(requests|limits)\.", leaf)}
    quantities = {
        *("objectStore.storage.size", "serving.disk", "training.workspace.size", "airflow.database.storage.size"),
    }
    assert set(keys(schema)) == known - quantities


def test_the_promised_scenarios_exist():
    assert set(SCENARIOS) >= {
        *("default", "kind", "offline", "ha", "external-s3", "existing-secret", "engine-orchard"),
        *("engine-tensorflow-serving", "locked-down", "arm64", "airflow", "airflow-external"),
    }


def test_chart_and_distribution_have_one_version():
    import tomllib

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert chart["appVersion"] == project
    for name in ("TRAINING_IMAGE", "SERVING_IMAGE", "AIRFLOW_IMAGE"):
        assert re.search(rf"^{name}=\S+:{re.escape(project)}$", (ROOT / "images.env").read_text(), re.MULTILINE)
