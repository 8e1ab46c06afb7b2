"""`orchard job` and `orchard bootstrap`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb, verb_group
from orchard.errors import OrchardError, ParamsError
from orchard.reporter import Reporter
from orchestration.cluster.registry_verbs import STORE_VERBS, job_examples, store_verb, target_options

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bootstrap", "job"]

EXTRA = "cluster"


@verb_group("Operate")
def job() -> None:
    """Run steps in a cluster, as Jobs made from the pod templates of the chart."""


@verb_group("Operate")
def bootstrap() -> None:
    """Create what a new release needs before it can run; the chart's Jobs run this."""


def _job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose cluster, namespace and release, and how to wait."""
    wait = click.option("--wait/--no-wait", default=True, show_default=True, help="Follow the Job to its end.")
    return target_options()(wait(command))


@verb(
    extra=EXTRA,
    examples=(
        "orchard job train\n"
        "orchard job train --set train.epochs=3 --until gate\n"
        "ORCHARD_RUN_ID=nightly-2024-05-01 orchard job train        # again: follows the same Job"
    ),
)
@click.option(
    "--params",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The parameters.  [default: params.yaml in this folder; else the image's]",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a parameter for this run only.")
@click.option("--until", metavar="STEP", default="", help="The last step: pull, train, gate, …  [default: promote]")
@_job_options
def train(reporter: Reporter, *, params: Path | None, overrides: tuple[str, ...], until: str, **target: Any) -> None:
    """Train, evaluate, publish and promote a model in the cluster; shows the output of every step.

    The exit code is that of the failed step: 5 when the gate refused. A killed pod is replaced, and training resumes
    after its last whole epoch. The run's name is ORCHARD_RUN_ID, or generated: the same name again follows the same Job.
    """
    from orchestration.cluster.manifests import change_params

    path = params or (Path("params.yaml") if Path("params.yaml").exists() else None)
    if path is None and overrides:
        raise ParamsError("--set changes a params.yaml, and this folder has none", hint="name one with --params")
    project: dict[str, str] = {}
    environment: dict[str, str] = {}
    if path is not None:
        import yaml

        changed = change_params(_read(path), overrides)
        project["params.yaml"] = yaml.safe_dump(changed, sort_keys=False)
        if isinstance(changed.get("data"), dict) and changed["data"].get("name"):
            environment["ORCHARD_DATASET"] = str(changed["data"]["name"])
        schema = path.parent / "data" / "schema.yaml"
        if schema.exists():
            project["schema.yaml"] = _read(schema)
    _run(reporter, "train", target, {"environment": environment, "project": project, "until": until})


@verb(extra=EXTRA, examples="orchard job synthetic\norchard job synthetic --classes 6 --photos 600")
@click.option("--classes", type=click.IntRange(2, 36), default=8, show_default=True, help="How many kinds of fruit.")
@click.option("--photos", type=click.IntRange(1), default=2000, show_default=True, help="How many photos in all.")
@_job_options
def synthetic(reporter: Reporter, *, classes: int, photos: int, **target: Any) -> None:
    """Draw synthetic photos in the cluster and ingest them as the dataset `synthetic`."""
    arguments = {"draw": ("--classes", str(classes), "--photos", str(photos))}
    _run(reporter, "synthetic", target, {"arguments": arguments})


def _run(reporter: Reporter, component: str, target: dict[str, Any], parts: dict[str, Any]) -> None:
    from orchard import settings
    from orchestration.cluster.jobs import find_template, follow, start
    from orchestration.cluster.kube_client import connect
    from orchestration.cluster.manifests import JobPlan, job_name, new_run_id

    configured = settings.load()
    run_id = configured.run_id or new_run_id()
    cluster = connect(target["namespace"], target["context"])
    template = find_template(cluster, component, target["release"])
    release = template["metadata"]["labels"]["app.kubernetes.io/instance"]
    environment = {"ORCHARD_RUN_ID": run_id, **parts.pop("environment", {})}
    if configured.actor:
        environment["ORCHARD_ACTOR"] = configured.actor
    plan = JobPlan(job_name(component, release, run_id), environment, **parts)
    created = start(cluster, template, plan)
    reporter.note(f"Job {plan.name} in {cluster.namespace} {'created' if created else 'exists already'}")
    document: dict[str, Any] = {"job": plan.name, "namespace": cluster.namespace, "run_id": run_id, "created": created}
    if not target["wait"]:
        reporter.result(document, f"follow it: ORCHARD_RUN_ID={run_id} orchard job {component} -n {cluster.namespace}")
        return
    try:
        result = follow(cluster, plan.name, reporter, patience=target["patience"])
    except KeyboardInterrupt:
        reporter.note(f"the Job continues; to follow it: ORCHARD_RUN_ID={run_id} orchard job {component}")
        raise
    document |= {"seconds": result.seconds, "pods": result.pods}
    reporter.result(document, f"Job {plan.name} succeeded in {result.seconds:.0f} s")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OrchardError(f"{path} cannot be read: {error}") from error


@verb(
    extra=EXTRA,
    examples="orchard bootstrap keys --store orchard-store --signing orchard-signing --owner orchard-bootstrap",
)
@click.option(
    "--airflow", metavar="NAME", help="Create the keys of Airflow and its administrator's password: the Secret NAME."
)
@click.option(
    "--database", metavar="NAME", help="Create the password of Airflow's database at the Service NAME: the Secret NAME."
)
@click.option("--store", metavar="PREFIX", help="Create the store's keys: the Secrets PREFIX-server, PREFIX-sync, ….")
@click.option("--signing", metavar="NAME", help="Create the pair of signing keys: the Secret NAME.")
@click.option("--bucket", default="orchard", show_default=True, help="The bucket that the store's keys are for.")
@click.option("--owner", metavar="NAME", help="A ConfigMap; the Secrets are deleted with it.  [default: they stay]")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label for the Secrets.")
@click.option(
    "--record",
    metavar="NAME",
    default="orchard-keys",
    show_default=True,
    help="The ConfigMap that records which Secrets were created.",
)
def keys(
    reporter: Reporter, *, bucket: str, owner: str | None, labels: tuple[str, ...], record: str, **names: str | None
) -> None:
    """Create the keys of a release as Secrets, once: an existing key is never changed.

    A key that was created before and is missing is not replaced, because data depends on it: restore it.

    The rights of the store's keys are updated to this version; the store reads them when it starts.
    """
    from orchestration.cluster import identities
    from orchestration.cluster.kube_client import connect

    client = identities.SecretsClient(connect(), dict(label.split("=", 1) for label in labels), owner, record)
    makers: dict[str, Callable[..., list[str]]] = {
        "store": partial(identities.make_store, bucket=bucket),
        "signing": identities.make_signing,
        "airflow": identities.make_airflow,
        "database": identities.make_database,
    }
    changed = [secret for kind, make in makers.items() if (name := names[kind]) for secret in make(client, name)]
    text = f"created or changed: {', '.join(changed)}" if changed else "all keys exist already"
    reporter.result({"made": changed}, text)


@verb(extra=EXTRA, examples="orchard bootstrap bucket")
@click.option("--no-policy", is_flag=True, help="Set no bucket policy: then models and datasets can be deleted.")
@click.option(
    "--timeout", type=click.FloatRange(1), default=180.0, show_default=True, help="Seconds to wait for the store."
)
def bucket(reporter: Reporter, *, no_policy: bool, timeout: float) -> None:
    """Create the bucket of ORCHARD_STORE_URL, forbid deletion of what is published, and check a put and a get.

    Needs the store's admin key. A second run changes nothing.
    """
    from orchard import settings
    from orchestration.cluster.bucket import prepare

    configured = settings.load()
    configured.require("store_url", "store_credentials_file")
    with reporter.status(f"preparing {configured.store_url}"):
        created = prepare(configured, forbid_deletes=not no_policy, timeout_s=timeout)
    reporter.result(
        {"bucket": configured.store_url, "created": created, "deletes_forbidden": not no_policy},
        f"{configured.store_url} {'created' if created else 'exists already'}; it stores and returns objects",
    )


for _command in (train, synthetic):
    job.add_command(_command)
for _verb in STORE_VERBS.values():
    job.add_command(store_verb(_verb, job_examples(_verb)))
for _command in (keys, bucket):
    bootstrap.add_command(_command)
