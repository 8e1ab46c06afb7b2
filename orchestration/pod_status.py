"""How a verb's pod ended, and what to do about it: read from the pod's own document, for Jobs and Airflow alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FINAL", "SKIPPED", "PodResult", "obstacle", "read", "statuses"]

FINAL = (2, 3, 4, 5, 8, 10)
"""Exit codes that the same attempt again would end with too: command line, params, data, gate, signature, installation."""

SKIPPED = 99
"""The exit code of a verb that has nothing to do, or whose model was refused: no error, and nothing after it runs."""

_STUCK = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")

_AGAIN = "then clear the task: steps that are done are not repeated"
_IMAGE = (
    f"is the image's name right (images of the chart), does the image exist, and does the pull Secret fit? {_AGAIN}"
)
_CODES = {
    2: "the command line does not fit the image: are the DAGs and the training image of one release?",
    3: "correct params.yaml, data/schema.yaml or the ORCHARD_* setting that is named, then start a new run",
    4: "the photos were refused and nothing was written: correct what the report names, then start a new run",
    5: "the gate's page says which threshold was missed; to publish anyway, start a run with a reason in `force`",
    6: f"is the object store up, and may this pod's key do that? `make doctor` checks it; {_AGAIN}",
    7: f"somebody else changed the same thing first, {_AGAIN}",
    8: "bytes or a signature are not what was written: look at the object that is named before anything is published",
    9: f"the model server did not take the request: see its log, {_AGAIN}",
    10: "the image lacks the program of this verb: is it the training image of this release?",
    143: f"it was ended from outside (a kill, a drained node): {_AGAIN}",
}
_REASONS = {
    "OOMKilled": f"it needed more memory than its limit: raise the verb's resources in the chart, {_AGAIN}",
    "DeadlineExceeded": f"it ran into its pod's activeDeadlineSeconds: raise the verb's deadline in the chart, {_AGAIN}",
    "Evicted": f"its node had no room left: look at disk and memory there, {_AGAIN}",
    "Unschedulable": f"no node has room for it: free one, add one, or lower the verb's resources in the chart, {_AGAIN}",
    "FailedMount": f"a Secret or ConfigMap that it mounts is missing: make it, or correct its name in the chart, {_AGAIN}",
    "CreateContainerConfigError": f"a Secret or ConfigMap, or a key in it, is missing: make it, {_AGAIN}",
    "ErrImageNeverPull": _IMAGE,
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "InvalidImageName": _IMAGE,
}
_OTHERWISE = f"its output is above, {_AGAIN}"


@dataclass(frozen=True, slots=True)
class PodResult:
    """How a pod ended.

    Attributes:
        said: what happened, in the verb's own words where it had any.
        advice: what to do about it.
        code: the verb's exit code; None if it did not end by itself.
        final: whether the same again would end the same.
        links: keys of objects that show more, by what they are.
    """

    said: str
    advice: str
    code: int | None = None
    final: bool = False
    links: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.said}\nwhat to do: {self.advice}"


def statuses(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the states of a pod's containers, in the order in which they run; those that have none yet are left out."""
    status = pod.get("status", {})
    kinds = ("initContainerStatuses", "containerStatuses")
    known = {item["name"]: item for kind in kinds for item in status.get(kind) or []}
    spec = pod["spec"]
    names = [item["name"] for item in (*(spec.get("initContainers") or []), *spec["containers"])]
    return [known[name] for name in names if name in known]


def obstacle(pod: Mapping[str, Any]) -> str:
    """Return why a pod does not begin, as ``[CONTAINER: ]REASON: MESSAGE``; empty if nothing is known to be in its way."""
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
        warning: the newest warning among its events, as ``REASON: MESSAGE``: all that is known of a pod whose Secret is missing.
        container: the one that runs the verb.
    """
    state: dict[str, Any] = next((item["state"] for item in statuses(pod) if item["name"] == container), {})
    terminated, whole = state.get("terminated"), pod.get("status", {})
    if terminated is None:
        return _unended(pod, "running" in state, warning)
    code, reason = int(terminated["exitCode"]), whole.get("reason") or terminated.get("reason") or ""
    words, fix, links = _last_words(terminated.get("message") or "", code)
    if code in (0, SKIPPED):
        return PodResult(words or f"exit code {code}", _OTHERWISE, code, links=links)
    how = f"exit code {code}" + (f" ({reason})" if reason not in ("", "Error") else "")
    advice = _REASONS.get(reason) or fix or _CODES.get(code, _OTHERWISE)
    final = code in FINAL and reason not in _REASONS
    return PodResult(f"{words} ({how})" if words else how, advice, code, final, links)


def _unended(pod: Mapping[str, Any], running: bool, warning: str) -> PodResult:
    """Of a pod whose verb was still running, or never began. One that waited as long as it may is not tried again."""
    status = pod.get("status", {})
    if status.get("reason"):
        why, final = f"{status['reason']}: {status.get('message', '')}", False
    else:
        why = (
            obstacle(pod)
            or warning
            or ("it ran longer than it may" if running else "it was not ready to begin in time")
        )
        final = not any(name in why for name in ("ErrImagePull", "ImagePullBackOff"))  # a registry may come back
    advice = next((text for reason, text in _REASONS.items() if reason in why), _OTHERWISE)
    return PodResult(f"its pod {'was ended' if running else 'did not begin'}: {why}", advice, final=final)


def _last_words(message: str, code: int) -> tuple[str, str, dict[str, str]]:
    """Return what happened, what to do and what shows more: from a step's summary, or from the tail of a log.

    `orchard step` writes the summary (training/pipeline/step_summary.py); a verb that was killed leaves none.
    """
    try:
        document = json.loads(message)
        words, links = str(document["said"]), {str(name): str(key) for name, key in document["links"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return *_tail(message), {}
    what, arrow, fix = words.rpartition(" → ")
    return (what, fix, links) if arrow and code not in (0, SKIPPED) else (words, "", links)


def _tail(log: str) -> tuple[str, str]:
    """The last error of a log and its fix, else its last line."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if not errors:
        return (lines[-1].strip() if lines else ""), ""
    message, _, fix = "\n".join(lines[errors[-1] :]).removeprefix("error: ").partition("\n  fix: ")
    return message, fix
