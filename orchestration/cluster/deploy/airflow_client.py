"""A client of Airflow's REST API in the cluster, over a forwarded port: starts runs and follows them to their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import requests

from orchestration.cluster.deploy.port_forward import forward
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.kube_client import ClusterError

__all__ = ["FINISHED", "AirflowClient", "AirflowRefused", "follow", "password_command", "reach_airflow"]

FINISHED = ("success", "failed")
"""States of a run that has ended."""

_TASK_FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")
_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 1.0
_REQUEST_SECONDS = 30.0


def password_command(release: Release) -> str:
    """Return the command line that prints the administrator's password."""
    template = '{{index .data "admin-password" | base64decode}}{{"\\n"}}'
    return " ".join(
        release.kubectl_command("get", "secret", f"{release.fullname}-airflow", f"--output=go-template='{template}'")
    )


class AirflowClient:
    """A client of a release's Airflow. A request connects again when the pod that answered was replaced.

    Args:
        release: the release, with ``airflow.enabled``.
        patience_s: for how long a request is repeated while Airflow does not answer; None: five minutes.
    """

    def __init__(self, release: Release, patience_s: float | None = None) -> None:
        self.release = release
        self._patience_s = patience_s
        self._forwarding = ExitStack()
        self._url = ""
        self._token = ""

    def close(self) -> None:
        """Stop forwarding."""
        self._forwarding.close()
        self._url = ""

    def request(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request to `/api/v2`; repeat it while Airflow does not answer.

        Args:
            method: HTTP's.
            path: below ``/api/v2``.
            document: the body.

        Raises:
            AirflowRefused: Airflow refused it.
            ClusterError: it did not answer in time.
        """
        deadline = time.monotonic() + (_PATIENCE_SECONDS if self._patience_s is None else self._patience_s)
        while True:
            try:
                return self._request(method, path, document)
            except (requests.RequestException, ClusterUnready) as error:
                self.close()
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"Airflow does not answer: {error}", hint="`make doctor` finds the reason"
                    ) from error
                time.sleep(_POLL_SECONDS)

    def _request(self, method: str, path: str, document: Mapping[str, Any] | None) -> dict[str, Any]:
        if not self._url:
            self._connect()
        reply = requests.request(
            method,
            f"{self._url}/api/v2{path}",
            json=document,
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=_REQUEST_SECONDS,
        )
        if reply.status_code in (401, 403) or reply.status_code >= 500:
            raise ClusterUnready(f"{reply.status_code} {reply.text[:300]}")
        if not reply.ok:
            raise AirflowRefused(f"Airflow refused {method} {path}: {_reason(reply)}", reply.status_code)
        body: dict[str, Any] = reply.json() if reply.content else {}
        return body

    def _connect(self) -> None:
        secret = self.release.secret(f"{self.release.fullname}-airflow")
        try:
            self._url = self._forwarding.enter_context(
                forward(self.release, f"service/{self.release.fullname}-airflow", 8080)
            )
        except ClusterError as error:
            raise ClusterUnready(error.message) from error
        account = {"username": "admin", "password": secret["admin-password"].decode()}
        reply = requests.post(f"{self._url}/auth/token", json=account, timeout=_REQUEST_SECONDS)
        if not reply.ok:
            raise ClusterUnready(f"log-in failed: {reply.status_code} {reply.text[:300]}")
        self._token = str(reply.json()["access_token"])

    def address(self) -> tuple[str, str]:
        """Return its current address and the access token."""
        self.health()
        return self._url, self._token

    def start(self, dag: str, conf: Mapping[str, Any], run: str, day: str | None = None) -> str:
        """Start a run, unless one with this id exists; returns its id.

        Args:
            dag: the DAG's id.
            conf: its parameters; Airflow checks them against the DAG's schema.
            run: the run's id.
            day: its logical date, ``YYYY-MM-DD``.

        Raises:
            AirflowRefused: there is no such DAG, or a parameter is invalid.
        """
        document = {"dag_run_id": run, "logical_date": f"{day}T00:00:00Z" if day else None, "conf": dict(conf)}
        try:
            self.request("POST", f"/dags/{dag}/dagRuns", document)
        except AirflowRefused as error:
            if error.status != requests.codes.conflict:
                raise
        return run

    def health(self) -> dict[str, Any]:
        """Return the health of each part."""
        return self.request("GET", "/monitor/health")

    def run(self, dag: str, run: str) -> dict[str, Any]:
        """Return a run's document."""
        return self.request("GET", f"/dags/{dag}/dagRuns/{run}")

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Return the tasks of a run."""
        return list(self.request("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"])

    def log(self, dag: str, run: str, task: str, attempt: int) -> list[str]:
        """Return the log of a task's attempt as lines; a failure's causes follow in its own line."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}?full_content=true"
        content = self.request("GET", path).get("content", [])
        return [_log_line(item) if isinstance(item, dict) else str(item) for item in content]


class ClusterUnready(ClusterError):
    """Airflow does not answer: it starts, or its pod was replaced."""


class AirflowRefused(ClusterError):
    """Airflow refused the request, with this HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def reach_airflow(release: Release, patience_s: float | None = None) -> Iterator[AirflowClient]:
    """Connect to a release's Airflow for the time of the context; see `AirflowClient`.

    Raises:
        ClusterError: the release has no Airflow.
    """
    if not any(item["metadata"]["name"] == f"{release.fullname}-airflow-api" for item in release.get("deployments")):
        raise ClusterError(
            f"the release {release.name} in {release.namespace} has no Airflow",
            hint="make deploy AIRFLOW=1, or helm upgrade with airflow.enabled=true",
        )
    airflow = AirflowClient(release, patience_s)
    try:
        yield airflow
    finally:
        airflow.close()


def follow(airflow: AirflowClient, dag: str, run: str, report: Callable[[str, str, float], None]) -> dict[str, Any]:
    """Follow a run to its end.

    Args:
        airflow: the client.
        dag: the DAG's id.
        run: the run's id.
        report: called when a task's state changes, with the task, its state, and the seconds since its start.

    Returns:
        The run's document; its state is one of `FINISHED`.
    """
    reported: dict[str, str] = {}
    while True:
        document = airflow.run(dag, run)
        for task in sorted(airflow.tasks(dag, run), key=lambda item: str(item.get("start_date") or "~")):
            state = str(task["state"] or "waiting")
            shown = "running" if state in ("queued", "scheduled", "deferred") else state
            if shown != reported.get(task["task_id"]) and (shown != "waiting" or state in _TASK_FINISHED):
                report(task["task_id"], shown, float(task.get("duration") or 0.0))
                reported[task["task_id"]] = shown
        if document["state"] in FINISHED:
            return document
        time.sleep(_POLL_SECONDS)


def _log_line(line: Mapping[str, Any]) -> str:
    details = line.get("error_detail")
    causes = (
        [str(item.get("exc_value", "")) for item in details if isinstance(item, dict)]
        if isinstance(details, list)
        else []
    )
    return "\n".join((str(line.get("event", "")), *causes))


def _reason(reply: requests.Response) -> str:
    try:
        detail = reply.json()["detail"]
    except (ValueError, KeyError, TypeError):  # not Airflow's own reply: a proxy's, or another document
        return reply.text[:500]
    parts = detail if isinstance(detail, list) else [detail]
    return "; ".join(str(part.get("msg", part)) if isinstance(part, dict) else str(part) for part in parts)
