"""`python -m orchestration.cluster.deploy`: what the Makefile's targets for the cluster run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from orchard.cli import main as run_command
from orchard.cli.output import Output
from orchard.cli.verb import verb
from orchestration.cluster.deploy.release import Release

FOLDER = Path(".orchard/cluster")


def _placed(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where the release is, as one argument `place`."""
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
    out: Output, *, data: str | None, values: tuple[str, ...], no_build: bool, with_airflow: bool, **where: str
) -> None:
    """Cluster if none, images, chart, photos, a training Job, the version live, a photo answered."""
    from orchestration.cluster.deploy.deploy_loop import deploy

    place = Release(**where)
    options = tuple(part for value in values for part in ("--set", value))
    folder = FOLDER.absolute() / place.namespace
    done = deploy(place, data=data, folder=folder, values=options, build=not no_build, airflow=with_airflow)
    document = {"version": done.version, "predictions": done.predictions, "seconds": done.seconds}
    out.result({**document, **where}, _ending(done.predictions[0]["path"], sum(done.seconds.values()), where))


def _ending(photo: str, seconds: float, where: dict[str, str]) -> str:
    path = Path(photo)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    more = "" if where["namespace"] == "orchard" else f" NAMESPACE={where['namespace']}"
    return "\n".join(
        (
            "",
            f"On the cluster in {seconds:.0f} s. Go on:",
            f"  make predict PHOTO={shown}{more}",
            f"  make port-forward{more}             then ask localhost:8501 (docs/calling.md)",
            f"  make logs{more}                     what sync and the model server say; `make undeploy{more}` removes all",
        )
    )


@verb(examples="make undeploy\nmake undeploy ALL=1")
@click.option("--all", "everything", is_flag=True, help="The kind cluster and its registry too.")
@_placed
def down(out: Output, *, everything: bool, **where: str) -> None:
    """Remove the release and all that it made; photos, models and keys in it are gone then."""
    from orchestration.cluster.deploy.install import remove
    from orchestration.cluster.deploy.release import CHECKOUT, run

    place = Release(**where)
    if everything and place.context.startswith("kind-"):
        run(["env", f"CLUSTER={place.context.removeprefix('kind-')}", str(CHECKOUT / "scripts/cluster"), "down"])
        gone = [f"the cluster of {place.context}"]
    else:
        gone = remove(place)
    out.result({"removed": gone}, f"removed: {', '.join(gone)}" if gone else "there was nothing to remove")


@verb(examples="make logs")
@_placed
def logs(out: Output, **where: str) -> None:
    """Show what sync and the model server say, and go on until Ctrl-C."""
    import os

    place = Release(**where)
    selector = f"--selector=app.kubernetes.io/instance={place.release},app.kubernetes.io/component=serving"
    command = place.kubectl_command(
        "logs", selector, "--all-containers", "--prefix", "--tail=40", "--follow", "--max-log-requests=40"
    )
    os.execvp(command[0], command)  # noqa: S606  it is kubectl from here on


@verb(examples="make evidence\nmake evidence DIR=/tmp/evidence")
@click.option("--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=FOLDER / "evidence")
@_placed
def evidence(out: Output, *, folder: Path, **where: str) -> None:
    """Write all that the cluster knows of the release into a folder."""
    from orchestration.cluster.deploy.evidence import collect

    written = collect(Release(**where), folder)
    out.result({"files": [str(path) for path in written]}, f"{len(written)} files in {folder}")


@verb(examples="make port-forward\nmake port-forward PORT=9501")
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="Of this machine.")
@_placed
def port_forward(out: Output, *, port: int, **where: str) -> None:
    """Bring the model server to a port of this machine until Ctrl-C; it comes again when its pod goes."""
    from orchestration.cluster.deploy.port_forward import keep_forwarding

    place = Release(**where)
    for url in keep_forwarding(place, f"service/{place.fullname}-serving", 8501, port):
        out.note(f"the model server is at {url}; Ctrl-C ends it")


@verb(examples="make airflow\nmake airflow PORT=9080")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Of this machine.")
@_placed
def airflow(out: Output, *, port: int, **where: str) -> None:
    """Bring Airflow's page to a port of this machine until Ctrl-C, and say how to log in."""
    from orchestration.cluster.deploy.airflow_client import password_command, reach_airflow
    from orchestration.cluster.deploy.port_forward import keep_forwarding

    place = Release(**where)
    with reach_airflow(place):  # it is there
        for url in keep_forwarding(place, f"service/{place.fullname}-airflow", 8080, port):
            out.note(f"Airflow is at {url}, as admin; the password: {password_command(place)}\nCtrl-C ends it")


@verb(examples='make retrain\nmake retrain PROFILE=short VERSION=3 FORCE="the new class is worth it"')
@click.option("--profile", help="full or short.  [default: the chart's airflow.profile]")
@click.option("--dataset-version", help="A number, or latest.  [default: latest]")
@click.option("--force", metavar="REASON", help="Publish although the gate refuses; the reason is kept.")
@click.option("--run", help="The run's id; of one that is there already: follow it.  [default: made up]")
@_placed
def retrain(out: Output, *, run: str | None, **options: str | None) -> None:
    """Let Airflow train a new version, and follow the run to its end.

    Ends with 5 when the gate refused, and with 1 when a task failed.
    """
    from orchestration.cluster.deploy.retrain_run import retrain as begin

    place = Release(**{name: str(options.pop(name)) for name in ("release", "namespace", "context")})
    found = begin(place, {name: value for name, value in options.items() if value}, run, out)
    out.result(found.document, found.text)
    sys.exit(found.code)


@verb(examples="make predict PHOTO=photo.jpg")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO…")
@_placed
def predict(out: Output, *, photos: tuple[str, ...], **where: str) -> None:
    """Ask the model server in the cluster what is on photos."""
    import os

    from orchard.cli.predict import predict as ask
    from orchestration.cluster.deploy.port_forward import forward

    place = Release(**where)
    with forward(place, f"service/{place.fullname}-serving", 8501) as url:
        os.environ["ORCHARD_SERVER_URL"] = url
        ask.main([*photos, *(["--json"] if out.as_json else [])], standalone_mode=False)


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
def doctor(out: Output, *, registry_port: int, **where: str) -> None:
    """Say what is wrong with the deployment, a sentence each, and what to do; exit code 1 if anything is."""
    from dataclasses import asdict

    from orchestration.cluster.deploy.doctor import examine

    found = examine(Release(**where), registry_port)
    text = "\n".join(f"- {item.wrong}\n  fix: {item.remedy}" for item in found) or "nothing is wrong that I can see"
    out.result({"findings": [asdict(item) for item in found]}, text)
    if found:
        sys.exit(1)


for _command in (up, down, logs, evidence, port_forward, airflow, retrain, predict, doctor):
    deploy.add_command(_command)

if __name__ == "__main__":
    run_command(command=deploy)
