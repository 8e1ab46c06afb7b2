"""How a verb's pod ended, and what to do: read from the pod's document, for Jobs and for Airflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestration.pod_refusals import refusal_advice

__all__ = [
    "CODES",
    "FINAL",
    "REASONS",
    "SKIPPED",
    "PodResult",
    "last_error",
    "obstacle",
    "read",
    "refused",
    "statuses",
    "vanished",
]

FINAL = (2, 3, 4, 5, 8, 10)
"""Exit codes that a retry would repeat: command line, params, data, gate, signature, installation."""

SKIPPED = 99
"""The exit code of a verb that has nothing to do, or whose model was refused: no error, but no later step runs."""

_STUCK = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")

_CLEAR = "then clear the task: finished steps are not repeated"
_IMAGE = (
    f"is the image's name right (images of the chart), does the image exist, and is the pull Secret right? {_CLEAR}"
)
CODES = {
    1: f"its output has the cause; a full disk or a lost connection may be repaired, {_CLEAR}",
    2: "an option has a value that the verb does not take, which the message names: start a new run; if it names an unknown "
    "option, the DAGs and the training image are from different releases",
    3: "correct the named params.yaml, data/schema.yaml or ORCHARD_* setting, then start a new run",
    4: "what the step read is not as it needs it, and nothing was written: correct what the message names, then start a new run",
    5: "the gate's page shows which threshold was missed; to publish anyway, start a run with a reason in `force`",
    6: f"is the object store up, and does this pod's key have the right? `make doctor` checks it; {_CLEAR}",
    7: f"another process changed the same object first, {_CLEAR}",
    8: "bytes or a signature are not as written: inspect the named object before anything is published",
    9: f"the model server did not accept the request: see its log, {_CLEAR}",
    10: "the image lacks the packages of this verb: is it the training image of this release?",
    11: "a webhook receiver did not get its events: `orchard notify --list` shows why, `orchard notify --resend` sends them again",
    126: "the image cannot run the verb: is it the training image of this release?",
    127: "the image has no such program: is it the training image of this release?",
    137: f"it was killed, which its node or a person did: {_CLEAR}",
    143: f"it was stopped from outside (a kill, a drained node): {_CLEAR}",
}
"""What to do about a verb that ended with an exit code, where it gives no advice of its own."""

REASONS = {
    "OOMKilled": f"it needed more memory than its limit: raise the verb's resources in the chart, {_CLEAR}",
    "DeadlineExceeded": f"it ran longer than its pod's activeDeadlineSeconds: raise the verb's deadline in the chart, {_CLEAR}",
    "Evicted": f"its node ran out of disk or memory: check them, {_CLEAR}",
    "Unschedulable": f"no node has room for it: free one, add one, or lower the verb's resources in the chart, {_CLEAR}",
    "FailedMount": f"a Secret or ConfigMap that it mounts is missing: create it, or correct its name in the chart, {_CLEAR}",
    "CreateContainerConfigError": f"a Secret or ConfigMap, or a key in it, is missing: create it, {_CLEAR}",
    "ErrImageNeverPull": _IMAGE,
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "InvalidImageName": _IMAGE,
}
"""What to do about a pod that its cluster ended or did not start, by the reason."""

_DEFAULT = f"its output is above, {_CLEAR}"


@dataclass(frozen=True, slots=True)
class PodResult:
    """How a pod ended.

    Attributes:
        message: what happened, in the verb's own words if there are any.
        advice: what to do.
        code: the verb's exit code; None if it did not end by itself.
        final: whether a retry would end the same.
        links: keys of objects that show more, by name.
    """

    message: str
    advice: str
    code: int | None = None
    final: bool = False
    links: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.message}\nwhat to do: {self.advice}"


def vanished(name: str) -> PodResult:
    """Return the result of a pod that no longer exists, so that nobody knows how its verb ended."""
    return PodResult(
        f"its pod {name} was deleted from outside, before its end was read (kubectl delete, a node that was removed)",
        "nothing, if the next try succeeds: finished steps are not repeated. If it happens again, find out who deletes "
        "pods: `kubectl get events` and the cluster's audit log name them",
    )


def refused(message: str) -> PodResult:
    """Return the result of a pod that the cluster refused to create."""
    return PodResult(f"the cluster refused its pod: {message}", f"{refusal_advice(message)}, {_CLEAR}")


def statuses(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the states of a pod's containers, in the order in which they run, without those that have none yet."""
    status = pod.get("status", {})
    kinds = ("initContainerStatuses", "containerStatuses")
    known = {item["name"]: item for kind in kinds for item in status.get(kind) or []}
    spec = pod["spec"]
    names = [item["name"] for item in (*(spec.get("initContainers") or []), *spec["containers"])]
    return [known[name] for name in names if name in known]


