"""Install the chart on a cluster, and remove it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from orchestration.cluster.deploy.release import Release
from orchestration.cluster.kube_client import ClusterError

__all__ = ["CHART", "await_installed", "current_values", "install", "make_namespace", "remove"]

CHART = (Path(__file__).parents[1] / "chart").resolve()
"""The chart: charts/orchard in a checkout, to which the folder is a link; in a wheel its copy."""

CREATED_LABEL = "orchard.deploy/made"
_NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels:
    {label}: "true"
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
"""


def install(release: Release, images: Mapping[str, str], values: Sequence[str] = ()) -> str:
    """Install or upgrade the chart, on kind in the kind scenario; creates the namespace if there is none.

    What the release's values already say is kept, whoever set it: they replace those of the scenario, and `values` replace
    both.

    Args:
        release: the release.
        images: whole references, by the chart's name for the image.
        values: more options for helm.

    Returns:
        What was installed, for people.

    Raises:
        ClusterError: helm failed, the store was not ready in time, a bootstrap Job failed, the release's name belongs
            to another chart, or `values` would remove a part that holds data.
    """
    kept = current_values(release)
    _refuse_to_delete(kept, values)
    make_namespace(release)
    for item in json.loads(release.helm("list", "--all", "--output=json")):
        if item["name"] == release.name and not item["chart"].startswith("orchard-"):
            raise ClusterError(
                f"{release.namespace} holds a release {release.name} of another chart, {item['chart']}",
                hint="choose another namespace: make deploy NAMESPACE=…",
            )
    scenario = ("--values", str(CHART / "ci" / "kind-values.yaml")) if release.context.startswith("kind-") else ()
    options = [part for name, image in images.items() for part in ("--set-string", f"images.{name}={image}")]
    with NamedTemporaryFile("w", encoding="utf-8", suffix=".json") as file:
        json.dump(kept, file)
        file.flush()
        release.helm(
            "upgrade", "--install", release.name, str(CHART), *scenario, "--values", file.name, *options, *values
        )
    await_installed(release)
    _refresh(release)
    revision = json.loads(release.helm("status", release.name, "--output=json"))["version"]
    return f"release {release.name} in {release.namespace}, revision {revision}"


def current_values(release: Release) -> dict[str, Any]:
    """Return the values that the release was installed with, without the chart's own; empty if there is no release."""
    listed = json.loads(release.helm("list", "--all", "--output=json"))
    if not any(item["name"] == release.name for item in listed):
        return {}
    return json.loads(release.helm("get", "values", release.name, "--output=json")) or {}


def _refuse_to_delete(kept: Mapping[str, Any], values: Sequence[str]) -> None:
    """Raise if new values switch off a part of the release that holds data."""
    for part, default, data in (("airflow", False, "Airflow's database"), ("objectStore", True, "photos and models")):
        enabled = kept and kept.get(part, {}).get("enabled", default)
        if enabled and any(f"{part}.enabled=false" in value for value in values):
            raise ClusterError(
                f"{part}.enabled=false would remove a part of the release that holds data: {data}",
                hint="`make undeploy` removes the release with its data",
            )


def await_installed(release: Release, seconds: int = 600) -> None:
    """Wait until the store is ready and the Jobs for keys and bucket have succeeded.

    Raises:
        ClusterError: the time is over.
    """
    limit, patience = f"--timeout={seconds}s", seconds + 10.0
    release.kubectl("rollout", "status", f"statefulset/{release.fullname}-store", limit, seconds=patience)
    for item in release.get("jobs"):
        if item["metadata"]["labels"]["app.kubernetes.io/component"] in ("keys", "bucket"):
            name = f"job/{item['metadata']['name']}"
            release.kubectl("wait", "--for=condition=Complete", name, limit, seconds=patience)


def make_namespace(release: Release) -> None:
    """Create the namespace if there is none: it enforces the Restricted standard, and `remove` deletes it."""
    if not _exists(release):
        release.kubectl("create", "--filename=-", stdin=_NAMESPACE.format(name=release.namespace, label=CREATED_LABEL))


def _refresh(release: Release) -> None:
    """Restart the store if the rights of its keys have changed since its start: it reads them only then."""
    (secret,) = release.get("secret", f"{release.fullname}-store-server", "--show-managed-fields")
    changed = max(str(item.get("time", "")) for item in secret["metadata"]["managedFields"])
    (pod,) = release.get("pod", f"{release.fullname}-store-0")
    started = min(str(item["state"]["running"]["startedAt"]) for item in pod["status"]["containerStatuses"])
    if started < changed:
        release.kubectl("rollout", "restart", f"statefulset/{release.fullname}-store")
        release.kubectl("rollout", "status", f"statefulset/{release.fullname}-store", "--timeout=240s", seconds=250)


def remove(release: Release) -> list[str]:
    """Remove the release and all that it created: Jobs, claims, Secrets, and the namespace if `install` created it.

    A namespace that holds something of somebody else stays, with all of that.

    Returns:
        What was removed; empty if there was nothing.
    """
    if not _exists(release):
        return []
    removed = []
    if any(item["name"] == release.name for item in json.loads(release.helm("list", "--all", "--output=json"))):
        release.helm("uninstall", release.name, "--wait", "--timeout=120s", seconds=150)
        removed.append(f"release {release.name}")
    selector = f"--selector=app.kubernetes.io/instance={release.name}"
    kinds = "jobs,pods,persistentvolumeclaims,secrets,configmaps"
    listed = release.kubectl("delete", kinds, selector, "--ignore-not-found", "--output=name", seconds=180)
    removed += listed.split()
    labels = release.get("namespace", release.namespace)[0]["metadata"].get("labels", {})
    if labels.get(CREATED_LABEL) == "true" and not _others(release):
        release.kubectl("delete", "namespace", release.namespace, "--timeout=120s", seconds=150)
        removed.append(f"namespace {release.namespace}")
    return removed


def _others(release: Release) -> list[str]:
    """Return what the namespace holds of other releases and people: a new namespace holds nothing of these kinds."""
    selector = f"--selector=app.kubernetes.io/instance!={release.name}"
    kinds = "deployments,statefulsets,daemonsets,jobs,cronjobs,pods,persistentvolumeclaims,services"
    listed = json.loads(release.helm("list", "--all", "--output=json"))
    found = release.kubectl("get", kinds, selector, "--output=name").split()
    return [*(item["name"] for item in listed if item["name"] != release.name), *found]


def _exists(release: Release) -> bool:
    return f"namespace/{release.namespace}" in release.kubectl("get", "namespaces", "--output=name").split()
