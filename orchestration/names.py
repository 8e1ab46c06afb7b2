"""Names that Kubernetes and the object store accept, derived from people's and schedulers' names."""

from __future__ import annotations

import hashlib
import re

__all__ = ["dns_name", "run_id"]

_MAX_LENGTH = 52  # a pod's name adds 6 characters to its Job's, a claim's name adds its volume's; the limit is 63


def dns_name(prefix: str, text: str) -> str:
    """Return a name for the text, unique and at most 52 characters long: lower-case letters, digits and hyphens.

    If the text had to be changed or cut, a digest of it makes the name unique.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = f"{prefix}-{slug}"
    if slug == text and len(name) <= _MAX_LENGTH:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[: _MAX_LENGTH - 9].rstrip('-')}-{digest}"


def run_id(dag_id: str, dag_run_id: str) -> str:
    """Return the run id of the verbs that a DAG run starts: the same for every task and every try.

    Args:
        dag_id: part of the name, because two DAGs may have runs of the same id.
        dag_run_id: Airflow's, such as ``scheduled__2026-11-24T03:00:00+00:00``.
    """
    return dns_name(re.sub(r"[^a-z0-9]+", "-", dag_id.lower()).strip("-"), dag_run_id)
