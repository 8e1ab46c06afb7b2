"""Airflow's page of a run gets a tab with what the run left. Only the API server has a page, so only it loads this."""

import sys

from airflow.plugins_manager import AirflowPlugin

if "api-server" in sys.argv:
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    from orchestration.airflow.config import RELEASE
    from orchestration.airflow.links import page

    app = FastAPI(openapi_url=None)

    # It says nothing that is not computed from its own address, so whoever reaches it may read it.
    @app.get("/runs/{dag_id}/{dag_run_id}")
    def left(dag_id: str, dag_run_id: str) -> HTMLResponse:
        """The page of a run."""
        return HTMLResponse(page(dag_id, dag_run_id, RELEASE.pages))

    class OrchardPages(AirflowPlugin):
        """The tab, and what is in it."""

        name = "orchard_pages"
        fastapi_apps = [{"name": "orchard", "app": app, "url_prefix": "/orchard"}]  # noqa: RUF012 (Airflow's way)
        external_views = [  # noqa: RUF012 (Airflow's way)
            {
                "name": "Left behind",
                "href": "orchard/runs/{DAG_ID}/{RUN_ID}",
                "destination": "dag_run",
                "url_route": "orchard",
            }
        ]
