"""Pods that a cluster refuses at admission: what its message means, and what to do. For the doctor, Jobs and Airflow."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["api_message", "is_temporary_refusal", "refusal_advice"]

_QUOTA = "exceeded quota"
_ADVICE = (
    (_QUOTA, "raise the ResourceQuota, or free some of it: kubectl describe quota shows both"),
    ("forbidden: maximum", "raise the LimitRange, or lower the chart's resources: kubectl describe limits shows it"),
    ("forbidden: minimum", "lower the LimitRange, or raise the chart's resources: kubectl describe limits shows it"),
    (
        "violates podsecurity",
        "the chart keeps the standard `restricted`: a value or a webhook adds what the message names",
    ),
    ("security context constraint", "set podSecurity.uid, gid and fsGroup to null: then the cluster chooses them"),
    ("admission webhook", "the named webhook decides: ask its owner, or change what it names"),
    ("serviceaccount", "the account is missing: helm upgrade creates it again"),
)


def api_message(error: Any) -> str:
    """Return the API server's own sentence from an `ApiException`."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def refusal_advice(message: str) -> str:
    """Return what to do about a pod that was refused, from the API server's message."""
    words = message.lower()
    return next((advice for part, advice in _ADVICE if part in words), "correct what the message names")


def is_temporary_refusal(status: int, message: str) -> bool:
    """Whether waiting may help: a quota that is used up, as a full node; a server that is busy or restarts."""
    return _QUOTA in message.lower() or status in (408, 409, 429) or status >= 500
