"""`orchard deploy` and `orchard undeploy`: a project on a cluster, and off it again."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from orchard.cli.verb import verb
from orchard.errors import OrchardError
from orchard.reporter import Reporter
from orchestration.cli.loop_options import RELEASE, photos_option, release_options

if TYPE_CHECKING:
    from orchestration.cluster.deploy.deploy_loop import DeployResult
    from orchestration.cluster.deploy.release import Release

__all__ = ["deploy", "undeploy"]


@verb(
    group="Operate",
    extra="training,cluster",
    examples=(
        "orchard deploy                                        # the current context: kind, or where a registry is named\n"
        "orchard deploy --registry registry.example.org/team   # the project's image is pushed there\n"
        "orchard deploy --images registry.example.org/orchard  # Orchard's own images are there\n"
        "orchard deploy --context kind-dev --namespace trial --set serving.replicas=2\n"
        "orchard deploy --values production.yaml --photos ../more-photos"
    ),
)
@photos_option("the cluster's dataset")
@click.option(
    "--registry",
    metavar="REGISTRY",
    help="Where the project's image goes, as HOST/PATH; the cluster pulls from there.  "
    "[default: ORCHARD_IMAGE_REGISTRY; else the registry beside a local cluster, else the nodes of a kind cluster]",
)
@click.option(
    "--images",
    metavar="REPOSITORY",
    help="Where Orchard's own images are, as HOST/PATH.  [default: ORCHARD_IMAGES; else this machine's Docker, else REGISTRY]",
)
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE", help="A value for the chart.")
@click.option(
    "--values",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of values for the chart.",
)
@release_options("the project's name")
def deploy(
    reporter: Reporter,
    *,
    context: str | None,
    namespace: str | None,
    release: str,
    photos: Path | None,
    registry: str | None,
    images: str | None,
    values: tuple[str, ...],
    files: tuple[Path, ...],
) -> None:
    """Deploy a project on a cluster: its image, the chart, its photos, a training there, and a prediction.

    Runs in a project's folder; needs docker, kubectl, helm and a kubeconfig, and no checkout of Orchard. Builds the image of
    the project's Dockerfile on Orchard's training image, so that parameters, rules and code travel; brings it to where the
    cluster pulls from; installs or upgrades the chart, whose store is in the cluster; ingests the photos into that store;
    trains in a Job; waits until the version is served; and predicts a photo that training never saw. The project's name is
    that of the namespace, the dataset and the model.

    The same command again repeats no finished step. Without new photos, parameters, rules or code nothing is trained. What the
    release's values say is kept. If the gate refuses the model, the exit code is 5, and what was served is served still.

    Orchard's images are on no public registry: --images names where your team keeps those of this version.
    """
    from orchestration.cluster.deploy.project_deploy import deploy_project, project_release
    from orchestration.cluster.deploy.remedies import remedies_in_verbs
    from orchestration.local.commands import exit_on_signals

    options = (
        *(part for file in files for part in ("--values", str(file.absolute()))),
        *(part for value in values for part in ("--set", value)),
    )
    with exit_on_signals():
        where = project_release(context, namespace, release, "docker")
        with remedies_in_verbs(where):
            result = deploy_project(where, registry=registry, images=images, photos=photos, values=options)
    chosen = {"release": where.name, "namespace": where.namespace, "context": where.context}
    following = _next_commands(where, result, named=context is not None)
    document = {"version": result.version, "predictions": result.predictions, "seconds": result.seconds, **chosen}
    reporter.result({**document, "next": [command for command, _ in following]}, _text(result, following))


def _next_commands(release: Release, result: DeployResult, *, named: bool) -> list[tuple[str, str]]:
    """Return what a person can do with the release: a command and what it does.

    Args:
        release: the release.
        result: that of the deployment.
        named: whether the context was named: it may not be the current one.
    """
    from orchestration.local.commands import display_path

    context = f" --context {release.context}" if named else ""
    name = f" --release {release.name}" if release.name != RELEASE else ""
    where = f" -n {release.namespace}{context}"
    job = f"{where}{name}"
    photo = quote(display_path(Path(result.predictions[0]["path"])))
    return [
        (f"kubectl{where} port-forward service/{release.fullname}-serving 8501", "the model server at localhost:8501"),
        (f"orchard predict {photo}", "in another terminal, in this folder"),
        (f"orchard job versions{job}", "what was published; `orchard job runs`: runs with their gate verdicts"),
        (
            f'orchard job rollback{job} --why "…"',
            "the version before is served again; `orchard job history`: who changed what",
        ),
        (
            f"kubectl{where} logs deployment/{release.fullname}-serving --all-containers",
            "what sync and the model server log",
        ),
        (f"orchard doctor{job}", "what is wrong there, and what to do"),
        (f"orchard deploy{job}", "again, after a change of photos, parameters or code"),
        (f"orchard undeploy{job} --yes", "removes all of it, with photos, models and keys"),
    ]


def _text(result: DeployResult, commands: list[tuple[str, str]]) -> str:
    seconds = sum(result.seconds.values())
    lines = [line for command, what in commands for line in (f"  {command}", f"      {what}")]
    return "\n".join(("", f"On the cluster in {seconds:.0f} s: version {result.version} is served. Next:", *lines))


@verb(
    group="Operate",
    extra="cluster",
    examples="orchard undeploy --yes\norchard undeploy --namespace trial --context kind-dev --yes",
)
@click.option("--yes", is_flag=True, help="Delete; without it nothing is deleted.")
@release_options("the project's name")
def undeploy(reporter: Reporter, *, context: str | None, namespace: str | None, release: str, yes: bool) -> None:
    """Remove a release from a cluster with all that it made; this deletes its photos, models and keys.

    Without --namespace it runs in a project's folder, and removes the project's release. The namespace is deleted if `orchard
    deploy` created it and nothing else is in it. The project's folder and the images stay.
    """
    from orchestration.cluster.deploy.install import remove
    from orchestration.cluster.deploy.project_deploy import project_release
    from orchestration.cluster.deploy.remedies import remedies_in_verbs

    where = project_release(context, namespace, release)
    if not yes:
        raise OrchardError(
            f"this deletes the photos, models and keys of the release {where.name} in {where.namespace} on {where.context}; "
            "nothing was deleted",
            hint="the same command with --yes deletes them",
        )
    with remedies_in_verbs(where):
        removed = remove(where)
    reporter.result(
        {"removed": removed}, f"removed: {', '.join(removed)}" if removed else "there was nothing to remove"
    )
