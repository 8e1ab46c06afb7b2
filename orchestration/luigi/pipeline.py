"""The loop as tasks of Luigi. A task is complete when the store has its step recorded, under the run's name.

luigi --module orchestration.luigi.pipeline Retrain --name nightly-24 --profile short --local-scheduler
luigi --module orchestration.luigi.pipeline RangeDailyBase --of Daily --start 2026-11-18 --stop 2026-11-21 --local-scheduler
"""

import os
import tempfile
from pathlib import Path

import luigi
from luigi.tools.range import RangeDailyBase  # noqa: F401 (past days: the second command names it)

from orchard import settings
from orchard.errors import OrchardError
from orchard.processes import ChildProcess
from orchard.runs.records import ended_step
from orchard.runs.steps import STEPS, steps_before
from orchard.store import open_store


class StepTask(luigi.Task):
    """A verb, run by `orchard step` in an empty folder; it fails when that does, and then nothing after it runs."""

    name, verb, project = luigi.Parameter(), luigi.Parameter(), luigi.Parameter(default="", significant=False)

    def complete(self) -> bool:
        """Whether it has ended, other than by a refusal, or a skip of what is to look again."""
        ended = ended_step(open_store(settings.load()), self.name, self.verb)
        return ended is not None and ended.outcome not in ["refused", *["skipped"] * STEPS[self.verb].retry_if_skipped]

    def run(self) -> None:
        """Run it; its words go where Luigi's go."""
        options = [f"--project={Path(self.project).absolute()}"] if self.project else []
        known = [name for name in STEPS[self.verb].options if hasattr(self, name)]
        options += [f"--{name.replace('_', '-')}={getattr(self, name)}" for name in known]
        command, variables = ["orchard", "step", self.verb, *options], os.environ | {"ORCHARD_RUN_ID": self.name}
        with (
            tempfile.TemporaryDirectory() as folder,
            ChildProcess(command, environment=variables, cwd=Path(folder)) as child,
        ):
            if child.wait() != 0:
                raise OrchardError(f"{self.verb} of {self.name} ended with exit code {child.wait()}")


class Retrain(StepTask):
    """A step of a retraining, after those before it; all of them, if none is named."""

    verb, force = luigi.Parameter(default="promote"), luigi.Parameter(default="")
    dataset_version, profile = luigi.Parameter(default="latest"), luigi.Parameter(default="full")

    def requires(self) -> list[luigi.Task]:
        """The step before."""
        return [self.clone(verb=verb) for verb in steps_before(self.verb)[-1:]]  # type: ignore[no-untyped-call]


class Daily(StepTask):
    """A day's photos: predicted (`batch`), or taken into the dataset (`ingest`)."""

    day, verb = luigi.DateParameter(), luigi.Parameter(default="batch")
    name = property(lambda self: f"{self.verb}-{self.day}")
