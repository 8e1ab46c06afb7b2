"""Access to the store in the cluster from this machine, as one of its identities."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchard.files import atomic_write
from orchestration.cluster.deploy.port_forward import forward
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.kube_client import ClusterError

__all__ = ["reach"]


@contextmanager
def reach(release: Release, identity: str) -> Iterator[dict[str, str]]:
    """Forward a port to the store and write an identity's keys into a folder, for the time of the context.

    Args:
        release: the release.
        identity: ``ingest``, ``trainer``, ``publisher`` (with the signing key) or ``sync``.

    Yields:
        The ORCHARD_* variables for verbs.

    Raises:
        ClusterError: a Secret is missing, or the store is not ready.
    """
    signing = release.secret(f"{release.fullname}-signing")
    files = {
        "ORCHARD_STORE_CREDENTIALS_FILE": release.secret(f"{release.fullname}-store-{identity}")["credentials"],
        "ORCHARD_TRUSTED_KEYS_FILE": signing["trusted-keys.pem"],
    }
    if identity == "publisher":
        files["ORCHARD_SIGNING_KEY_FILE"] = signing["signing-key.pem"]
    with tempfile.TemporaryDirectory() as folder, forward(release, f"service/{release.fullname}-store", 8333) as url:
        variables = {"ORCHARD_STORE_URL": _bucket(release), "ORCHARD_STORE_ENDPOINT": url}
        for name, body in files.items():
            path = Path(folder, name.lower())
            atomic_write(path, body, mode=0o600)
            variables[name] = str(path)
        yield variables


def _bucket(release: Release) -> str:
    """Return the bucket's URL, from the model server's Deployment."""
    (deployment,) = release.get("deployment", f"{release.fullname}-serving")
    for container in deployment["spec"]["template"]["spec"].get("initContainers", []):
        for item in container.get("env", []):
            if item["name"] == "ORCHARD_STORE_URL":
                return str(item["value"])
    raise ClusterError(f"{release.fullname}-serving names no store", hint="is it a release of this chart?")
