"""The images in the cluster's registry, each named by its digest, so that a change rolls out."""

from __future__ import annotations

import requests

from orchestration.cluster.deploy.install import CHART
from orchestration.cluster.deploy.release import run
from orchestration.cluster.kube_client import ClusterError

__all__ = ["image_versions", "references"]

_ACCEPTED = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


def image_versions() -> dict[str, str]:
    """Return what images.env says: ``NAME:TAG`` by variable. The chart has a copy of it, in a wheel too."""
    lines = (CHART / "files" / "images.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def references(registry: str, *, airflow: bool = False) -> dict[str, str]:
    """Return the reference of every image that the kind scenario runs, by the chart's name for it.

    Args:
        registry: ``HOST:PORT``.
        airflow: whether Airflow runs too.

    Returns:
        ``REGISTRY/NAME@sha256:…`` for each.

    Raises:
        ClusterError: an image was never pushed, or the registry does not answer.
    """
    versions, digests = image_versions(), {}
    for name in ("training", "serving", "seaweedfs", *(("airflow", "postgres") if airflow else ())):
        image = f"{registry}/{versions[f'{name.upper()}_IMAGE']}"
        digests[name] = _digest(image, registry)
        if not digests[name]:
            raise ClusterError(f"{image} was never pushed", hint=f"scripts/images --push {registry}")
    return digests


def _inspect(image: str, form: str) -> str:
    try:
        return run(["docker", "image", "inspect", "--format", form, image]).strip()
    except ClusterError:
        return ""


def _digest(image: str, registry: str) -> str:
    """Return the image by its digest if the registry has it, else an empty string."""
    name = image.rpartition(":")[0]
    for line in _inspect(image, '{{join .RepoDigests "\\n"}}').splitlines():
        repository, _, digest = line.partition("@")
        if repository == name and _in_registry(registry, name.removeprefix(f"{registry}/"), digest):
            return line
    return ""


def _in_registry(registry: str, path: str, digest: str) -> bool:
    try:
        address = f"http://{registry}/v2/{path}/manifests/{digest}"
        return requests.head(address, headers={"Accept": _ACCEPTED}, timeout=10).ok
    except requests.RequestException as error:
        raise ClusterError(f"the registry {registry} does not answer", hint="scripts/cluster up starts it") from error
