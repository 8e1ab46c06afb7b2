"""`orchard publish`."""

from __future__ import annotations

from orchard.cli.output import Output
from orchard.cli.verb import verb


@verb(
    extra="training",
    examples="orchard publish\norchard publish --json | jq .version\nORCHARD_RUN_ID=nightly-2024-05-01 orchard publish",
)
def publish(out: Output) -> None:
    """Publish the candidate as the model's next version, signed.

    Only what the gate accepted, or what somebody accepted for a written reason, and only if candidate, evaluation and
    verdict belong together. The exported files are loaded and asked about their golden photos once more. The same
    content again is the same version, and a killed publish is finished by the next one. It changes no channel:
    `orchard promote` does.
    """
    from orchard import settings
    from training.release import publish_candidate
    from training.workspace import Workspace

    target = publish_candidate.open_target(settings.load())
    with out.status(f"publishing to {target.store.name}"):
        outcome = publish_candidate.publish(Workspace(), target)
    said = outcome.said
    name = f"version {said['version']} of {said['model']}"
    text = f"{name} in {said['store']}: {said['manifest']}"
    if not outcome.created:
        text = f"{name} has this content already, in {said['store']}: {said['manifest']}"
    out.result({**said, "created": outcome.created}, text)
