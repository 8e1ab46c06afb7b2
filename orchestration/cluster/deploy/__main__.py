"""`python -m orchestration.cluster.deploy`: what the Makefile's targets for the cluster run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli import main as run_command
from orchard.cli.verb import verb
from orchard.reporter import Reporter
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.registry_verbs import STORE_VERBS, store_verb
from orchestration.local.commands import display_path

if TYPE_CHECKING:
    from orchestration.cluster.deploy.deploy_loop import DeployResult

FOLDER = Path(".orchard/cluster")


def _with_release(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose the release; the function gets it as `release`."""

    @wraps(function)
    def command(reporter: Reporter, *, context: str, namespace: str, release: str, **options: Any) -> None:
        function(reporter, release=Release(context, namespace, release), **options)

    for name, default, what in (
        ("release", "orchard", "The Helm release."),
        ("namespace", "orchard", "Its namespace."),
        ("context", "kind-orchard", "The kubeconfig's context."),
    ):
        click.option(f"--{name}", default=default, show_default=True, help=what)(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def deploy() -> None:
    """Run the whole loop on a cluster."""


@verb(examples="make deploy\nmake deploy DATA=~/photos NAMESPACE=fruit")
@click.option("--data", help="A folder or tar of photos, or 'synthetic'.  [default: ../shared/data, else drawn photos]")
@click.option("--params", type=click.Path(dir_okay=False, path_type=Path), help="Parameters that replace the defaults.")
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE", help="A value for the chart.")
@click.option("--no-build", is_flag=True, help="Use the images that were pushed last.")
@click.option("--airflow", "with_airflow", is_flag=True, help="Install Airflow too.")
@_with_release
def up(
    reporter: Reporter,
    *,
    release: Release,
    data: str | None,
    params: Path | None,
    values: tuple[str, ...],
    no_build: bool,
    with_airflow: bool,
) -> None:
    """Create the cluster if there is none, build images, install the chart, ingest photos, train, and predict a photo."""
    from orchestration.cluster.deploy.checkout_deploy import deploy

    options = tuple(part for value in values for part in ("--set", value))
    folder = FOLDER.absolute() / release.namespace
    build = not no_build
    result = deploy(release, data=data, params=params, folder=folder, values=options, build=build, airflow=with_airflow)
    document = {"version": result.version, "predictions": result.predictions, "seconds": result.seconds}
    chosen = {"release": release.name, "namespace": release.namespace, "context": release.context}
    text = _next_commands(release, result)
    reporter.result({**document, **chosen}, text)


def _next_commands(release: Release, result: DeployResult) -> str:
    """Return what a person can do with the release, a command a line."""
    shown = display_path(Path(result.predictions[0]["path"]))
    chosen = "" if release.namespace == "orchard" else f" NAMESPACE={release.namespace}"
    if release.context not in ("kind-orchard", ""):
        chosen += f" CLUSTER={release.context.removeprefix('kind-')}"
    airflow = (
        ("make airflow", "Airflow's page, and how to log in"),
        ("make retrain", "a new version by Airflow, followed to its end"),
    )
    commands = (
        (f"make predict PHOTO={shown}", ""),
        ("make port-forward", "then call localhost:8501 (docs/calling.md)"),
        *(airflow if result.airflow else (("make deploy AIRFLOW=1", "retraining on schedule (docs/airflow.md)"),)),
        ("make runs", "runs with their gate verdicts; `make history`: who changed what is served"),
        ('make rollback WHY="…"', "the version before is served again"),
        ("make logs", "what sync and the model server log"),
        ("make doctor", "what is wrong, and what to do"),
        ("make undeploy", "removes all of it, with photos, models and keys"),
    )
    width = max(len(command) for command, _ in commands[1:]) + len(chosen)
    lines = [f"  {command + chosen:<{width}}  {what}".rstrip() for command, what in commands]
    return "\n".join(("", f"On the cluster in {sum(result.seconds.values()):.0f} s. Next:", *lines))


@verb(examples="make undeploy\nmake undeploy ALL=1")
@click.option("--all", "everything", is_flag=True, help="Remove the kind cluster and its registry too.")
@_with_release
def down(reporter: Reporter, *, release: Release, everything: bool) -> None:
    """Remove the release and all that it made; this deletes its photos, models and keys."""
    from orchestration.cluster.deploy.install import remove
    from orchestration.cluster.deploy.release import CHECKOUT, run

    if everything and release.context.startswith("kind-"):
        environment = {**os.environ, "CLUSTER": release.context.removeprefix("kind-")}
        run([str(CHECKOUT / "scripts/cluster"), "down"], environment=environment)
        removed = [f"the cluster of {release.context}"]
    else:
        removed = remove(release)
    reporter.result(
        {"removed": removed}, f"removed: {', '.join(removed)}" if removed else "there was nothing to remove"
    )


@verb(examples="make logs")
@_with_release
def logs(reporter: Reporter, *, release: Release) -> None:
    """Show what sync and the model server log, until Ctrl-C."""
    selector = f"--selector=app.kubernetes.io/instance={release.name},app.kubernetes.io/component=serving"
    command = release.kubectl_command(
        "logs", selector, "--all-containers", "--prefix", "--tail=40", "--follow", "--max-log-requests=40"
    )
    os.execvp(command[0], command)  # noqa: S606  kubectl replaces this process


@verb(examples="make evidence\nmake evidence DIR=/tmp/evidence")
@click.option("--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=FOLDER / "evidence")
@_with_release
def evidence(reporter: Reporter, *, release: Release, folder: Path) -> None:
    """Write all that the cluster knows about the release into a folder."""
    from orchestration.cluster.deploy.evidence import collect

    written = collect(release, folder)
    reporter.result({"files": [str(path) for path in written]}, f"{len(written)} files in {folder}")


@verb(examples="make port-forward\nmake port-forward PORT=9501")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="The port of this machine."
)
@_with_release
def port_forward(reporter: Reporter, *, release: Release, port: int) -> None:
    """Forward a port of this machine to the model server until Ctrl-C, also after its pod is replaced."""
    from orchestration.cluster.deploy.port_forward import keep_forwarding
    from orchestration.cluster.deploy.readiness import await_ready

    await_pod = partial(await_ready, release, "serving", reporter.note)
    for url in keep_forwarding(release, f"service/{release.fullname}-serving", 8501, port, await_pod):
        reporter.note(f"the model server is at {url}; Ctrl-C ends it")


@verb(examples="make airflow\nmake airflow PORT=9080")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="The port of this machine."
)
@_with_release
def airflow(reporter: Reporter, *, release: Release, port: int) -> None:
    """Forward a port of this machine to Airflow's page until Ctrl-C, and print how to log in."""
    from orchestration.cluster.deploy.airflow_client import password_command, reach_airflow
    from orchestration.cluster.deploy.port_forward import keep_forwarding
    from orchestration.cluster.deploy.readiness import await_ready
    from orchestration.cluster.deploy.retrain_run import AIRFLOW_SECONDS

    await_pod = partial(await_ready, release, "airflow-api", reporter.note, seconds=AIRFLOW_SECONDS)
    with reach_airflow(release):  # checks that it exists
        for url in keep_forwarding(release, f"service/{release.fullname}-airflow", 8080, port, await_pod):
            reporter.note(f"Airflow is at {url}, as admin; the password: {password_command(release)}\nCtrl-C ends it")


