"""Releases of their own for a test: the chart installed, a model published into it, asked, and removed again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchard.registry.channels import ChangeIntent
from orchard.registry.registry import Registry
from orchard.settings import Settings
from orchard.signing import load_key
from orchard.store import open_store
from orchestration.cluster.deploy.images import image_versions
from orchestration.cluster.deploy.install import await_installed, make_namespace, remove
from orchestration.cluster.deploy.release import Release, run
from orchestration.cluster.deploy.store_access import reach
from tests.e2e.service_traffic import MODEL
from tests.serving.model_registry import facts_of

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "orchard"
SMALL = (
    "serving.engine=orchard",  # tensorflow/serving cannot be had on every machine
    "serving.resources.engine.requests.cpu=100m",
    "serving.resources.sync.requests.cpu=20m",
    "objectStore.resources.requests.cpu=50m",
)
"""So that several releases fit on a node of two cores, half of which the cluster itself asks for."""


def name_on_nodes(cluster: str, references: dict[str, str]) -> None:
    """Give images that nodes have pulled the names of images.env too: what the chart says where nothing else is said.

    Args:
        cluster: kind's name for it.
        references: what each is pulled by.
    """
    for node in run(["kind", "get", "nodes", "--name", cluster]).split():
        for name, reference in references.items():
            known = image_versions()[f"{name.upper()}_IMAGE"]
            full = f"docker.io/{known}" if "/" in known else f"docker.io/library/{known}"
            ctr = ["docker", "exec", node, "ctr", "--namespace=k8s.io", "images"]
            run([*ctr, "pull", "--hosts-dir=/etc/containerd/certs.d", reference], seconds=900)
            run([*ctr, "tag", "--force", reference, full])


@contextmanager
def released(name: str, *options: str, chart: Path = CHART) -> Iterator[Release]:
    """Install the chart into a namespace `orchard-e2e-NAME`, which is gone when the context ends.

    Args:
        name: of the namespace.
        options: for helm.
        chart: a folder or an archive.
    """
    release = Release("kind-orchard", f"orchard-e2e-{name}", "orchard")
    remove(release)
    make_namespace(release)
    try:
        small = [part for value in SMALL for part in ("--set", value)]
        release.helm("install", release.name, str(chart), *small, *options)
        yield release
    except BaseException:
        from tests.e2e.conftest import keep_evidence

        keep_evidence(release)
        raise
    finally:
        remove(release)


def release_model(release: Release, zoo: Path, name: str) -> int:
    """Publish one of the zoo's photo models with the release's own keys and promote it; returns the version."""
    await_installed(release)
    with reach(release, "publisher") as found:
        settings = Settings(**{key.removeprefix("ORCHARD_").lower(): value for key, value in found.items()})
        assert settings.signing_key_file is not None
        store, key = open_store(settings), load_key(settings.signing_key_file)
        folder = zoo / "photos"
        registry = Registry(store, MODEL, key.trusted, key)
        version = registry.publish(folder / name, facts_of(folder, name)).version
        registry.channel("stable").promote(version, ChangeIntent("e2e", f"the zoo's {name}"))
    return version


def ready(release: Release) -> None:
    """Wait until all pods of the model server that shall be there are ready."""
    release.kubectl("rollout", "status", f"deployment/{release.fullname}-serving", "--timeout=600s", seconds=610)


def asked(release: Release) -> str:
    """What `helm test` says: golden photos asked through the Service."""
    return release.helm("test", release.name, "--logs", "--timeout=600s", seconds=610)


def documents(release: Release, *what: str) -> Any:
    """What kubectl says of something, as a document."""
    return json.loads(release.kubectl("get", *what, "--output=json"))


def apply(release: Release, text: str) -> None:
    """Give kubectl documents to apply."""
    release.kubectl("apply", "--filename=-", stdin=text)


def succeeds(*command: str) -> bool:
    """Whether a command ends with 0."""
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
