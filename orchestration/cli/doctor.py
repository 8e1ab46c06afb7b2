"""`orchard doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    group="Operate",
    env_file=False,  # a wrong .env is one of its lines
    examples="orchard doctor\norchard doctor --json | jq '.checks[] | select(.state == \"missing\") | .remedy'",
)
def doctor(reporter: Reporter) -> None:
    """Show what this machine has and lacks for a project, with the remedy of each fault; no cluster is needed.

    Looks at Python, the extras, git and DVC, the project in this folder, its photos, the disk and the memory, the store
    and the ports. Nothing is written. Exit code 1 if something is missing that a command needs. The faults of a deployment
    on a cluster are listed by `make doctor`.
    """
    from dataclasses import asdict

    from orchestration.local.machine_checks import check_machine

    checks = list(check_machine(Path()))
    missing = [check.name for check in checks if check.state == "missing"]
    rows = [[check.name, check.state, check.found] for check in checks]
    lines = [reporter.table(["what", "state", "found"], rows), ""]
    lines += [f"{check.name}: {check.found}\n  fix: {check.remedy}" for check in checks if check.remedy]
    lines.append(f"missing: {', '.join(missing)}" if missing else "nothing is missing")
    reporter.result({"passed": not missing, "checks": [asdict(check) for check in checks]}, "\n".join(lines))
    if missing:
        click.get_current_context().exit(1)
