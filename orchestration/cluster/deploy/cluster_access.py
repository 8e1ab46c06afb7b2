"""What `orchard deploy` needs of this machine and of the cluster, looked at before anything is built."""

from __future__ import annotations

import json
import shutil

import yaml

from orchard.errors import MissingExtra, install_hint
from orchestration.cluster.deploy.release import Release, run
from orchestration.cluster.kube_client import ClusterError
from orchestration.local.machine_checks import missing_packages

__all__ = ["local_registry", "require_cluster", "require_packages", "require_programs"]

INSTALL = {
    "docker": "https://docs.docker.com/engine/install",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
    "helm": "https://helm.sh/docs/intro/install",
}
"""The programs, and where their makers say how to install them."""

EXTRAS = ("training", "cluster")
"""What ingests photos, and what starts the training Job."""

READY_SECONDS = 20.0


def require_packages() -> None:
    """Check that the packages of the verbs that a deployment runs are installed.

    Raises:
        MissingExtra: the message names all that are missing.
    """
    missing = [package for extra in EXTRAS for package in missing_packages(extra)]
    if missing:
        raise MissingExtra(
            f"packages are not installed: {', '.join(dict.fromkeys(missing))}", hint=install_hint(",".join(EXTRAS))
        )


def require_programs(*names: str) -> None:
    """Check that programs are here, and that Docker answers if it is one of them.

    Args:
        names: of `INSTALL`.

    Raises:
        ClusterError: the message names all that are missing.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise ClusterError(
            f"not on the PATH: {', '.join(missing)}",
            hint="install " + "; ".join(f"{name}: {INSTALL[name]}" for name in missing),
        )
    if "docker" not in names:
        return
    try:
        run(["docker", "info"], seconds=READY_SECONDS)
    except ClusterError as error:
        raise ClusterError(
            "Docker is stopped, or you may not use it",
            hint="start it: systemctl start docker; `docker info` shows more",
        ) from error


def require_cluster(context: str | None) -> str:
    """Return the kubeconfig's context to use, whose cluster answers.

    Args:
        context: its name; None: the current one.

    Raises:
        ClusterError: there is no such context, or its cluster does not answer.
    """
    known = run(["kubectl", "config", "get-contexts", "--output=name"]).split()
    one = "`kind create cluster` makes a cluster on this machine (https://kind.sigs.k8s.io)"
    if not known:
        raise ClusterError("no kube context is configured: there is no cluster to deploy to", hint=one)
    if context is None:
        try:
            context = run(["kubectl", "config", "current-context"]).strip()
        except ClusterError as error:
            raise ClusterError(
                "the kubeconfig has no current context",
                hint=f"--context names one of {', '.join(known)}; or `kubectl config use-context NAME`",
            ) from error
    if context not in known:
        raise ClusterError(
            f"the kubeconfig has no context {context}", hint=f"--context names one of {', '.join(known)}; {one}"
        )
    try:
        run(
            ["kubectl", "--context", context, "--request-timeout=10s", "get", "--raw", "/readyz"], seconds=READY_SECONDS
        )
    except ClusterError as error:
        raise ClusterError(
            f"the cluster of the context {context} does not answer", hint=f"kubectl --context {context} cluster-info"
        ) from error
    return context


def local_registry(release: Release) -> str:
    """Return the registry beside a local cluster, as ``localhost:5001``; empty: the cluster names none.

    kind, k3d and others name it in the ConfigMap `local-registry-hosting` (KEP-1755).
    """
    what = (
        "get",
        "configmap",
        "local-registry-hosting",
        "--namespace=kube-public",
        "--ignore-not-found",
        "--output=json",
    )
    try:
        text = run(["kubectl", "--context", release.context, *what])
    except ClusterError:  # on a team's cluster one may not look there
        return ""
    if not text.strip():
        return ""
    document = yaml.safe_load(json.loads(text).get("data", {}).get("localRegistryHosting.v1", "")) or {}
    return str(document.get("host", "")) if isinstance(document, dict) else ""
