"""The way into a cluster: which one, which namespace, and its errors as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.errors import ConflictError, OrchardError

__all__ = ["ClusterConnection", "ClusterError", "ObjectMissing", "connect", "translated"]

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
REQUEST_SECONDS = 30


class ClusterError(OrchardError):
    """The cluster could not be reached, or refused what was asked."""


class ObjectMissing(ClusterError):
    """The cluster has no object of that name."""


@dataclass(frozen=True, slots=True)
class ClusterConnection:
    """A cluster's APIs and the namespace in it that is worked in."""

    core: Any
    batch: Any
    namespace: str

    def plain(self, found: Any) -> dict[str, Any]:
        """Return what the client gave as the document that the cluster holds: dictionaries, names in camelCase."""
        document: dict[str, Any] = self.core.api_client.sanitize_for_serialization(found)
        return document


def connect(namespace: str | None = None, context: str | None = None) -> ClusterConnection:
    """Connect as kubectl would: by the kubeconfig's context, or, in a pod, as its service account.

    Args:
        namespace: None: the context's, or the pod's own.
        context: of the kubeconfig; None: the current one.

    Raises:
        ClusterError: there is neither a kubeconfig nor a service account.
    """
    from kubernetes import client, config

    try:
        if context is None and _NAMESPACE_FILE.exists():
            config.load_incluster_config()
            own = _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
        else:
            config.load_kube_config(context=context)
            contexts, current = config.list_kube_config_contexts()
            chosen = next((item for item in contexts if item["name"] == context), current)
            own = chosen["context"].get("namespace", "default")
    except (config.ConfigException, OSError) as error:
        raise ClusterError(
            f"no cluster to talk to: {error}", hint="`kubectl config get-contexts` lists what is configured here"
        ) from error
    return ClusterConnection(client.CoreV1Api(), client.BatchV1Api(), namespace or own)


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turn the client's errors into ours.

    Args:
        what: what is being done, for the message: ``"making the Job train-7"``.

    Raises:
        ObjectMissing: 404.
        ConflictError: 409.
        ClusterError: any other refusal, or no answer.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        said = _said(error)
        if error.status == 404:
            raise ObjectMissing(f"{what}: {said}") from error
        if error.status == 409:
            raise ConflictError(f"{what}: {said}") from error
        hint = "your account lacks the right; the chart's README names it" if error.status in (401, 403) else ""
        raise ClusterError(f"{what}: the cluster refused it: {said}", hint=hint) from error
    except HTTPError as error:
        raise ClusterError(
            f"{what}: the cluster does not answer: {error}", hint="is it running? `kubectl get nodes` tells"
        ) from error


def _said(error: Any) -> str:
    """The API server's own sentence, out of its reply."""
    import json

    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
