"""A tab on Airflow's page of a run, with links to the run's results. Only the API server has pages, so only it loads this."""

import sys

from airflow.plugins_manager import AirflowPlugin

if "api-server" in sys.argv:
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    from orchestration.airflow.config import RELEASE
    from orchestration.airflow.links import page

    app = FastAPI(openapi_url=None)

    # The page is computed from its own address alone, so it needs no log-in.
    @app.get("/runs/{dag_id}/{dag_run_id}")
    def run_page(dag_id: str, dag_run_id: str) -> HTMLResponse:
        """Return the page of a run."""
        return HTMLResponse(page(dag_id, dag_run_id, RELEASE.pages))

    class OrchardPages(AirflowPlugin):
        """The tab and its page."""

        name = "orchard_pages"
        fastapi_apps = [{"name": "orchard", "app": app, "url_prefix": "/orchard"}]  # noqa: RUF012 (Airflow's way)
        external_views = [  # noqa: RUF012 (Airflow's way)
            {
                "name": "Results",
                "href": "orchard/runs/{DAG_ID}/{RUN_ID}",
                "destination": "dag_run",
                "url_route": "orchard",
            }
        ]
