"""`orchard doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from orchestration.cli.loop_options import release_options


@verb(
    group="Operate",
    env_file=False,  # a wrong .env is one of its lines
    examples=(
        "orchard doctor\n"
        "orchard doctor --json | jq '.checks[] | select(.state == \"missing\") | .remedy'\n"
        "orchard doctor --namespace signs              # what `orchard deploy` has put on a cluster"
    ),
)
@release_options("none: this machine is looked at")
def doctor(reporter: Reporter, *, context: str | None, namespace: str | None, release: str) -> None:
    """Show what this machine has and lacks for a project, with the remedy of each fault; no cluster is needed.

    Looks at Python, the extras, git and DVC, the project in this folder, its photos, the disk and the memory, the store
    and the ports. Nothing is written. Exit code 1 if something is missing that a command needs.

    With --namespace it lists each fault of a release on a cluster instead, from the store's keys to the versions that are
    served. Exit code 1 if there is any.
    """
    from dataclasses import asdict

    from orchestration.local.machine_checks import check_machine

    if namespace:
        _examine(reporter, context, namespace, release)
        return

    checks = list(check_machine(Path()))
    missing = [check.name for check in checks if check.state == "missing"]
    rows = [[check.name, check.state, check.found] for check in checks]
    lines = [reporter.table(["what", "state", "found"], rows), ""]
    lines += [f"{check.name}: {check.found}\n  fix: {check.remedy}" for check in checks if check.remedy]
    lines.append(f"missing: {', '.join(missing)}" if missing else "nothing is missing")
    reporter.result({"passed": not missing, "checks": [asdict(check) for check in checks]}, "\n".join(lines))
    if missing:
        click.get_current_context().exit(1)


def _examine(reporter: Reporter, context: str | None, namespace: str, name: str) -> None:
    """List the faults of a release."""
    from orchestration.cluster.deploy.doctor import examine
    from orchestration.cluster.deploy.project_deploy import project_release
    from orchestration.cluster.deploy.remedies import in_verbs

    release = project_release(context, namespace, name)
    findings = [{"wrong": item.wrong, "remedy": in_verbs(item.remedy, release)} for item in examine(release, None)]
    text = "\n".join(f"- {item['wrong']}\n  fix: {item['remedy']}" for item in findings) or "no fault was found"
    reporter.result({"findings": findings}, text)
    if findings:
        click.get_current_context().exit(1)