@verb(examples='make retrain\nmake retrain VERSION=3\nmake retrain PROFILE=short FORCE="trying the loop"')
@click.option(
    "--profile",
    help="full; or short, to try the loop: a few epochs, whose model the gate usually refuses.  "
    "[default: the chart's airflow.profile]",
)
@click.option("--dataset-version", help="A number, or latest.  [default: latest]")
@click.option("--force", metavar="REASON", help="Publish although the gate refuses; the reason is kept.")
@click.option("--run", help="The run's id; a run that exists already is followed.  [default: generated]")
@_with_release
def retrain(reporter: Reporter, *, release: Release, run: str | None, **options: str | None) -> None:
    """Let Airflow train a new version, and follow the run to its end.

    The exit code is 5 when the gate refused, and 1 when a task failed.
    """
    from orchestration.cluster.deploy.retrain_run import retrain as start

    result = start(release, {name: value for name, value in options.items() if value}, run, reporter)
    reporter.result(result.document, result.text)
    sys.exit(result.code)


@verb(examples="make predict PHOTO=photo.jpg")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO…")
@_with_release
def predict(reporter: Reporter, *, release: Release, photos: tuple[str, ...]) -> None:
    """Predict photos with the model server in the cluster."""
    from orchard.cli.predict import predict as predict_verb
    from orchestration.cluster.deploy.port_forward import forward
    from orchestration.cluster.deploy.readiness import await_ready

    await_ready(release, "serving", reporter.note)
    with forward(release, f"service/{release.fullname}-serving", 8501) as url:
        os.environ["ORCHARD_SERVER_URL"] = url
        predict_verb.main([*photos, *(["--json"] if reporter.as_json else [])], standalone_mode=False)


@verb(examples="make doctor")
@click.option(
    "--registry-port",
    type=int,
    default=5001,
    envvar="REGISTRY_PORT",
    show_default=True,
    help="The port of the registry on this machine.",
)
@_with_release
def doctor(reporter: Reporter, *, release: Release, registry_port: int) -> None:
    """List each fault of the deployment with its remedy; the exit code is 1 if there is any."""
    from dataclasses import asdict

    from orchestration.cluster.deploy.doctor import examine

    findings = examine(release, registry_port)
    text = "\n".join(f"- {item.wrong}\n  fix: {item.remedy}" for item in findings) or "no fault was found"
    reporter.result({"findings": [asdict(item) for item in findings]}, text)
    if findings:
        sys.exit(1)


_EXAMPLES = {
    "runs": "make runs\nmake runs RUN=deploy-0123456789ab",
    "versions": "make versions\nmake versions JSON=1 | jq '.versions[-1].metrics'",
    "history": "make history\nmake history CHANNEL=canary",
    "promote": "make promote TO=7 WHY='canary was fine'",
    "rollback": "make rollback WHY='takes plums for grapes'\nmake rollback TO=5 WHY=drill",
}
for _name, _lines in _EXAMPLES.items():
    deploy.add_command(
        store_verb(STORE_VERBS[_name], _lines, release="orchard", namespace="orchard", context="kind-orchard")
    )
for _command in (up, down, logs, evidence, port_forward, airflow, retrain, predict, doctor):
    deploy.add_command(_command)

if __name__ == "__main__":
    run_command(command=deploy)
