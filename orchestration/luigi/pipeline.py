"""The loop as tasks of Luigi. A task is complete when the store has the record of its step, under the run's name.

luigi --module orchestration.luigi.pipeline Retrain --name nightly-24 --profile short --local-scheduler
luigi --module orchestration.luigi.pipeline RangeDailyBase --of Daily --start 2026-11-18 --stop 2026-11-21 --local-scheduler
"""

import os
import tempfile
from pathlib import Path

import luigi
from luigi.tools.range import RangeDailyBase  # noqa: F401 (the second command names it)

from orchard import settings
from orchard.errors import OrchardError
from orchard.processes import ChildProcess
from orchard.runs.records import ended_step
from orchard.runs.steps import STEPS, steps_before
from orchard.store import open_store


class StepTask(luigi.Task):
    """A verb, run by `orchard step` in an empty folder; if it fails, no later task runs."""

    name, verb, project = luigi.Parameter(), luigi.Parameter(), luigi.Parameter(default="", significant=False)

    def complete(self) -> bool:
        """Whether the step has ended, not with a refusal, and not with a skip if the step retries skips."""
        record = ended_step(open_store(settings.load()), self.name, self.verb)
        return record is not None and record.outcome not in [
            "refused",
            *["skipped"] * STEPS[self.verb].retry_if_skipped,
        ]

    def run(self) -> None:
        """Run it; its output goes where Luigi's goes."""
        options = [f"--project={Path(self.project).absolute()}"] if self.project else []
        names = [name for name in STEPS[self.verb].options if hasattr(self, name)]
        options += [f"--{name.replace('_', '-')}={getattr(self, name)}" for name in names]
        command, variables = ["orchard", "step", self.verb, *options], os.environ | {"ORCHARD_RUN_ID": self.name}
        with (
            tempfile.TemporaryDirectory() as folder,
            ChildProcess(command, environment=variables, cwd=Path(folder)) as child,
        ):
            if child.wait() != 0:
                raise OrchardError(f"{self.verb} of {self.name} ended with exit code {child.wait()}")


class Retrain(StepTask):
    """A step of a retraining, after the steps before it; without a verb, the whole retraining."""

    verb, force = luigi.Parameter(default="promote"), luigi.Parameter(default="")
    dataset_version, profile = luigi.Parameter(default="latest"), luigi.Parameter(default="full")

    def requires(self) -> list[luigi.Task]:
        """Return the step before."""
        return [self.clone(verb=verb) for verb in steps_before(self.verb)[-1:]]  # type: ignore[no-untyped-call]


class Daily(StepTask):
    """A day's photos: predicted (`batch`), or added to the dataset (`ingest`)."""

    day, verb = luigi.DateParameter(), luigi.Parameter(default="batch")
    name = property(lambda self: f"{self.verb}-{self.day}")
