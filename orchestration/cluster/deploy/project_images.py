"""The images of a project's deployment: Orchard's own, found; the project's, built on them; all brought to the cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchard.processes import ChildProcess
from orchestration.cluster.deploy.cluster_access import local_registry
from orchestration.cluster.deploy.images import image_versions
from orchestration.cluster.deploy.release import Release, run
from orchestration.cluster.kube_client import ClusterError
from orchestration.local.commands import CommandRunner, narrated

__all__ = ["BASE_ARGUMENT", "ImageTarget", "find_target", "project_references"]

BASE_ARGUMENT = "TRAINING_IMAGE"
"""The build argument of a project's Dockerfile that names the image it begins with."""

_DIGEST = re.compile(r"\bdigest: (sha256:[0-9a-f]{64})\b")
_INSPECT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ImageTarget:
    """From where the cluster gets images: a registry, or, if that is empty, the nodes of a kind cluster."""

    registry: str
    cluster: str = ""

    def __str__(self) -> str:
        return self.registry or f"the nodes of {self.cluster}"


def find_target(release: Release, registry: str) -> ImageTarget:
    """Return where the project's image goes: a named registry, that beside the cluster, or the nodes of a kind cluster.

    Raises:
        ClusterError: it is none of these.
    """
    if registry := registry or local_registry(release):
        return ImageTarget(registry)
    if not release.context.startswith("kind-"):
        raise ClusterError(
            f"the cluster of {release.context} needs a registry to pull the project's image from",
            hint="--registry REGISTRY names one to which this machine may push and from which the cluster pulls, as "
            "registry.example.org/team; or set ORCHARD_IMAGE_REGISTRY",
        )
    return ImageTarget("", release.context.removeprefix("kind-"))


def project_references(
    runner: CommandRunner, name: str, repository: str, target: ImageTarget
) -> tuple[dict[str, str], list[str]]:
    """Build the project's image and bring all images to the cluster.

    Args:
        runner: its folder has the Dockerfile.
        name: the project's.
        repository: where Orchard's images are, as ``registry.example.org/team``; this machine and the cluster pull from it.
            Empty: they are in this machine's Docker, or in the target's registry.
        target: from where the cluster gets them.

    Returns:
        Whole references, by the chart's name for the image, and a line on each for people. An image of others that is not
        on this machine is left out: the cluster pulls it under its own name.

    Raises:
        ClusterError: an image of Orchard is nowhere, or Docker failed.
    """
    images = _Images(runner, repository, target)
    training, serving, store = (image_versions()[f"{image}_IMAGE"] for image in ("TRAINING", "SERVING", "SEAWEEDFS"))
    base, engine = images.require(training), images.require(serving)  # both before a build of minutes
    references = {"training": images.build(name, base.tagged), "serving": images.bring(serving, engine)}
    if found := images.find(store):
        references["seaweedfs"] = images.bring(store, found)
    return references, images.results


@dataclass(frozen=True, slots=True)
class _FoundImage:
    """Where an image is: its name with the tag, and its name with the digest, empty where it is in this machine's Docker."""

    tagged: str
    pinned: str = ""


