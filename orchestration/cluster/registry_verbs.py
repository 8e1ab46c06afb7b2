"""Verbs of the registry as commands that run in the cluster, beside the release's store and with its keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.annotations import note, tag
from orchard.cli.canary import canary
from orchard.cli.command import registered_verb
from orchard.cli.registry import history, promote, rollback, versions
from orchard.cli.runs import runs
from orchard.cli.shadow import shadow
from orchard.cli.verb import verb
from orchard.errors import OrchardError
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["STORE_VERBS", "job_examples", "store_verb", "target_options"]

STORE_VERBS = {
    str(command.name): command
    for command in (runs, versions, registered_verb("diff"), history, promote, canary, shadow, rollback, note, tag)
}
"""The verbs that need nothing but the store and the signing keys, by name."""

_MARK = "── result\n"
_OWN = ("as_json", "json_file", "page")
"""The options that are not the Job's: how the result is written here, and a page, which would stay in the pod."""


def target_options(
    *, release: str | None = None, namespace: str | None = None, context: str | None = None, patience: float = 300.0
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator for the options that choose the release, and how long a pod may wait.

    Args:
        release: the default; None: the only one in the namespace.
        namespace: the default; None: the context's.
        context: the default; None: the current one.
        patience: the default, in seconds.
    """

    def shown(default: str | None, text: str) -> str:
        return f"  [default: {default or text}]"

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option(
                "--release",
                default=release,
                help="The Helm release." + shown(release, "the only one in the namespace"),
            ),
            click.option(
                "--namespace",
                "-n",
                default=namespace,
                help="The namespace." + shown(namespace, "the kubeconfig context's"),
            ),
            click.option(
                "--context", default=context, help="The kubeconfig's context." + shown(context, "the current one")
            ),
            click.option(
                "--patience",
                type=click.FloatRange(1),
                default=patience,
                show_default=True,
                help="Seconds that a pod may wait before it starts.",
            ),
        ):
            command = option(command)
        return command

    return decorate


def store_verb(command: click.Command, examples: str, **defaults: str) -> click.Command:
    """Make a command with the options of a verb that runs the verb in the cluster.

    Args:
        command: the verb.
        examples: for the help.
        defaults: as for `target_options`.
    """

    def function(reporter: Reporter, **options: Any) -> None:
        target = {name: options.pop(name) for name in ("release", "namespace", "context", "patience")}
        _run(reporter, str(command.name), _arguments(command, options), **target)

    function.__name__ = str(command.name)
    function.__doc__ = (
        f"{command.help}\n\nIt runs in the cluster, in a Job with the release's own keys, which is removed soon after."
    )
    made = verb(extra="cluster", examples=examples)(target_options(patience=120.0, **defaults)(function))
    made.params[:0] = [item for item in command.params if item.name not in _OWN]
    return made


def job_examples(command: click.Command) -> str:
    """Return a verb's examples as `orchard job` has them: none with an option that it lacks there."""
    name, lines = str(command.name), str(command.epilog).split("Examples:\n", 1)[1].splitlines()
    absent = {word for item in command.params if item.name == "page" for word in item.opts}
    kept = [
        line.strip().replace(f"orchard {name}", f"orchard job {name}") for line in lines if not absent & {*line.split()}
    ]
    return "\n".join(kept)


def _arguments(command: click.Command, options: Mapping[str, Any]) -> list[str]:
    """Return the command line of the verb for values that click has parsed."""
    words: list[str] = []
    operands: list[str] = []
    for item in command.params:
        value = options.get(str(item.name))
        if value is None or value is False:  # a weight of 0 is a weight
            continue
        if isinstance(item, click.Option):
            words += [item.opts[-1]] if item.is_flag else [f"{item.opts[-1]}={value}"]
        else:
            operands.append(str(value))
    return [*words, "--", *operands] if operands else words


def _run(
    reporter: Reporter,
    name: str,
    arguments: list[str],
    *,
    release: str | None,
    namespace: str | None,
    context: str | None,
    patience: float,
) -> None:
    from orchard import settings
    from orchard.runs.records import actor
    from orchestration.cluster.jobs import find_template, run
    from orchestration.cluster.kube_client import connect
    from orchestration.cluster.manifests import JobPlan, job_name, new_run_id

    configured = settings.load()
    cluster = connect(namespace, context)
    template = find_template(cluster, name, release)
    owner = template["metadata"]["labels"]["app.kubernetes.io/instance"]
    json_option = ["--json"] if reporter.as_json else []
    plan = JobPlan(
        job_name(name, owner, new_run_id()),
        {"ORCHARD_ACTOR": actor(configured), **({"ORCHARD_RUN_ID": configured.run_id} if configured.run_id else {})},
        arguments={name: [*json_option, *arguments]},
    )
    reporter.note(f"orchard {name} runs in the Job {plan.name} in {cluster.namespace}")
    log, code = run(cluster, template, plan, reporter, patience)
    _report(reporter, f"{plan.name} in {cluster.namespace}", log, code)


def _report(reporter: Reporter, job: str, log: str, code: int) -> None:
    """Print the result of the verb, or raise its error."""
    from orchestration.pod_status import last_error

    notes, mark, result = log.partition(_MARK)
    if reporter.as_json and result.strip():
        reporter.result(_document(job, result))
        if code:
            click.get_current_context().exit(code)
        return
    message, fix = last_error(notes if notes.strip() else result)
    if code or not mark:
        raise OrchardError(
            message or f"the Job {job} ended with exit code {code}, and wrote nothing", hint=fix, exit_code=code or 1
        )
    for line in notes.splitlines():
        reporter.note(line)
    reporter.result({}, result.removesuffix("\n"))


def _document(job: str, text: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise OrchardError(f"the Job {job} wrote no JSON document: {text[-200:]!r}") from error
    return document
