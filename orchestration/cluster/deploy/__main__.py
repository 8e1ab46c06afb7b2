"""`python -m orchestration.cluster.deploy`: what the Makefile's targets for the cluster run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from orchard.cli import main as run_command
from orchard.cli.verb import verb
from orchard.reporter import Reporter
from orchestration.cluster.deploy.release import Release
from orchestration.local.photo_steps import display_path

FOLDER = Path(".orchard/cluster")


def _placed(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose the release."""
    for name, default, what in (
        ("release", "orchard", "The Helm release."),
        ("namespace", "orchard", "Its namespace."),
        ("context", "kind-orchard", "The kubeconfig's context."),
    ):
        command = click.option(f"--{name}", default=default, show_default=True, help=what)(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def deploy() -> None:
    """The whole loop on a cluster."""


@verb(examples="make deploy\nmake deploy DATA=~/photos NAMESPACE=fruit")
@click.option("--data", help="A folder or tar of photos, or 'synthetic'.  [default: ../shared/data, else drawn photos]")
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE", help="A value for the chart.")
@click.option("--no-build", is_flag=True, help="Run the images that were pushed last.")
@click.option("--airflow", "with_airflow", is_flag=True, help="Airflow too, which then runs the loop.")
@_placed
def up(
    reporter: Reporter, *, data: str | None, values: tuple[str, ...], no_build: bool, with_airflow: bool, **where: str
) -> None:
    """Cluster if there is none, images, chart, photos, a training Job, the version live, a photo predicted."""
    from orchestration.cluster.deploy.deploy_loop import deploy

    place = Release(**where)
    options = tuple(part for value in values for part in ("--set", value))
    folder = FOLDER.absolute() / place.namespace
    done = deploy(place, data=data, folder=folder, values=options, build=not no_build, airflow=with_airflow)
    document = {"version": done.version, "predictions": done.predictions, "seconds": done.seconds}
    reporter.result({**document, **where}, _ending(done.predictions[0]["path"], sum(done.seconds.values()), where))


def _ending(photo: str, seconds: float, where: dict[str, str]) -> str:
    shown = display_path(Path(photo))
    more = "" if where["namespace"] == "orchard" else f" NAMESPACE={where['namespace']}"
    return "\n".join(
        (
            "",
            f"On the cluster in {seconds:.0f} s. Next:",
            f"  make predict PHOTO={shown}{more}",
            f"  make port-forward{more}             then call localhost:8501 (docs/calling.md)",
            f"  make logs{more}                     what sync and the model server log; `make undeploy{more}` removes all",
        )
    )


@verb(examples="make undeploy\nmake undeploy ALL=1")
@click.option("--all", "everything", is_flag=True, help="The kind cluster and its registry too.")
@_placed
def down(reporter: Reporter, *, everything: bool, **where: str) -> None:
    """Remove the release and all that it made; photos, models and keys in it are gone then."""
    from orchestration.cluster.deploy.install import remove
    from orchestration.cluster.deploy.release import CHECKOUT, run

    place = Release(**where)
    if everything and place.context.startswith("kind-"):
        environment = {**os.environ, "CLUSTER": place.context.removeprefix("kind-")}
        run([str(CHECKOUT / "scripts/cluster"), "down"], environment=environment)
        gone = [f"the cluster of {place.context}"]
    else:
        gone = remove(place)
    reporter.result({"removed": gone}, f"removed: {', '.join(gone)}" if gone else "there was nothing to remove")


@verb(examples="make logs")
@_placed
def logs(reporter: Reporter, **where: str) -> None:
    """Show what sync and the model server log, until Ctrl-C."""
    place = Release(**where)
    selector = f"--selector=app.kubernetes.io/instance={place.release},app.kubernetes.io/component=serving"
    command = place.kubectl_command(
        "logs", selector, "--all-containers", "--prefix", "--tail=40", "--follow", "--max-log-requests=40"
    )
    os.execvp(command[0], command)  # noqa: S606  it is kubectl from here on


@verb(examples="make evidence\nmake evidence DIR=/tmp/evidence")
@click.option("--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=FOLDER / "evidence")
@_placed
def evidence(reporter: Reporter, *, folder: Path, **where: str) -> None:
    """Write all that the cluster knows about the release into a folder."""
    from orchestration.cluster.deploy.evidence import collect

    written = collect(Release(**where), folder)
    reporter.result({"files": [str(path) for path in written]}, f"{len(written)} files in {folder}")


@verb(examples="make port-forward\nmake port-forward PORT=9501")
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="Of this machine.")
@_placed
def port_forward(reporter: Reporter, *, port: int, **where: str) -> None:
    """Bring the model server to a port of this machine until Ctrl-C; it comes again when its pod goes."""
    from orchestration.cluster.deploy.port_forward import keep_forwarding

    place = Release(**where)
    for url in keep_forwarding(place, f"service/{place.fullname}-serving", 8501, port):
        reporter.note(f"the model server is at {url}; Ctrl-C ends it")


@verb(examples="make airflow\nmake airflow PORT=9080")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Of this machine.")
@_placed
def airflow(reporter: Reporter, *, port: int, **where: str) -> None:
    """Bring Airflow's page to a port of this machine until Ctrl-C, and say how to log in."""
    from orchestration.cluster.deploy.airflow_client import password_command, reach_airflow
    from orchestration.cluster.deploy.port_forward import keep_forwarding

    place = Release(**where)
    with reach_airflow(place):  # it is there
        for url in keep_forwarding(place, f"service/{place.fullname}-airflow", 8080, port):
            reporter.note(f"Airflow is at {url}, as admin; the password: {password_command(place)}\nCtrl-C ends it")


@verb(examples='make retrain\nmake retrain PROFILE=short VERSION=3 FORCE="the new class is worth it"')
@click.option("--profile", help="full or short.  [default: the chart's airflow.profile]")
@click.option("--dataset-version", help="A number, or latest.  [default: latest]")
@click.option("--force", metavar="REASON", help="Publish although the gate refuses; the reason is kept.")
@click.option("--run", help="The run's id; of one that is there already: follow it.  [default: made up]")
@_placed
def retrain(reporter: Reporter, *, run: str | None, **options: str | None) -> None:
    """Let Airflow train a new version, and follow the run to its end.

    Ends with 5 when the gate refused, and with 1 when a task failed.
    """
    from orchestration.cluster.deploy.retrain_run import retrain as begin

    place = Release(**{name: str(options.pop(name)) for name in ("release", "namespace", "context")})
    found = begin(place, {name: value for name, value in options.items() if value}, run, reporter)
    reporter.result(found.document, found.text)
    sys.exit(found.code)


@verb(examples="make predict PHOTO=photo.jpg")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO…")
@_placed
def predict(reporter: Reporter, *, photos: tuple[str, ...], **where: str) -> None:
    """Predict photos with the model server in the cluster."""
    from orchard.cli.predict import predict as predict_verb
    from orchestration.cluster.deploy.port_forward import forward

    place = Release(**where)
    with forward(place, f"service/{place.fullname}-serving", 8501) as url:
        os.environ["ORCHARD_SERVER_URL"] = url
        predict_verb.main([*photos, *(["--json"] if reporter.as_json else [])], standalone_mode=False)


@verb(examples="make doctor")
@click.option(
    "--registry-port",
    type=int,
    default=5001,
    envvar="REGISTRY_PORT",
    show_default=True,
    help="Where the registry should listen.",
)
@_placed
def doctor(reporter: Reporter, *, registry_port: int, **where: str) -> None:
    """List what is wrong with the deployment, and what to do; exit code 1 if anything is wrong."""
    from dataclasses import asdict

    from orchestration.cluster.deploy.doctor import examine

    findings = examine(Release(**where), registry_port)
    text = "\n".join(f"- {item.wrong}\n  fix: {item.remedy}" for item in findings) or "nothing wrong was found"
    reporter.result({"findings": [asdict(item) for item in findings]}, text)
    if findings:
        sys.exit(1)


for _command in (up, down, logs, evidence, port_forward, airflow, retrain, predict, doctor):
    deploy.add_command(_command)

if __name__ == "__main__":
    run_command(command=deploy)
