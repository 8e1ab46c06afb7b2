"""A Job put together from a pod template of the chart: documents in, documents out, no cluster.

The template is a whole pod: one container a verb, in order, each with the rights that its verb needs. What is added is
what makes it a Job of its own: a name, a run id, how often it is tried, and a claim for every ephemeral volume. A claim
belongs to the Job and not to one pod, so that the next pod resumes from the checkpoint of the one that was killed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchard.errors import OrchardError, ParamsError
from orchard.overrides import read_yaml, set_by_path
from orchestration.names import dns_name
from orchestration.pod_status import FINAL

__all__ = ["JobPlan", "change_params", "claims", "job_manifest", "job_name", "project_map", "steps"]

ANNOTATION = "orchard.job/"
PROJECT = "project"
"""The volume with params.yaml and schema.yaml."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What differs from the template.

    Attributes:
        name: the Job's name.
        environment: variables that every container gets.
        until: the last step; empty: all of them.
        arguments: added to a step's arguments, by step.
        project: files for the volume `project`, by name; empty: what the template says.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    until: str = ""
    arguments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    project: Mapping[str, str] = field(default_factory=dict)


def job_name(verb: str, release: str, run_id: str) -> str:
    """Name the Job of a run: the same run has the same name, so that a second call finds it.

    A run id may hold what a name may not; then a digest stands for the part that was changed or cut.
    """
    return dns_name(f"{release}-{verb}", run_id)


def steps(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a template's containers in the order in which they run."""
    spec = template["template"]["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def job_manifest(template: Mapping[str, Any], plan: JobPlan) -> dict[str, Any]:
    """Make the Job, suspended: it shall not start before what it mounts is there.

    Raises:
        OrchardError: the template has no such step.
    """
    pod = copy.deepcopy(dict(template["template"]))
    pod["spec"].pop("initContainers", None)
    chosen = [_with(container, plan) for container in _until(template, plan.until)]
    pod["spec"] |= {"initContainers": chosen[:-1], "containers": chosen[-1:], "restartPolicy": "Never"}
    pod["spec"]["volumes"] = [_volume(volume, plan) for volume in pod["spec"].get("volumes", [])]
    pod["metadata"] = {name: pod.get("metadata", {}).get(name, {}) for name in ("labels", "annotations")}
    notes = template["metadata"].get("annotations", {})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": plan.name,
            "labels": dict(pod["metadata"]["labels"]),
            # it goes, with its pods and its claim, when the release is uninstalled
            "ownerReferences": [{"apiVersion": "v1", "kind": "PodTemplate", **_identity(template)}],
        },
        "spec": {
            "suspend": True,
            "backoffLimit": int(notes.get(f"{ANNOTATION}retries", 4)),
            "activeDeadlineSeconds": int(notes.get(f"{ANNOTATION}deadline-seconds", 86400)),
            "ttlSecondsAfterFinished": int(notes.get(f"{ANNOTATION}keep-seconds", 86400)),
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": list(FINAL)}},
                ]
            },
            "template": pod,
        },
    }


def _identity(template: Mapping[str, Any]) -> dict[str, str]:
    return {name: template["metadata"][name] for name in ("name", "uid")}


def _until(template: Mapping[str, Any], last: str) -> list[dict[str, Any]]:
    containers = copy.deepcopy(steps(template))
    if not last:
        return containers
    names = [container["name"] for container in containers]
    if last not in names:
        raise OrchardError(f"there is no step {last!r}", hint=f"the steps are {', '.join(names)}")
    return containers[: names.index(last) + 1]


def _with(container: dict[str, Any], plan: JobPlan) -> dict[str, Any]:
    others = [item for item in container.get("env", []) if item["name"] not in plan.environment]
    # first: a later variable may refer to them
    container["env"] = [*({"name": name, "value": value} for name, value in plan.environment.items()), *others]
    more = plan.arguments.get(container["name"], ())
    if more:
        container["args"] = [*container.get("args", []), *more]
    return container


def _volume(volume: dict[str, Any], plan: JobPlan) -> dict[str, Any]:
    if "ephemeral" in volume:
        return {
            "name": volume["name"],
            "persistentVolumeClaim": {"claimName": f"{plan.name}-{volume['name']}"},
        }
    if volume["name"] == PROJECT and plan.project:
        return {"name": PROJECT, "configMap": {"name": plan.name}}
    return volume


def claims(template: Mapping[str, Any], plan: JobPlan, owner: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Make the claims for the template's ephemeral volumes; they go when their Job goes.

    Args:
        template: the template.
        plan: the Job's.
        owner: the owner reference to the Job.
    """
    labels = dict(template["template"].get("metadata", {}).get("labels", {}))
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": f"{plan.name}-{volume['name']}",
                "labels": labels,
                "ownerReferences": [dict(owner)],
            },
            "spec": volume["ephemeral"]["volumeClaimTemplate"]["spec"],
        }
        for volume in template["template"]["spec"].get("volumes", [])
        if "ephemeral" in volume
    ]


def project_map(plan: JobPlan, owner: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """Make the ConfigMap with the plan's project files; it goes when its Job goes."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": plan.name, "labels": dict(labels), "ownerReferences": [dict(owner)]},
        "immutable": True,
        "data": dict(plan.project),
    }


def change_params(text: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of a params.yaml with some of them changed.

    Args:
        text: the file's.
        overrides: ``KEY=VALUE``, the key with dots, the value as YAML.

    Raises:
        ParamsError: the text is not a YAML mapping, or a key is not in it.
    """
    params = read_yaml(text, "params.yaml")
    if not isinstance(params, dict):
        raise ParamsError("the parameters are not a mapping of sections")
    for override in overrides:
        set_by_path(params, override)
    return params