def obstacle(pod: Mapping[str, Any]) -> str:
    """Return why a pod does not start, as ``[CONTAINER: ]REASON: MESSAGE``; empty if no reason is known."""
    for status in statuses(pod):
        waiting = status["state"].get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            return f"{status['name']}: {waiting['reason']}: {waiting.get('message', '')}".strip()
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}"
    return ""


def read(pod: Mapping[str, Any], *, warning: str = "", container: str = "base") -> PodResult:
    """Read how a pod ended.

    Args:
        pod: as the API returns it, in camelCase.
        warning: the newest warning among its events, as ``REASON: MESSAGE``: only this names a missing Secret.
        container: the container that runs the verb.
    """
    state: dict[str, Any] = next((item["state"] for item in statuses(pod) if item["name"] == container), {})
    terminated = state.get("terminated")
    if terminated is None:
        return _read_unfinished(pod, "running" in state, warning)
    code = int(terminated["exitCode"])
    reason = pod.get("status", {}).get("reason") or terminated.get("reason") or ""
    message, fix, links = _read_summary(terminated.get("message") or "", code)
    if code in (0, SKIPPED):
        return PodResult(message or f"exit code {code}", _DEFAULT, code, links=links)
    how = f"exit code {code}" + (f" ({reason})" if reason not in ("", "Error") else "")
    advice = REASONS.get(reason) or fix or CODES.get(code, _DEFAULT)
    final = code in FINAL and reason not in REASONS
    return PodResult(f"{message} ({how})" if message else how, advice, code, final, links)


def _read_unfinished(pod: Mapping[str, Any], running: bool, warning: str) -> PodResult:
    """Read a pod whose verb still ran, or never started. A pod that waited for its whole limit is not retried."""
    status = pod.get("status", {})
    if status.get("reason"):
        why, final = f"{status['reason']}: {status.get('message', '')}", False
    else:
        why = (
            obstacle(pod)
            or warning
            or ("it ran longer than its limit" if running else "it was not ready to start in time")
        )
        final = not any(name in why for name in ("ErrImagePull", "ImagePullBackOff"))  # a registry may recover
    advice = next((text for reason, text in REASONS.items() if reason in why), _DEFAULT)
    return PodResult(f"its pod {'was stopped' if running else 'did not start'}: {why}", advice, final=final)


def _read_summary(message: str, code: int) -> tuple[str, str, dict[str, str]]:
    """Return message, fix and links from a step's summary, or from the tail of a log.

    `orchard step` writes the summary (training/pipeline/step_summary.py); a killed verb leaves none.
    """
    try:
        document = json.loads(message)
        text, links = str(document["said"]), {str(name): str(key) for name, key in document["links"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return *last_error(message), {}
    what, arrow, fix = text.rpartition(" → ")
    return (what, fix, links) if arrow and code not in (0, SKIPPED) else (text, "", links)


def last_error(log: str) -> tuple[str, str]:
    """Return the last error of a log and its fix, else its last line."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if not errors:
        return (lines[-1].strip() if lines else ""), ""
    message, _, fix = "\n".join(lines[errors[-1] :]).removeprefix("error: ").partition("\n  fix: ")
    return message, fix
