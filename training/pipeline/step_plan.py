"""Which steps there are, what each needs of the steps before it, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass

from orchard.runs.records import Kind

__all__ = ["PARAMS", "STEPS", "StepPlan"]

PARAMS = ".orchard/step/params.yaml"
"""The parameters that a run trained with; its later steps judge by the same."""

CANDIDATE = "artifacts/candidate"
EVALUATION = "artifacts/evaluation"
GATE = "artifacts/gate"


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step of a run.

    Attributes:
        verb: the verb that it runs.
        kind: of run that it belongs to.
        after: the steps that must have ended well before; their files are brought here.
        dataset: whether it looks at the dataset, which is brought here.
        leaves: the files and folders that it leaves for others.
        page: the page for people among them.
        keys: the settings without which its verb cannot work.
    """

    verb: str
    kind: Kind
    after: tuple[str, ...] = ()
    dataset: bool = False
    leaves: tuple[str, ...] = ()
    page: str | None = None
    keys: tuple[str, ...] = ()


STEPS = {
    step.verb: step
    for step in (
        StepPlan(
            "validate",
            "retrain",
            dataset=True,
            leaves=("artifacts/validation",),
            page="artifacts/validation/page.html",
        ),
        StepPlan("train", "retrain", ("validate",), dataset=True, leaves=(CANDIDATE, PARAMS)),
        StepPlan(
            "evaluate", "retrain", ("train",), dataset=True, leaves=(EVALUATION,), page="artifacts/evaluation/page.html"
        ),
        StepPlan(
            "gate",
            "retrain",
            ("train", "evaluate"),
            dataset=True,
            leaves=(GATE,),
            page="artifacts/gate/page.html",
            keys=("trusted_keys_file",),
        ),
        StepPlan(
            "publish",
            "retrain",
            ("train", "evaluate", "gate"),
            leaves=(GATE,),
            page="artifacts/gate/page.html",
            keys=("trusted_keys_file", "signing_key_file"),
        ),
        StepPlan("promote", "retrain", ("publish",), keys=("trusted_keys_file", "signing_key_file")),
        StepPlan("ingest", "ingest", leaves=("artifacts/ingest",), page="artifacts/ingest/refused.json"),
        StepPlan("batch", "batch", keys=("trusted_keys_file",)),
        StepPlan("housekeeping", "housekeeping", keys=("trusted_keys_file",)),
    )
}
