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


def known_images() -> dict[str, str]:
    """The names of images.env."""
    lines = (ROOT / "images.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def name_on_nodes(cluster: str, references: dict[str, str]) -> None:
    """Give images that nodes have pulled the names of images.env too: what the chart says where nothing else is said.

    Args:
        cluster: kind's name for it.
        references: what each is pulled by.
    """
    for node in run(["kind", "get", "nodes", "--name", cluster]).split():
        for name, reference in references.items():
            known = known_images()[f"{name.upper()}_IMAGE"]
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
    place = Release("kind-orchard", f"orchard-e2e-{name}", "orchard")
    remove(place)
    make_namespace(place)
    try:
        small = [part for value in SMALL for part in ("--set", value)]
        place.helm("install", place.release, str(chart), *small, *options)
        yield place
    except BaseException:
        from tests.e2e.conftest import keep_evidence

        keep_evidence(place)
        raise
    finally:
        remove(place)


def release_model(place: Release, zoo: Path, name: str) -> int:
    """Publish one of the zoo's photo models with the release's own keys and promote it; returns the version."""
    await_installed(place)
    with reach(place, "publisher") as found:
        settings = Settings(**{key.removeprefix("ORCHARD_").lower(): value for key, value in found.items()})
        assert settings.signing_key_file is not None
        store, key = open_store(settings), load_key(settings.signing_key_file)
        folder = zoo / "photos"
        registry = Registry(store, MODEL, key.trusted, key)
        version = registry.publish(folder / name, facts_of(folder, name)).version
        registry.channel("stable").promote(version, ChangeIntent("e2e", f"the zoo's {name}"))
    return version


def ready(place: Release) -> None:
    """Wait until all pods of the model server that shall be there are ready."""
    place.kubectl("rollout", "status", f"deployment/{place.fullname}-serving", "--timeout=600s", seconds=610)


def asked(place: Release) -> str:
    """What `helm test` says: golden photos asked through the Service."""
    return place.helm("test", place.release, "--logs", "--timeout=600s", seconds=610)


def documents(place: Release, *what: str) -> Any:
    """What kubectl says of something, as a document."""
    return json.loads(place.kubectl("get", *what, "--output=json"))


def apply(place: Release, text: str) -> None:
    """Give kubectl documents to apply."""
    place.kubectl("apply", "--filename=-", given=text)


def succeeds(*command: str) -> bool:
    """Whether a command ends with 0."""
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
