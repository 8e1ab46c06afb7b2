"""Gate, publish and promote in the demo. A refusal is shown, and the demo continues: a person wants to see a prediction."""

from __future__ import annotations

import json
from dataclasses import dataclass

from orchard.errors import GateRefused
from orchestration.local.commands import CommandRunner, display_path
from orchestration.local.demo_workspace import PARAMS
from orchestration.local.photo_steps import CHANNEL

__all__ = ["GateOutcome", "release_candidate"]

PAGE = "artifacts/gate/page.html"
OVERRIDE = "the demo shows a prediction of a refused model, in its own store"


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """The gate's verdict on the demo's candidate.

    Attributes:
        verdict: ``accepted`` or ``refused``.
        reason: the gate's.
        page: the path of the page with all checks, as the user would type it.
        params: the path of the file with the thresholds, likewise.
        served: the version that answers instead of a refused candidate; None: the candidate answers.
    """

    verdict: str
    reason: str
    page: str
    params: str
    served: int | None = None

    @property
    def refused(self) -> bool:
        """Whether the gate refused the candidate."""
        return self.verdict == "refused"


def release_candidate(runner: CommandRunner) -> GateOutcome:
    """Gate, publish and promote the candidate of the runner's folder.

    A refused candidate never replaces a version that is served. If there is none, it is published with a recorded
    override, so that there is something to try: the store is the demo's own.

    Raises:
        CommandFailed: a step failed otherwise.
    """
    output, seconds = runner.run("gate", "--json", also=(GateRefused.exit_code,))
    document = json.loads(output)
    page, params = (display_path(runner.folder / name) for name in (PAGE, PARAMS))
    served = document["comparison"]["version"]
    runner.report("gate", ": ".join(filter(None, (document["verdict"], document["reason"]))), seconds)
    refused = document["verdict"] == "refused"
    if not refused:
        _publish(runner, "the demo's candidate passed the gate")
    elif served is None:
        runner.run("gate", "--override-reason", OVERRIDE)
        _publish(runner, OVERRIDE)
    else:
        runner.report("publish", f"no: {CHANNEL} still points to version {served}", 0.0)
    return GateOutcome(document["verdict"], document["reason"], page, params, served if refused else None)


def _publish(runner: CommandRunner, why: str) -> None:
    runner.verb("publish")
    runner.verb("promote", "latest", "--why", why)
