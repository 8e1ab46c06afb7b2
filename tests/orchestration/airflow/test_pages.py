"""The tab of a run's page."""

from __future__ import annotations

import runpy
import sys

import pytest
from conftest import ROOT

PLUGIN = ROOT / "orchestration" / "airflow" / "home" / "plugins" / "orchard_pages.py"


@pytest.fixture
def plugin(monkeypatch):
    """The plugin, as the API server loads it."""
    monkeypatch.setattr(sys, "argv", ["airflow", "api-server"])
    return runpy.run_path(str(PLUGIN))["OrchardPages"]


def test_a_run_has_a_tab_with_links_to_its_results(plugin):
    from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    (view,), (app,) = plugin.external_views, plugin.fastapi_apps
    server = FastAPI()
    server.mount(app["url_prefix"], app["app"])
    address = view["href"].format(DAG_ID="retrain", RUN_ID="manual__2026-11-24T20%3A00%3A00%2B00%3A00")

    answer = TestClient(server).get(f"/{address}")

    assert ExternalViewResponse.model_validate(view).destination == "dag_run"
    assert answer.status_code == 200
    (run,) = {part.split("/")[0] for part in answer.text.split("https://pages.example/bucket/runs/")[1:]}
    assert run.startswith("retrain-manual-2026-11-24t20-00-00-00-00-")
    for page in ("evaluate.html", "gate.html", "publish.html", "validate.html"):
        assert f'href="https://pages.example/bucket/runs/{run}/pages/{page}"' in answer.text
    for page in ("steps/publish.json",):
        assert f'href="https://pages.example/bucket/runs/{run}/{page}"' in answer.text


def test_without_an_address_objects_are_named():
    from orchestration.airflow.links import page

    text = page("retrain", "manual__x", "")

    assert "<a " not in text
    assert "/pages/evaluate.html</code>" in text
    assert "airflow.pagesUrl" in text


def test_a_run_id_is_escaped():
    from orchestration.airflow.links import page

    assert "<script" not in page("<script>alert(1)</script>", "<script>", "https://pages.example/<script>")


def test_only_the_api_server_loads_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])

    assert "OrchardPages" not in runpy.run_path(str(PLUGIN))
