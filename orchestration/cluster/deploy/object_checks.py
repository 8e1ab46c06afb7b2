"""What is wrong with a release's objects: gone, not bound, suspended, paused, or restarting again and again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orchestration.cluster.deploy.cluster_events import seconds_since
from orchestration.cluster.deploy.diagnosis import Diagnosis
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.kube_client import ClusterError
from orchestration.pod_status import statuses

__all__ = ["object_findings"]

_MANY_RESTARTS = 3
_RECENT_SECONDS = 600.0
_STUCK_SECONDS = 300.0


def object_findings(release: Release) -> Iterator[Diagnosis]:
    """Find objects that the chart made and that are gone, stopped by hand, or that the cluster cannot provide."""
    try:
        yield from _missing(release)
    except ClusterError as error:  # a resource type that was removed from the cluster, or rights that lack
        yield Diagnosis(f"the release's own objects cannot be read: {error.message}", "restore what the message names")
    for item in release.get("persistentvolumeclaims"):
        yield from _claim(release, item)
    for item in release.get("horizontalpodautoscalers"):
        yield from _autoscaler(item)
    for item in release.get("deployments,cronjobs,jobs"):
        yield from _stopped(release, item)
    for item in release.get("pods"):
        yield from _restarting(release, item)
        yield from _stuck(release, item)


def _missing(release: Release) -> Iterator[Diagnosis]:
    """Find objects of the release's manifest that somebody deleted. Jobs delete themselves after a while."""
    import yaml

    manifest = release.helm("get", "manifest", release.name)
    expected = {
        (document["kind"], document["metadata"]["name"])
        for document in yaml.safe_load_all(manifest)
        if document and document["kind"] != "Job"
    }
    found = json.loads(
        release.kubectl("get", "--filename=-", "--ignore-not-found", "--output=json", stdin=manifest) or "null"
    )
    items = found["items"] if found and found["kind"] == "List" else [found] if found else []
    for kind, name in sorted(expected - {(item["kind"], item["metadata"]["name"]) for item in items}):
        yield Diagnosis(
            f"the {kind} {name} is missing: somebody deleted it.",
            "make deploy, or helm upgrade, creates it again; restore what it held from a backup"
            if kind in ("PersistentVolumeClaim", "StatefulSet", "Secret")
            else "make deploy, or helm upgrade, creates it again",
        )


def _claim(release: Release, item: dict[str, Any]) -> Iterator[Diagnosis]:
    name, phase = item["metadata"]["name"], item.get("status", {}).get("phase", "Pending")
    describe = f"kubectl -n {release.namespace} describe pvc {name}"
    if phase == "Lost":
        yield Diagnosis(f"the volume of the claim {name} is lost: its data is gone.", f"restore a backup; {describe}")
    elif phase != "Bound":
        yield Diagnosis(
            f"the volume claim {name} is {phase}: no volume was provided.",
            f"name a StorageClass that this cluster has (kubectl get storageclass; values.yaml, storageClass); {describe}",
        )


def _autoscaler(item: dict[str, Any]) -> Iterator[Diagnosis]:
    for condition in item.get("status", {}).get("conditions", []):
        if condition["type"] in ("AbleToScale", "ScalingActive") and condition["status"] == "False":
            if condition.get("reason") == "ScalingDisabled":
                continue  # its workload is scaled to 0, which is reported
            yield Diagnosis(
                f"the autoscaler {item['metadata']['name']} does not scale: {condition.get('message', '')}",
                "install metrics-server in the cluster if it has none, or switch serving.autoscaling off",
            )


def _stopped(release: Release, item: dict[str, Any]) -> Iterator[Diagnosis]:
    """Find what somebody suspended or paused."""
    kind, name = item["kind"], item["metadata"]["name"]
    if kind == "Deployment" and item["spec"].get("paused"):
        yield Diagnosis(
            f"the rollout of the Deployment {name} is paused: changes wait.",
            f"kubectl -n {release.namespace} rollout resume deployment {name}",
        )
    elif (
        kind != "Deployment"
        and item["spec"].get("suspend")
        and seconds_since(item["metadata"].get("creationTimestamp")) > 60
    ):
        yield Diagnosis(
            f"the {kind} {name} is suspended: it starts nothing.",
            f'kubectl -n {release.namespace} patch {kind.lower()} {name} --patch \'{{"spec": {{"suspend": false}}}}\'',
        )


def _restarting(release: Release, pod: dict[str, Any]) -> Iterator[Diagnosis]:
    """Find containers that run now, but that end again and again. One that waits to be restarted is reported elsewhere."""
    for item in statuses(pod):
        before = item.get("lastState", {}).get("terminated", {})
        often = (
            item.get("restartCount", 0) >= _MANY_RESTARTS and seconds_since(before.get("finishedAt")) < _RECENT_SECONDS
        )
        if often and "waiting" not in item["state"] and before.get("reason") != "OOMKilled":
            name = pod["metadata"]["name"]
            yield Diagnosis(
                f"{name}, {item['name']} was restarted {item['restartCount']} times; it ended with code "
                f"{before.get('exitCode')} ({before.get('reason', 'no reason')}).",
                f"kubectl -n {release.namespace} logs {name} -c {item['name']} --previous shows why",
            )


def _stuck(release: Release, pod: dict[str, Any]) -> Iterator[Diagnosis]:
    """Find pods that should be gone; their deletion time has the grace period in it."""
    name, seconds = pod["metadata"]["name"], seconds_since(pod["metadata"].get("deletionTimestamp"))
    if _STUCK_SECONDS < seconds < float("inf"):
        yield Diagnosis(
            f"the pod {name} should have been gone {seconds / 60:.0f} minutes ago.",
            f"is its node there (kubectl get nodes)? What holds it: kubectl -n {release.namespace} get pod {name} "
            "--output=jsonpath={.metadata.finalizers}",
        )
