"""Releases for a single test: install the chart, publish a model, predict, remove the release."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from tests.e2e.timed_parts import timed
from tests.serving.model_registry import facts_of

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "orchard"
SMALL = (
    "serving.engine=orchard",  # not every machine can get tensorflow/serving
    "serving.resources.engine.requests.cpu=100m",
    "serving.resources.sync.requests.cpu=20m",
    "objectStore.resources.requests.cpu=50m",
)
"""So that several releases fit on a node of two cores, half of which the cluster itself requests."""


def chart_values(name: str) -> tuple[str, ...]:
    """Return helm's options for one of the chart's own examples of values."""
    return ("--values", str(CHART / "ci" / f"{name}-values.yaml"))


def name_on_nodes(cluster: str, references: dict[str, str]) -> None:
    """Tag the nodes' images with their names in images.env, which are the chart's defaults.

    Args:
        cluster: kind's name of the cluster.
        references: the reference by which each is pulled.
    """

    def name_on(node: str, name: str, reference: str) -> None:
        name_and_tag = image_versions()[f"{name.upper()}_IMAGE"]
        full = f"docker.io/{name_and_tag}" if "/" in name_and_tag else f"docker.io/library/{name_and_tag}"
        ctr = ["docker", "exec", node, "ctr", "--namespace=k8s.io", "images"]
        run([*ctr, "pull", "--hosts-dir=/etc/containerd/certs.d", reference], seconds=900)
        run([*ctr, "tag", "--force", reference, full])

    nodes = run(["kind", "get", "nodes", "--name", cluster]).split()
    with ThreadPoolExecutor() as pool:  # one core reads the large layer of one image
        for done in [pool.submit(name_on, node, *item) for node in nodes for item in references.items()]:
            done.result()


def remove_leftovers() -> None:
    """Remove the namespaces of these tests that the cluster has: an interrupted run could not."""
    anywhere = Release("kind-orchard", "default", "orchard")
    for item in anywhere.kubectl("get", "namespaces", "--output=name").split():
        if (name := item.removeprefix("namespace/")).startswith("orchard-e2e"):
            print(f"{name} is left from an interrupted run: removing it", file=sys.stderr)
            remove(Release(anywhere.context, name, anywhere.name))
            anywhere.kubectl("delete", item, "--ignore-not-found", "--timeout=300s", seconds=310)


@contextmanager
def released(name: str, *options: str, chart: Path = CHART) -> Iterator[Release]:
    """Install the chart into a namespace `orchard-e2e-NAME`, which is deleted when the context ends.

    Args:
        name: the namespace's.
        options: helm's.
        chart: a folder or an archive.
    """
    release = Release("kind-orchard", f"orchard-e2e-{name}", "orchard")
    remove(release)
    make_namespace(release)
    try:
        small = [part for value in SMALL for part in ("--set", value)]
        with timed(f"{name}: helm install"):
            release.helm("install", release.name, str(chart), *small, *options)
        yield release
    except BaseException:
        from tests.e2e.conftest import keep_evidence

        keep_evidence(release)
        raise
    finally:
        with timed(f"{name}: removed"):
            remove(release)


@contextmanager
def registry_of(release: Release) -> Iterator[Registry]:
    """The registry of a release, with the release's own keys."""
    with timed(f"{release.namespace}: installed"):
        await_installed(release)
    with reach(release, "publisher") as variables:
        settings = Settings(**{key.removeprefix("ORCHARD_").lower(): value for key, value in variables.items()})
        assert settings.signing_key_file is not None
        key = load_key(settings.signing_key_file)
        yield Registry(open_store(settings), MODEL, key.trusted, key)


def publish_model(registry: Registry, zoo: Path, name: str) -> int:
    """Publish one of the zoo's photo models; returns the version."""
    folder = zoo / "photos"
    return registry.publish(folder / name, facts_of(folder, name)).version


def release_model(release: Release, zoo: Path, name: str) -> int:
    """Publish one of the zoo's photo models and promote it; returns the version."""
    with timed(f"{release.namespace}: a model is promoted"), registry_of(release) as registry:
        version = publish_model(registry, zoo, name)
        registry.channel("stable").promote(version, ChangeIntent("e2e", f"the zoo's {name}"))
    return version


def await_ready(release: Release, part: str = "serving") -> None:
    """Wait until all expected pods of a Deployment are ready: the model server's, or the named part's."""
    with timed(f"{release.namespace}: {part} is ready"):
        release.kubectl("rollout", "status", f"deployment/{release.fullname}-{part}", "--timeout=600s", seconds=610)


def run_helm_test(release: Release) -> str:
    """Return the output of `helm test`: predictions of golden photos through the Service."""
    with timed(f"{release.namespace}: helm test"):
        return release.helm("test", release.name, "--logs", "--timeout=600s", seconds=610)


def check_predictions(release: Release, zoo: Path) -> None:
    """Publish and promote a version and predict its golden photos."""
    release_model(release, zoo, "one")
    await_ready(release)
    assert ": 0 of " in run_helm_test(release)


def documents(release: Release, *what: str) -> Any:
    """Return objects from kubectl, as a document."""
    return json.loads(release.kubectl("get", *what, "--output=json"))


def apply(release: Release, text: str) -> None:
    """Apply documents with kubectl."""
    release.kubectl("apply", "--filename=-", stdin=text)


def succeeds(*command: str) -> bool:
    """Whether a command ends with 0."""
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
