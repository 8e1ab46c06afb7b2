"""Our images, built and in the registry of the cluster, each named by its digest: a change in one rolls out."""

from __future__ import annotations

import requests

from orchestration.cluster.access import ClusterError
from orchestration.cluster.deploy.release import CHECKOUT, run

__all__ = ["references"]

_ACCEPTED = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


def references(registry: str, *, airflow: bool = False) -> dict[str, str]:
    """Name every image that the kind scenario runs as it lies in the registry.

    Args:
        registry: ``HOST:PORT``.
        airflow: whether Airflow runs too.

    Returns:
        By the chart's name for it, ``REGISTRY/NAME@sha256:…``.

    Raises:
        ClusterError: one was never pushed, or the registry does not answer.
    """
    text = (CHECKOUT / "images.env").read_text(encoding="utf-8")
    known = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    found = {}
    for name in ("training", "serving", "seaweedfs", *(("airflow", "postgres") if airflow else ())):
        image = f"{registry}/{known[f'{name.upper()}_IMAGE']}"
        found[name] = _digest(image, registry)
        if not found[name]:
            raise ClusterError(f"{image} was never pushed", hint=f"scripts/images --push {registry}")
    return found


def _inspect(image: str, form: str) -> str:
    try:
        return run(["docker", "image", "inspect", "--format", form, image]).strip()
    except ClusterError:
        return ""


def _digest(image: str, registry: str) -> str:
    """The image by its digest if the registry has it, else an empty text."""
    name = image.rpartition(":")[0]
    for line in _inspect(image, '{{join .RepoDigests "\\n"}}').splitlines():
        found, _, digest = line.partition("@")
        if found == name and _in_registry(registry, name.removeprefix(f"{registry}/"), digest):
            return line
    return ""


def _in_registry(registry: str, path: str, digest: str) -> bool:
    try:
        address = f"http://{registry}/v2/{path}/manifests/{digest}"
        return requests.head(address, headers={"Accept": _ACCEPTED}, timeout=10).ok
    except requests.RequestException as error:
        raise ClusterError(f"the registry {registry} does not answer", hint="scripts/cluster up starts it") from error
