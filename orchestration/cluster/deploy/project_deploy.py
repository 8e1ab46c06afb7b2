"""What `orchard deploy` adds to the loop: a project's image, its names, and its own photos. It needs no checkout."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import yaml

from orchard import settings
from orchard.errors import ParamsError, SettingsError
from orchard.project_name import project_name
from orchard.settings import Settings
from orchestration.cluster.deploy.cluster_access import require_cluster, require_packages, require_programs
from orchestration.cluster.deploy.deploy_loop import DeployPlan, DeployResult, run_loop
from orchestration.cluster.deploy.install import CHART, current_values
from orchestration.cluster.deploy.project_images import find_target, project_references
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.kube_client import ClusterError
from orchestration.local.commands import CommandRunner
from orchestration.local.photo_steps import step_environment
from orchestration.local.run_inputs import require_project

__all__ = ["deploy_project", "named_project", "project_release"]

DOCKERFILE = "Dockerfile"
LOGS = Path(".orchard/cluster/logs")
UNSEEN = ".orchard/unseen"
COMMAND = "orchard deploy"


def named_project() -> str:
    """Return the name of the project in the working folder: of its dataset and its model.

    Raises:
        ParamsError: the folder is not a project, or params.yaml does not name it.
    """
    require_project(Path())
    name = project_name(Path.cwd())
    if name is None:
        raise ParamsError(
            "params.yaml does not name the project: data.name is missing", hint="write `data: {name: …}` into it"
        )
    return name


def project_release(context: str | None, namespace: str | None, name: str, *programs: str) -> Release:
    """Return the release of the project in the working folder, whose cluster answers.

    Args:
        context: the kubeconfig's; None: the current one.
        namespace: its namespace; None: the project's name.
        name: its name.
        programs: what is needed besides kubectl and helm.

    Raises:
        ParamsError: the namespace is to be the project's name, and the working folder is not a project.
        ClusterError: a program is missing, or the cluster does not answer.
    """
    namespace = namespace or named_project()
    require_programs(*programs, "kubectl", "helm")
    return Release(require_cluster(context), namespace, name)


def deploy_project(
    release: Release,
    *,
    registry: str | None = None,
    images: str | None = None,
    photos: Path | None = None,
    values: tuple[str, ...] = (),
) -> DeployResult:
    """Deploy the project in the working folder and predict a photo with it; finished steps are not repeated.

    Args:
        release: the release.
        registry: where the project's image goes; None: ORCHARD_IMAGE_REGISTRY, else what the cluster has.
        images: where Orchard's images are; None: ORCHARD_IMAGES, else this machine or the cluster's registry.
        photos: the photos to ingest; None: those of ORCHARD_PHOTOS.
        values: more options for helm.

    Raises:
        OrchardError: something is missing, or a step failed; a verb's exit code is kept.
    """
    name, loaded = named_project(), settings.load()
    if not Path(DOCKERFILE).is_file():
        raise ParamsError(
            f"{Path.cwd()} has no {DOCKERFILE}: the project travels to the cluster in its image",
            hint="`orchard init` writes one of four lines; docs/project.md shows it",
        )
    require_packages()
    _require_own(release, name)
    photos = photos or loaded.photos
    if photos is not None and not photos.exists():
        raise SettingsError(f"there is no {photos}", hint="--photos (or ORCHARD_PHOTOS in .env) names the photos")
    runner = CommandRunner(Path.cwd(), _environment(name, loaded, photos), LOGS.absolute(), COMMAND)
    target = find_target(release, (registry or loaded.image_registry or "").rstrip("/"))
    runner.report("cluster", f"{release.context}, namespace {release.namespace}; images go to {target}", 0.0)
    with runner.timed("images") as results:
        repository = (images or loaded.images or "").rstrip("/")
        references, lines = project_references(runner, name, repository, target)
        results += lines
    names = ("--set-string", f"model={name}", "--set-string", f"dataset={name}")
    put = partial(runner.verb, "pull" if photos is None else "ingest")
    return run_loop(release, runner, DeployPlan(references, (*names, *values), put, UNSEEN))


def _require_own(release: Release, name: str) -> None:
    """Check that the release, if there is one, is this project's."""
    values = current_values(release)
    model = values.get("model") or yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["model"]
    if values and model != name:
        raise ClusterError(
            f"the release {release.name} in {release.namespace} is of another model, {model}: its versions would stay unserved",
            hint=f"--namespace NAME chooses another namespace; --release another release in {release.namespace}",
        )


def _environment(name: str, loaded: Settings, photos: Path | None) -> dict[str, str]:
    """Return the environment of the verbs: the store is the cluster's, whatever `.env` says of others."""
    environment = step_environment(name, name)
    kept = {"ORCHARD_PHOTOS": photos, "ORCHARD_LABELS": loaded.labels, "ORCHARD_ACTOR": loaded.actor}
    return {**environment, **{variable: str(value) for variable, value in kept.items() if value is not None}}
