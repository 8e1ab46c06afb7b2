"""Access to a cluster: which one, which namespace, a timeout for every request, and readable errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.errors import ConflictError, OrchardError
from orchestration.pod_refusals import api_message

__all__ = [
    "CONNECT_SECONDS",
    "STREAM_SECONDS",
    "ClusterConnection",
    "ClusterError",
    "ObjectMissing",
    "bounded_client",
    "connect",
    "translate_errors",
]

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
"""How long a request may take to connect, and how long the cluster may send nothing. A request is sent at most twice."""

STREAM_SECONDS = 60.0
"""How long a followed log may be silent before it is requested again."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ClusterError(OrchardError):
    """The cluster could not be reached, or refused a request."""


class ObjectMissing(ClusterError):
    """The cluster has no object of that name."""


@dataclass(frozen=True, slots=True)
class ClusterConnection:
    """A cluster's APIs and the namespace to work in. Every request has a timeout; see `bounded_client`."""

    core: Any
    batch: Any
    namespace: str

    def plain(self, model: Any) -> dict[str, Any]:
        """Convert an object of the client to the API's document: dictionaries, names in camelCase."""
        document: dict[str, Any] = self.core.api_client.sanitize_for_serialization(model)
        return document


def bounded_client(configuration: Any) -> Any:
    """Return a client for a `kubernetes.client.Configuration` whose requests have a timeout: by default they have none."""
    from kubernetes.client import ApiClient

    class BoundedClient(ApiClient):  # type: ignore[misc]  # the client has no types
        def call_api(self, *args: Any, _request_timeout: Any = None, **options: Any) -> Any:
            timeout = _request_timeout or (CONNECT_SECONDS, READ_SECONDS)
            return super().call_api(*args, _request_timeout=timeout, **options)

    configuration.retries = 1  # the client's default of 3 would double the time until an error
    return BoundedClient(configuration)


def connect(namespace: str | None = None, context: str | None = None) -> ClusterConnection:
    """Connect as kubectl would: by the kubeconfig's context, or, in a pod, as its service account.

    Args:
        namespace: None: the context's, or the pod's own.
        context: a name in the kubeconfig; None: the current context.

    Raises:
        ClusterError: there is neither a kubeconfig nor a service account.
    """
    from kubernetes import client, config

    try:
        if context is None and _NAMESPACE_FILE.exists():
            config.load_incluster_config()
            default = _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
        else:
            config.load_kube_config(context=context)
            contexts, current = config.list_kube_config_contexts()
            chosen = next((item for item in contexts if item["name"] == context), current)
            default = chosen["context"].get("namespace", "default")
    except (config.ConfigException, OSError) as error:
        raise ClusterError(
            f"no cluster is configured: {error}", hint="`kubectl config get-contexts` lists the configured clusters"
        ) from error
    api = bounded_client(client.Configuration.get_default_copy())
    return ClusterConnection(client.CoreV1Api(api), client.BatchV1Api(api), namespace or default)


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turn the client's errors into ours.

    Args:
        what: the operation, for the message: ``"creating the Job train-7"``.

    Raises:
        ObjectMissing: 404.
        ConflictError: 409.
        ClusterError: another error of the API, or no answer.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        message = api_message(error)
        if error.status == 404:
            raise ObjectMissing(f"{what}: {message}") from error
        if error.status == 409:
            raise ConflictError(f"{what}: {message}") from error
        hint = "your account lacks the permission; the chart's README lists it" if error.status in (401, 403) else ""
        raise ClusterError(f"{what}: the cluster refused it: {message}", hint=hint) from error
    except HTTPError as error:
        raise ClusterError(
            f"{what}: the cluster does not answer: {error}", hint="is it running? `kubectl get nodes` shows it"
        ) from error
