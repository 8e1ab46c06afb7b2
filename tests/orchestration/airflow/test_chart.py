"""The pods that the operator builds from the chart's own templates."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml
from conftest import ROOT, VERBS, context

CHART = ROOT / "charts" / "orchard"


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not on the PATH, so the chart cannot be rendered")
def test_the_charts_own_templates_become_pods(build, tmp_path):
    rendered = subprocess.run(
        ["helm", "template", "orchard", CHART, "--kube-version", "1.34", "--set", "airflow.enabled=true"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    documents = [document for document in yaml.safe_load_all(rendered) if document]
    (config_map,) = (d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"].endswith("-pods"))
    for name, text in config_map["data"].items():
        (tmp_path / name).write_text(text)

    assert sorted(config_map["data"]) == sorted(f"{verb}.yaml" for verb in VERBS)
    for verb in VERBS:
        spec = build(verb, folder=tmp_path, context=context())["spec"]
        (base,) = spec["containers"]
        assert base["args"] == ["step", verb]
        assert base["command"]
        assert base["resources"]["limits"]["memory"]
        assert spec["activeDeadlineSeconds"] > 0
        assert spec["automountServiceAccountToken"] is False
        assert spec["restartPolicy"] == "Never"
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert [item["name"] for item in base["env"]].count("ORCHARD_RUN_ID") == 1
