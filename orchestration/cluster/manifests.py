"""Builds a Job from a pod template of the chart: documents in, documents out, no cluster.

The template is a whole pod: one container for each verb, in order, each with the rights of its verb. The Job adds a name,
a run id, a number of retries, and a claim for every ephemeral volume. The claim belongs to the Job and not to a pod, so
that the next pod resumes from the checkpoint of a killed pod.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchard.errors import OrchardError, ParamsError
from orchard.overrides import read_yaml, set_by_path
from orchestration.names import dns_name
from orchestration.pod_status import FINAL

__all__ = ["JobPlan", "change_params", "claims", "job_manifest", "job_name", "new_run_id", "project_map", "steps"]

ANNOTATION = "orchard.job/"
PROJECT = "project"
"""The volume with params.yaml and schema.yaml."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """How a Job differs from its template.

    Attributes:
        name: the Job's name.
        environment: variables for every container.
        until: the last step; empty: all steps.
        arguments: additional arguments, by step.
        project: files for the volume `project`, by name; empty: the template's.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    until: str = ""
    arguments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    project: Mapping[str, str] = field(default_factory=dict)


def job_name(verb: str, release: str, run_id: str) -> str:
    """Return the name of a run's Job: always the same for a run, so that a second call finds it."""
    return dns_name(f"{release}-{verb}", run_id)


def new_run_id() -> str:
    """Return a unique run id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def steps(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a template's containers in the order in which they run."""
    spec = template["template"]["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def job_manifest(template: Mapping[str, Any], plan: JobPlan) -> dict[str, Any]:
    """Build the Job, suspended: it must not start before its volumes exist.

    Raises:
        OrchardError: the template has no such step.
    """
    pod = copy.deepcopy(dict(template["template"]))
    pod["spec"].pop("initContainers", None)
    containers = [_configure(container, plan) for container in _steps_until(template, plan.until)]
    pod["spec"] |= {"initContainers": containers[:-1], "containers": containers[-1:], "restartPolicy": "Never"}
    pod["spec"]["volumes"] = [_volume(volume, plan) for volume in pod["spec"].get("volumes", [])]
    pod["metadata"] = {name: pod.get("metadata", {}).get(name, {}) for name in ("labels", "annotations")}
    annotations = template["metadata"].get("annotations", {})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": plan.name,
            "labels": dict(pod["metadata"]["labels"]),
            # uninstalling the release deletes the Job, its pods and its claims
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "PodTemplate",
                    "name": template["metadata"]["name"],
                    "uid": template["metadata"]["uid"],
                }
            ],
        },
        "spec": {
            "suspend": True,
            "backoffLimit": int(annotations.get(f"{ANNOTATION}retries", 4)),
            "activeDeadlineSeconds": int(annotations.get(f"{ANNOTATION}deadline-seconds", 86400)),
            "ttlSecondsAfterFinished": int(annotations.get(f"{ANNOTATION}keep-seconds", 86400)),
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": list(FINAL)}},
                ]
            },
            "template": pod,
        },
    }


def _steps_until(template: Mapping[str, Any], last: str) -> list[dict[str, Any]]:
    containers = copy.deepcopy(steps(template))
    if not last:
        return containers
    names = [container["name"] for container in containers]
    if last not in names:
        raise OrchardError(f"there is no step {last!r}", hint=f"the steps are {', '.join(names)}")
    return containers[: names.index(last) + 1]


def _configure(container: dict[str, Any], plan: JobPlan) -> dict[str, Any]:
    others = [item for item in container.get("env", []) if item["name"] not in plan.environment]
    # first, because later variables may refer to them
    container["env"] = [
        *({"name": name, "value": _literal(value)} for name, value in plan.environment.items()),
        *others,
    ]
    if arguments := plan.arguments.get(container["name"], ()):
        container["args"] = [*container.get("args", []), *map(_literal, arguments)]
    return container


def _literal(text: str) -> str:
    """Return a text that Kubernetes, which replaces ``$(NAME)`` in arguments and variables, leaves as it is."""
    return text.replace("$", "$$")


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
    """Build the claims for the template's ephemeral volumes, with the Job as `owner`: they are deleted with it."""
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
    """Build the ConfigMap with the plan's project files, with the Job as `owner`: it is deleted with it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": plan.name, "labels": dict(labels), "ownerReferences": [dict(owner)]},
        "immutable": True,
        "data": dict(plan.project),
    }


def change_params(text: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of a params.yaml with some changes.

    Args:
        text: the file's text.
        overrides: ``KEY=VALUE``, the key with dots, the value as YAML.

    Raises:
        ParamsError: the text is not a YAML mapping, or has no such key.
    """
    params = read_yaml(text, "params.yaml")
    if not isinstance(params, dict):
        raise ParamsError("the parameters are not a mapping of sections")
    for override in overrides:
        set_by_path(params, override)
    return params
