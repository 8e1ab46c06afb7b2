"""The chart on a cluster and off it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from orchestration.cluster.access import ClusterError
from orchestration.cluster.deploy.release import CHECKOUT, Release

__all__ = ["await_installed", "install", "make_namespace", "remove"]

MADE = "orchard.deploy/made"
_NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels:
    {made}: "true"
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
"""


def install(place: Release, images: Mapping[str, str], values: Sequence[str] = ()) -> str:
    """Install the chart in the kind scenario or bring it up to date; the namespace is made if there is none.

    Args:
        place: the release.
        images: whole references, by the chart's name for the image.
        values: more options for helm.

    Returns:
        What was installed, for people.

    Raises:
        ClusterError: helm refused, the store or one of the bootstrap Jobs did not end well in time, or the release's
            name belongs to another chart.
    """
    make_namespace(place)
    for item in json.loads(place.helm("list", "--all", "--output=json")):
        if item["name"] == place.release and not item["chart"].startswith("orchard-"):
            raise ClusterError(
                f"{place.namespace} holds a release {place.release} of another chart, {item['chart']}",
                hint="choose another namespace: make deploy NAMESPACE=…",
            )
    chart = CHECKOUT / "charts" / "orchard"
    scenario = ("--values", str(chart / "ci" / "kind-values.yaml"))
    options = [part for name, image in images.items() for part in ("--set-string", f"images.{name}={image}")]
    place.helm("upgrade", "--install", place.release, str(chart), *scenario, *options, *values)
    await_installed(place)
    _refresh(place)
    revision = json.loads(place.helm("status", place.release, "--output=json"))["version"]
    return f"release {place.release} in {place.namespace}, revision {revision}"


def await_installed(place: Release, seconds: int = 600) -> None:
    """Wait until the store is ready and the Jobs that make keys and bucket have ended well.

    Raises:
        ClusterError: they were not in time.
    """
    limit, patience = f"--timeout={seconds}s", seconds + 10.0
    place.kubectl("rollout", "status", f"statefulset/{place.fullname}-store", limit, seconds=patience)
    for item in place.get("jobs"):
        if item["metadata"]["labels"]["app.kubernetes.io/component"] in ("keys", "bucket"):
            name = f"job/{item['metadata']['name']}"
            place.kubectl("wait", "--for=condition=Complete", name, limit, seconds=patience)


def make_namespace(place: Release) -> None:
    """Make the namespace if there is none: it enforces the Restricted standard, and `remove` takes it away."""
    if not _exists(place):
        place.kubectl("create", "--filename=-", given=_NAMESPACE.format(name=place.namespace, made=MADE))


def _refresh(place: Release) -> None:
    """Restart the store if the rights of its keys have changed since it began: it reads them only then."""
    (secret,) = place.get("secret", f"{place.fullname}-store-server", "--show-managed-fields")
    changed = max(str(item.get("time", "")) for item in secret["metadata"]["managedFields"])
    (pod,) = place.get("pod", f"{place.fullname}-store-0")
    begun = min(str(item["state"]["running"]["startedAt"]) for item in pod["status"]["containerStatuses"])
    if begun < changed:
        place.kubectl("rollout", "restart", f"statefulset/{place.fullname}-store")
        place.kubectl("rollout", "status", f"statefulset/{place.fullname}-store", "--timeout=240s", seconds=250)


def remove(place: Release) -> list[str]:
    """Remove the release and all that it made: Jobs, claims, Secrets, and the namespace if `install` made it.

    Returns:
        What was removed; empty if there was nothing.
    """
    if not _exists(place):
        return []
    gone = []
    if any(item["name"] == place.release for item in json.loads(place.helm("list", "--all", "--output=json"))):
        place.helm("uninstall", place.release, "--wait", "--timeout=120s", seconds=150)
        gone.append(f"release {place.release}")
    selector = f"--selector=app.kubernetes.io/instance={place.release}"
    kinds = "jobs,pods,persistentvolumeclaims,secrets,configmaps"
    listed = place.kubectl("delete", kinds, selector, "--ignore-not-found", "--output=name", seconds=180)
    gone += listed.split()
    labels = place.get("namespace", place.namespace)[0]["metadata"].get("labels", {})
    if labels.get(MADE) == "true":
        place.kubectl("delete", "namespace", place.namespace, "--timeout=120s", seconds=150)
        gone.append(f"namespace {place.namespace}")
    return gone


def _exists(place: Release) -> bool:
    return f"namespace/{place.namespace}" in place.kubectl("get", "namespaces", "--output=name").split()
