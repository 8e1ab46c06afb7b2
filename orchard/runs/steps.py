"""The table of steps: inputs, outputs, pages, rights and resources of each step of a run.

`orchard step`, its summaries, the DAGs, their links, Luigi, `make retrain` and the chart are derived from this table. A new
step is a row here and a function in `training/pipeline/actions.py`. A step comes after the row above it of the same kind.

It imports the standard library only: Airflow's image has this file and nothing else of the library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PARAMS_FILE", "STEPS", "Kind", "StepPage", "StepSpec", "chart_rows", "steps_before", "steps_of"]

Kind = Literal["retrain", "ingest", "batch", "housekeeping"]

PARAMS_FILE = ".orchard/step/params.yaml"
"""The parameters that a run trained with. Its later steps use the same."""

_GATE_PAGE = "artifacts/gate/page.html"
_CARD = "artifacts/card"


@dataclass(frozen=True, slots=True)
class StepPage:
    """An object that a step shows to people.

    Attributes:
        name: the text of its link.
        key: its key in the store, with ``{run}`` or ``{day}`` in it.
        file: the file that the step writes and the runner uploads; None: the verb itself writes the object.
    """

    name: str
    key: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step of a run.

    Attributes:
        verb: the verb that it runs, and its name.
        kind: the kind of run that it belongs to.
        help: the text of ``orchard step VERB --help``.
        identity: the identity of the store's credentials that its pod holds.
        weight: the class of the pod's resources.
        dataset: whether it reads the dataset, which the runner downloads.
        inputs: the earlier steps whose outputs the runner downloads.
        outputs: its files and folders for later steps.
        pages: what it shows to people.
        trusts: whether it needs the trusted public keys.
        signs: whether it needs the signing key.
        options: its options, by the names of `StepOptions`. A scheduler passes those for which it has a parameter.
        skips: whether it can end without an error and without a result: it has the option ``--skip-code``.
        retry_if_skipped: whether a skipped step runs again when it is started again.
        every_pod: whether each pod of a Job runs it again, because its result depends on what is served.
        examples: options for the examples of its help.
    """

    verb: str
    kind: Kind
    help: str
    identity: str
    weight: Literal["light", "heavy"]
    dataset: bool = False
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    pages: tuple[StepPage, ...] = ()
    trusts: bool = False
    signs: bool = False
    options: tuple[str, ...] = ()
    skips: bool = False
    retry_if_skipped: bool = False
    every_pod: bool = False
    examples: tuple[str, ...] = ("",)

    @property
    def account(self) -> str:
        """The service account of its pod."""
        return "training" if self.kind == "retrain" else self.kind

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that its verb needs."""
        return ("trusted_keys_file",) * self.trusts + ("signing_key_file",) * self.signs


STEPS: dict[str, StepSpec] = {
    spec.verb: spec
    for spec in (
        StepSpec(
            "validate",
            "retrain",
            "Begin a run: record the dataset version, download it and check it against its schema.",
            identity="trainer",
            weight="light",
            dataset=True,
            outputs=("artifacts/validation",),
            pages=(StepPage("dataset", "runs/{run}/pages/validate.html", "artifacts/validation/page.html"),),
            options=("dataset_version",),
            examples=("", "--dataset-version 12"),
        ),
        StepSpec(
            "train",
            "retrain",
            "Train on the run's dataset; resume where an earlier attempt ended, even on another machine.",
            identity="trainer",
            weight="heavy",
            dataset=True,
            outputs=("artifacts/candidate", PARAMS_FILE),
            options=("profile",),
            examples=("--profile short",),
        ),
        StepSpec(
            "evaluate",
            "retrain",
            "Evaluate the run's candidate on every test photo.",
            identity="trainer",
            weight="heavy",
            dataset=True,
            inputs=("train",),
            outputs=("artifacts/evaluation",),
            pages=(StepPage("evaluation", "runs/{run}/pages/evaluate.html", "artifacts/evaluation/page.html"),),
        ),
        StepSpec(
            "gate",
            "retrain",
            "Decide whether the run's candidate may be published. Refused: exit code 5, or the one of --skip-code.",
            identity="publisher",
            weight="heavy",
            dataset=True,
            inputs=("train", "evaluate"),
            outputs=("artifacts/gate", _CARD),
            pages=(StepPage("gate", "runs/{run}/pages/gate.html", _GATE_PAGE),),
            trusts=True,
            options=("force",),
            skips=True,
            every_pod=True,
            examples=("--skip-code 99", "--force 'the shop photos of Plum are mislabelled'"),
        ),
        StepSpec(
            "publish",
            "retrain",
            "Publish the run's candidate; run the gate again first if the channel has changed since.",
            identity="publisher",
            weight="heavy",
            inputs=("train", "evaluate", "gate"),
            outputs=("artifacts/gate", _CARD),
            pages=(
                StepPage("gate", "runs/{run}/pages/gate.html", _GATE_PAGE),
                StepPage("card", "runs/{run}/pages/publish.html", f"{_CARD}/card.html"),
                StepPage("version", "runs/{run}/steps/publish.json"),
            ),
            trusts=True,
            signs=True,
            skips=True,
        ),
        StepSpec(
            "promote",
            "retrain",
            "Promote the run's version on the channel, unless the channel points to a newer one.",
            identity="publisher",
            weight="light",
            inputs=("publish",),
            pages=(StepPage("version", "runs/{run}/steps/publish.json"),),
            trusts=True,
            signs=True,
            options=("why",),
            skips=True,
            examples=("--why 'nightly run'",),
        ),
        StepSpec(
            "ingest",
            "ingest",
            "Add a day's new photos to the dataset. Nothing new: exit code 0, or the one of --skip-code.",
            identity="ingest",
            weight="light",
            outputs=("artifacts/ingest",),
            pages=(StepPage("report", "runs/{run}/pages/ingest.json", "artifacts/ingest/refused.json"),),
            options=("day", "split", "max_refused"),
            skips=True,
            examples=("--day 2026-11-24 --skip-code 99",),
        ),
        StepSpec(
            "batch",
            "batch",
            "Predict a day's photos. No version on the channel yet: exit code 0, or the one of --skip-code; it can be run again.",
            identity="batch",
            weight="heavy",
            pages=(StepPage("predictions", "batch/out/{day}/index.html"),),
            trusts=True,
            options=("day",),
            skips=True,
            retry_if_skipped=True,
            examples=("--day 2026-11-24 --skip-code 99",),
        ),
        StepSpec(
            "housekeeping",
            "housekeeping",
            "Delete what is no longer needed.",
            identity="housekeeping",
            weight="light",
            trusts=True,
            options=("dry_run",),
            examples=("--dry-run",),
        ),
    )
}
"""All steps by verb, each after the row above it of the same kind."""


def steps_of(kind: str) -> dict[str, StepSpec]:
    """Return the steps of a kind of run, in their order; empty if there is no such kind."""
    return {verb: spec for verb, spec in STEPS.items() if spec.kind == kind}


def steps_before(verb: str) -> tuple[str, ...]:
    """Return the steps that come before a step in its run, in their order."""
    names = tuple(steps_of(STEPS[verb].kind))
    return names[: names.index(verb)]


def chart_rows() -> list[dict[str, object]]:
    """Return what the chart needs of every step; ``scripts/chart`` writes it to ``files/steps.yaml``."""
    names = ("verb", "kind", "account", "identity", "weight", "trusts", "signs", "every_pod")
    return [{name: getattr(spec, name) for name in names} for spec in STEPS.values()]
