"""What `make deploy` adds to the loop: the kind cluster, the images of this checkout, and sample photos."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from orchestration.cluster.deploy import images
from orchestration.cluster.deploy.deploy_loop import DeployPlan, DeployResult, run_loop
from orchestration.cluster.deploy.install import current_values
from orchestration.cluster.deploy.release import CHECKOUT, Release, run
from orchestration.local.commands import CommandRunner
from orchestration.local.demo_workspace import prepare
from orchestration.local.photo_steps import ingest, photo_paths, step_environment
from orchestration.local.sample_data import SampleData, find

__all__ = ["deploy"]

SCRIPT_SECONDS = 3600.0


def deploy(
    release: Release,
    *,
    data: str | None,
    folder: Path,
    params: Path | None = None,
    values: tuple[str, ...] = (),
    build: bool = True,
    airflow: bool = False,
) -> DeployResult:
    """Deploy the loop on the kind cluster and predict photos with it; finished steps are not repeated.

    Args:
        release: the release; its context is that of a kind cluster, which is created if there is none.
        data: photos, as for `make demo`.
        folder: the parent of the workspaces, one for each kind of photos.
        params: a file with parameters that replace those of a deployment, as for `make demo`.
        values: more options for helm.
        build: whether to build and push our images; False: use the images that were pushed last.
        airflow: whether to install Airflow too; it starts while a Job trains. If the release has it, it stays in any case.

    Raises:
        OrchardError: a step failed; a verb's exit code is kept.
    """
    source = find(data)
    prepare(workspace := folder / source.name, source, params)
    logs = workspace / "logs"
    runner = CommandRunner(workspace, step_environment(source.name), logs, resume_command="make deploy")
    with runner.timed("cluster") as results:
        registry = _script(runner, "cluster", "up", CLUSTER=release.context.removeprefix("kind-"))
        results.append(f"{release.context}, its registry at {registry}")
    if airflow:
        values = ("--set", "airflow.enabled=true", "--set", f"dataset={source.name}", *values)
    airflow = airflow or bool(current_values(release).get("airflow", {}).get("enabled"))
    with runner.timed("images") as results:
        programs = ("training", "serving", *(("airflow",) if airflow else ()))
        if build:
            _script(runner, "images", "--push", registry, *programs)
        if airflow:
            _script(runner, "cluster", "bring", "POSTGRES_IMAGE", CLUSTER=release.context.removeprefix("kind-"))
        references = images.references(registry, airflow=airflow)
        results.append(f"{', '.join(programs)} in {registry}")
    put = partial(_put_photos, runner, source)
    return run_loop(release, runner, DeployPlan(references, values, put, airflow=airflow))


def _put_photos(runner: CommandRunner, source: SampleData) -> None:
    ingest(runner, source, photo_paths(runner, source))


def _script(runner: CommandRunner, name: str, *arguments: str, **variables: str) -> str:
    """Run a script of scripts/ and show its standard error; returns the last line of its output."""
    command = [str(CHECKOUT / "scripts" / name), *arguments]
    environment = {**runner.environment, **variables}
    output = run(command, environment=environment, seconds=SCRIPT_SECONDS, show_errors=True)
    return (output.strip().splitlines() or [""])[-1]
