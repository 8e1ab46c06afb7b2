"""`orchard versions`, `orchard history`, `orchard card`, `orchard promote` and `orchard rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.channel_names import STABLE
from orchard.cli.channel_argument import CHANNEL
from orchard.cli.verb import verb
from orchard.cli.version_argument import VERSION, find_version, open_to_read
from orchard.cli.version_text import COLUMNS, describe_version, row, second
from orchard.errors import DataError, OrchardError
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.registry.channels import ChangeIntent, Channel, ChannelChange
    from orchard.registry.pointers import ChannelPointer
    from orchard.registry.registry import Registry
    from orchard.registry.versions import ModelVersions
    from orchard.store import ObjectStore

__all__ = ["card", "history", "open_to_change", "promote", "rollback", "versions"]


def open_to_change(channel: str | None, why: str | None) -> tuple[Channel, ChangeIntent]:
    """Open a channel to change it, with the actor and the reason.

    Args:
        channel: its name; None: ORCHARD_CHANNEL.
        why: the reason; None: the run ORCHARD_RUN_ID.

    Raises:
        SettingsError: the store, the trusted keys or the signing key is not set or cannot be read.
    """
    from orchard import settings
    from orchard.registry.channels import ChangeIntent
    from orchard.registry.registry import Registry
    from orchard.runs.records import actor

    config = settings.load()
    config.require("store_url", "trusted_keys_file", "signing_key_file")
    registry = Registry.open(config, sign=True)
    if why is None and config.run_id is None:
        raise click.UsageError("Missing option '--why'.")
    intent = ChangeIntent(actor(config), why or f"run {config.run_id}", config.run_id)
    return registry.channel(channel or config.channel), intent


def _print_change(reporter: Reporter, change: ChannelChange, action: str) -> None:
    from orchard import env_files
    from orchard.documents import encode

    now, store = change.pointer, env_files.in_use()
    place = f"{now.channel} of {now.model}" + (f" in {store}" if store else "")
    before = f"version {now.previous}" if now.previous else "nothing"
    text = f"{place}: {before} → version {now.version} (generation {now.generation})"
    if not change.changed:
        text = f"{place}: already version {now.version} (generation {now.generation}, {now.action} by {now.who})"
    elif action == "promote":
        text += "\nnext: orchard sync --serve; one that runs takes the version by itself"
    reporter.result({"action": action, "changed": change.changed, **encode(now), "store_name": store}, text)


@verb(
    group="Registry",
    examples="orchard versions --top 10\norchard versions 7\norchard versions stable --top 5\n"
    "orchard versions --tag reviewed\norchard versions --json | jq '.versions[-1].metrics'",
)
@click.argument("version", type=VERSION, required=False)
@click.option(
    "--top", type=click.IntRange(1), metavar="N", help="Only the N newest; of one version, its N worst classes."
)
@click.option("--tag", help="Only versions that have this tag.")
def versions(reporter: Reporter, version: int | str | None, *, top: int | None, tag: str | None) -> None:
    """List the model's versions, the newest last: dataset, gate verdict, accuracy, tags, channels that point to them.

    Every manifest's signature is checked; one that cannot be trusted is shown with the reason.

    With VERSION (a number, `latest`, or a channel) one version in full: who made it, from which code, data and
    parameters (and what differs from the version before), figures by source and class, why the gate accepted it, notes.
    """
    registry = open_to_read()
    if version is not None:
        if tag is not None:
            raise click.UsageError("--tag selects from the list: it does not go with VERSION")
        from orchard.registry.version_overview import read_version

        details = read_version(registry, find_version(registry, version))
        reporter.result({"model": registry.model, **details.document}, describe_version(reporter, details, top))
        return
    _list_versions(reporter, registry, top, tag)


def _list_versions(reporter: Reporter, registry: Registry, top: int | None, tag: str | None) -> None:
    from orchard.documents import encode
    from orchard.registry.version_overview import read_pointers, summarize_versions

    pointers, numbers = read_pointers(registry), registry.versions()
    shown = summarize_versions(registry, numbers if tag or not top else numbers[-top:], pointers)
    found = [one for one in shown if tag is None or tag in (one.tags or ())][-(top or len(numbers)) :]
    for one in shown:
        if one.problem:
            reporter.note(one.problem)
    document = {
        "model": registry.model,
        "versions": [one.document for one in found],
        "total": len(numbers),
        "pointers": [encode(item) for item in pointers],
    }
    if not found:
        empty = f"no version of {registry.model} has been published to {registry.store.name}"
        reporter.result(document, f"no version of {registry.model} has the tag {tag!r}" if numbers else empty)
        return
    text = _with_cards(reporter.table(COLUMNS, map(row, found)), {one.version: one.card for one in found if one.card})
    if tag is None and len(found) < len(numbers):
        text += f"\n{len(numbers) - len(found)} older versions are left out"
    reporter.result(document, text)


def _with_cards(table: str, cards: dict[int, str]) -> str:
    """Add to a table of versions where their model cards are."""
    if not cards:
        return table
    version, key = max(cards.items())
    return f"{table}\nthe model card of version {version}: {key} (`orchard card {version}` fetches it)"


@verb(group="Registry", examples="orchard history\norchard history --channel canary --json")
@click.option("--channel", type=CHANNEL, help="Only this channel.  [default: all]")
def history(reporter: Reporter, channel: str | None) -> None:
    """Show all changes of the channels: the time, the versions, the actor and the reason.

    The command checks every entry's signature, and that no entry is missing.
    """
    from orchard.documents import encode
    from orchard.registry.cards import list_cards
    from orchard.registry.known_channels import known_channels

    registry = open_to_read()
    cards = list_cards(registry.store, registry.model)
    names = known_channels(registry) if channel is None else (channel,)
    entries = [item for name in names for item in registry.channel(name).history()]
    rows = [
        [
            item.channel,
            item.generation,
            item.action,
            f"{item.previous or '-'} → {item.version}",
            "-" if item.weight is None else f"{item.weight:g} %",
            item.verdict,
            second(item.created),
            item.who,
            item.why + (f" (override: {item.override_reason})" if item.override_reason else ""),
        ]
        for item in entries
    ]
    columns = ["channel", "generation", "action", "versions", "weight", "gate", "when", "who", "why"]
    empty = f"nothing was ever promoted for {registry.model} in {registry.store.name}"
    reporter.result(
        {"model": registry.model, "history": [{**encode(item), "card": cards.get(item.version)} for item in entries]},
        _with_cards(reporter.table(columns, rows), _of(cards, entries)) if rows else empty,
    )


def _of(cards: dict[int, str], entries: list[ChannelPointer]) -> dict[int, str]:
    return {item.version: cards[item.version] for item in entries if item.version in cards}


@verb(
    group="Registry", examples="orchard card\norchard card 7 --to build/card\norchard card latest --json | jq -r .html"
)
@click.argument("version", type=VERSION, default="latest")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("artifacts/card"),
    show_default=True,
    help="The folder for card.html and card.md.",
)
def card(reporter: Reporter, version: int | str, to: Path) -> None:
    """Fetch the model card of VERSION (a number, `latest`, or a channel): a page for people, and Markdown as of Hugging Face.

    The card says what the model is for, how good it is by source and class, where it fails and how it was chosen. It is
    not signed; the version's manifest is.
    """
    from orchard.disk import writing_to
    from orchard.files import atomic_write
    from orchard.registry.cards import read_card

    registry = open_to_read()
    number = find_version(registry, version)
    registry.manifest(number)  # there is such a version, and it is trusted
    found = read_card(registry.store, registry.model, number)
    if found is None:
        raise DataError(
            f"version {number} of {registry.model} has no model card: it was published before there were any",
            hint="`orchard publish` of the same candidate adds it",
        )
    with writing_to(to):
        to.mkdir(parents=True, exist_ok=True)
        for name, body in (("card.md", found.markdown), ("card.html", found.html)):
            atomic_write(to / name, body)
    paths = {"html": str(to / "card.html"), "markdown": str(to / "card.md")}
    reporter.result(
        {"model": registry.model, "version": number, **paths},
        f"the model card of version {number} of {registry.model}: {paths['html']}, {paths['markdown']}",
    )


def _published_version(store: ObjectStore, run_id: str | None) -> int:
    """Return the version that a run published. Raises `DataError`."""
    from orchard.runs import records

    if run_id is None:
        raise click.UsageError("Missing argument 'VERSION'.")
    result = records.recorded(store, run_id, "publish")
    if result is None:
        raise DataError(f"the run {run_id} has published no version", hint="`orchard publish` in this run does")
    return int(result["version"])


@verb(
    group="Registry",
    examples="orchard promote latest --channel canary --why 'nightly run'\norchard promote 7 --why 'canary was fine'",
)
@click.argument("version", type=VERSION, required=False)
@click.option("--channel", type=CHANNEL, help="The channel to change.  [default: ORCHARD_CHANNEL]")
@click.option("--why", help="The reason; the history keeps it.  [default: run ORCHARD_RUN_ID]")
@click.option("--override-reason", help="Promote a version that the gate has not accepted, for this reason.")
@click.option("--forward", is_flag=True, help="Change nothing if the channel points to a newer version; exit code 7.")
@click.option("--again", is_flag=True, help="Write a new pointer even if the channel points to VERSION already.")
@click.option(
    "--after-generation",
    type=click.IntRange(0),
    metavar="N",
    help="Replace a pointer that is lost, not trusted, or older than N, which `orchard sync` has seen.",
)
def promote(
    reporter: Reporter,
    version: int | str | None,
    channel: str | None,
    why: str | None,
    override_reason: str | None,
    **pointer: Any,
) -> None:
    """Let a channel point to VERSION (a number, `latest`, or a channel), after verifying its manifest and all its files.

    Without VERSION it is the version that the run ORCHARD_RUN_ID published.

    If somebody else changes the channel at the same time, the command ends with exit code 7 and changes nothing. It may
    be repeated after a crash.

    With --again every sync that has refused the version judges it at once, and not only after its back-off.

    Promoted to stable, the version loses its weight in the channels canary and shadow: all traffic gets it.
    """
    target, intent = open_to_change(channel, why)
    registry = target.registry
    if version is None:
        version = _published_version(registry.store, intent.run_id)
    version = find_version(registry, version)
    with reporter.status(f"verifying version {version} of {registry.model}"):
        change = target.promote(version, intent, override_reason=override_reason, **pointer)
    if target.name == STABLE:
        _end_weights(reporter, registry, version, intent)
    _print_change(reporter, change, "promote")
    if not change.changed and intent.run_id is None:
        reporter.note("nothing was changed; with --again every sync that has refused this version judges it at once")


def _end_weights(reporter: Reporter, registry: ModelVersions, version: int, intent: ChangeIntent) -> None:
    """Take the weight from the version that was promoted; a failure is reported and never undoes the promotion."""
    from orchard.registry.channel_weights import end_weights

    try:
        for change in end_weights(registry, version, intent):
            name = f"{change.pointer.channel} of {registry.model}"
            reporter.note(f"{name}: version {version} has no weight any more, stable is the same")
    except OrchardError as error:
        reporter.note(
            f"a channel keeps its weight: {error.message}; `orchard canary 0 --why …` and `orchard shadow 0 --why …` take it away"
        )


@verb(
    group="Registry",
    examples="orchard rollback --why 'takes plums for grapes'\norchard rollback --to 5 --channel canary --why drill",
)
@click.option(
    "--to", type=click.IntRange(1), metavar="VERSION", help="The version to go back to.  [default: the one before]"
)
@click.option("--channel", type=CHANNEL, help="The channel to change.  [default: ORCHARD_CHANNEL]")
@click.option("--why", required=True, help="The reason; the history keeps it.")
def rollback(reporter: Reporter, to: int | None, channel: str | None, why: str) -> None:
    """Let a channel point to an earlier version again, after verifying all its files.

    Without --to it is the version before the current one, and never one that was rolled back. The same command again
    changes nothing, so it may be repeated after a crash; with another reason it goes one version further back.

    A channel that was rolled back has no weight: it gets no share of the traffic until `orchard canary` (or
    `orchard shadow`) gives it one.
    """
    target, intent = open_to_change(channel, why)
    with reporter.status(f"verifying the version that {target.name} of {target.registry.model} goes back to"):
        change = target.rollback(intent, to=to)
    _print_change(reporter, change, "rollback")
