"""`orchard publish`."""

from __future__ import annotations

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    group="Registry",
    extra="training",
    examples="orchard publish\norchard publish --json | jq .version\nORCHARD_RUN_ID=nightly-2024-05-01 orchard publish",
)
def publish(reporter: Reporter) -> None:
    """Publish the candidate as the model's next version, signed.

    The gate must have accepted the candidate, or a person for a written reason, and candidate, evaluation and verdict
    must belong together. The exported files are loaded and run on their golden photos once more. The same content again
    is the same version. A publish that was killed is completed by the next one. The version's model card is kept beside
    its manifest and in artifacts/card; it counts the looks at the test photos that the registry knows too. No channel
    changes: `orchard promote` does that.
    """
    from orchard import env_files, settings
    from orchard.disk import require_space
    from orchard.registry.registry import Registry
    from orchard.runs import records
    from training.release import publish_candidate
    from training.release.model_card import CARD
    from training.workspace import Workspace

    loaded = settings.load()
    registry, workspace = Registry.open(loaded, sign=True), Workspace()
    require_space(workspace.card, 0, "the model card")  # before the version exists
    with reporter.status(f"publishing to {registry.store.name}"):
        outcome = publish_candidate.publish(workspace, registry, loaded.channel, records.actor(loaded), loaded.run_id)
    record = outcome.record
    store = env_files.in_use()
    place = f"{store}, {record['store']}" if store else record["store"]
    name = f"version {record['version']} of {record['model']}"
    text = f"{name} in {place}: {record['manifest']}"
    if not outcome.created:
        text = f"{name} has this content already, in {place}: {record['manifest']}"
    if record.get("card"):
        text += f"\nthe model card: {record['card']}, here {workspace.card / CARD}"
    text += f'\nnext: orchard promote {record["version"]} --why "…"'
    reporter.result({**record, "created": outcome.created, "store_name": store}, text)