class _Images:
    """Finds, builds and sends images; `results` has a reference of each for people."""

    def __init__(self, runner: CommandRunner, repository: str, target: ImageTarget) -> None:
        self.runner = runner
        self.repository = repository
        self.target = target
        self.results: list[str] = []

    def find(self, image: str, *, ours: bool = False) -> _FoundImage | None:
        """Find an image: in the repository that was named, where ours have to be; in Docker; in the target's registry."""
        if self.repository and ((found := _in_registry(self.repository, image)) or ours):
            return found
        if _inspect(image, "{{.Id}}"):
            return _FoundImage(image)
        return _in_registry(self.target.registry, image) if self.target.registry else None

    def require(self, image: str) -> _FoundImage:
        """Find an image of Orchard."""
        if found := self.find(image, ours=True):
            return found
        if self.repository:
            raise ClusterError(
                f"{self.repository} has no image {image}, or this machine may not read it",
                hint=f"`docker manifest inspect {self.repository}/{image}` shows why; --images (ORCHARD_IMAGES) names where "
                "the images of this version of Orchard are",
            )
        raise ClusterError(
            f"Orchard's image {image} is neither in this machine's Docker nor in {self.target}",
            hint="--images REPOSITORY (or ORCHARD_IMAGES) names where your team keeps Orchard's images. To put them there, in a "
            "checkout of the same version: scripts/images --push REPOSITORY; `scripts/images` alone builds them for this machine",
        )

    def build(self, name: str, base: str) -> str:
        """Build the project's image, send it, and return its reference."""
        local = f"{name}-training"
        options = ("--progress=plain", "--tag", local, "--build-arg", f"{BASE_ARGUMENT}={base}")
        self._narrated(f"building {local}", ["docker", "build", *options, "."])
        return self._send(local, local)

    def bring(self, image: str, found: _FoundImage) -> str:
        """Return the reference by which the cluster gets an image; sends it if it is on this machine alone."""
        if not found.pinned:
            return self._send(image, _without_tag(image))
        self.results.append(found.tagged)
        return found.pinned

    def _send(self, local: str, name: str) -> str:
        """Send an image of this machine's Docker to the cluster, named by its content; returns its reference."""
        content = _inspect(local, "{{.Id}}").removeprefix("sha256:")[:12]
        reference = f"{self.target.registry}/{name}:{content}" if self.target.registry else f"{name}:{content}"
        run(["docker", "tag", local, reference])
        self.results.append(reference)
        if not self.target.registry:
            load = ["kind", "load", "docker-image", "--name", self.target.cluster, reference]
            self._narrated(f"loading {reference} onto {self.target}", load)
            return reference
        output = self._narrated(f"pushing {reference}", ["docker", "push", reference])
        digest = _DIGEST.findall(output)
        return f"{_without_tag(reference)}@{digest[-1]}" if digest else reference

    def _narrated(self, what: str, command: Sequence[str]) -> str:
        """Run a program, with a line every ten seconds; returns its output."""
        log = self.runner.logs / "images.log"
        log.unlink(missing_ok=True)
        environment = {**self.runner.environment, "DOCKER_BUILDKIT": "1"}
        with (
            ChildProcess(command, environment=environment, log=log, cwd=self.runner.folder) as child,
            narrated("images", lambda: f"{what}: {child.tail(1)}"),
        ):
            code = child.wait()
        output = log.read_text(encoding="utf-8", errors="replace")
        if code:
            raise ClusterError(f"{what} failed:\n{child.tail(15)}", hint=_advice(command[1], output, self.target))
        return output


def _advice(verb: str, output: str, target: ImageTarget) -> str:
    if verb == "build":
        return "correct the Dockerfile of this folder, or what it copies"
    host = target.registry.partition("/")[0]
    if re.search(r"denied|unauthorized|authentication|no basic auth", output):
        return f"this machine may not push to {target}: docker login {host}"
    return (
        f"does {host} answer? --registry names another one"
        if target.registry
        else "kind get nodes; df -h shows the disk"
    )


def _without_tag(image: str) -> str:
    """Return a reference without its tag; a port of the registry's address is none."""
    folder, slash, last = image.rpartition("/")
    return folder + slash + last.partition(":")[0]


def _inspect(image: str, form: str) -> str:
    try:
        return run(["docker", "image", "inspect", "--format", form, image]).strip()
    except ClusterError:
        return ""


def _in_registry(prefix: str, image: str) -> _FoundImage | None:
    """Find an image in a registry; None: it is not there, or may not be read."""
    reference = f"{prefix}/{image}"
    try:
        text = run(["docker", "manifest", "inspect", "--verbose", "--insecure", reference], seconds=_INSPECT_SECONDS)
    except ClusterError:
        return None
    document = json.loads(text)
    if isinstance(document, list):  # an image for several kinds of machines: Docker shows the digests of these alone
        return _FoundImage(reference, reference)
    return _FoundImage(reference, f"{_without_tag(reference)}@{document['Descriptor']['digest']}")
