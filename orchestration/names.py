"""Names that Kubernetes and the object store accept, made from those that people and schedulers give."""

from __future__ import annotations

import hashlib
import re

__all__ = ["dns_name", "run_id"]

_LONGEST = 52  # a pod's name adds 6 characters to its Job's, a claim's the name of its volume; 63 is the limit


def dns_name(prefix: str, text: str) -> str:
    """Make a name of lower-case letters, digits and hyphens, at most 52 of them; equal for equal arguments only.

    Args:
        prefix: what it begins with.
        text: what it is made from. Where the text had to be changed or cut, a digest of it makes the name unique.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = f"{prefix}-{slug}"
    if slug == text and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - 9].rstrip('-')}-{digest}"


def run_id(dag_id: str, dag_run_id: str) -> str:
    """Name the run of the verbs that a DAG run starts: the same for every task and every try of it.

    Args:
        dag_id: of the DAG. It is part of the name: two DAGs may have runs of the same id.
        dag_run_id: Airflow's, such as ``scheduled__2026-11-24T03:00:00+00:00``.
    """
    return dns_name(re.sub(r"[^a-z0-9]+", "-", dag_id.lower()).strip("-"), dag_run_id)
