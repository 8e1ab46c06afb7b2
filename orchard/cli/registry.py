"""`orchard versions`, `orchard history`, `orchard card`, `orchard promote` and `orchard rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.errors import DataError
from orchard.formatting import accuracy_text, percent
from orchard.layout import CHANNELS
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.registry.channels import ChangeIntent, Channel, ChannelChange
    from orchard.registry.manifest import Manifest
    from orchard.registry.pointers import ChannelPointer
    from orchard.registry.registry import Registry
    from orchard.registry.versions import ModelVersions
    from orchard.store import ObjectStore

_CHANNEL = click.Choice(CHANNELS)


class _Number(click.ParamType[int | str]):
    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Accept a version's number or `latest`."""
        if value == "latest":
            return "latest"
        try:
            return click.IntRange(1).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither a version's number nor latest", param, ctx)


def _open_to_read() -> Registry:
    from orchard import settings
    from orchard.registry.registry import Registry

    return Registry.open(settings.load())


def _open_to_change(channel: str | None, why: str | None) -> tuple[Channel, ChangeIntent]:
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


def _second(created: str) -> str:
    """A time for people, without fractions of a second."""
    return f"{created[:19]}Z"


def _print_change(reporter: Reporter, change: ChannelChange, action: str) -> None:
    from orchard import env_files
    from orchard.documents import encode

    now, store = change.pointer, env_files.in_use()
    place = f"{now.channel} of {now.model}" + (f" in {store}" if store else "")
    before = f"version {now.previous}" if now.previous else "nothing"
    text = f"{place}: {before} → version {now.version} (generation {now.generation})"
    if not change.changed:
        text = f"{place}: already version {now.version} (generation {now.generation}, {now.action} by {now.who})"
    reporter.result({"action": action, "changed": change.changed, **encode(now), "store_name": store}, text)


def _accuracy(share: float, n: int) -> str:
    """Write an accuracy, with its interval if the manifest has the number of photos."""
    return accuracy_text(round(share * n), n) if n else percent(share)


def _row(item: Manifest, channels: list[str]) -> list[object]:
    figures = [
        f"{name} {_accuracy(value, int(item.metrics.get(f'{name}.n', 0)))}"
        for name, value in (
            (key.removesuffix(".accuracy"), value) for key, value in item.metrics.items() if key.endswith(".accuracy")
        )
    ]
    data = f"{item.dataset.name} {item.dataset.version or item.dataset.digest[:12]}"
    size = f"{item.size / 1e6:.1f} MB"
    accuracy = ", ".join(figures) or "-"
    where = " ".join(channels) or "-"
    return [item.version, where, data, item.gate.verdict, size, accuracy, _second(item.created), item.created_by]


@verb(group="Registry", examples="orchard versions\norchard versions --json | jq '.versions[-1].metrics'")
def versions(reporter: Reporter) -> None:
    """List the model's versions: dataset, gate verdict, accuracy, model card, and the channels that point to them.

    Every manifest's signature is checked; one that cannot be trusted is shown with the reason.
    """
    from orchard.documents import encode
    from orchard.errors import IntegrityError
    from orchard.registry.cards import list_cards

    registry = _open_to_read()
    cards = list_cards(registry.store, registry.model)
    pointers = [pointer for name in CHANNELS if (pointer := registry.channel(name).read())]
    rows: list[list[object]] = []
    documents: list[dict[str, Any]] = []
    for number in registry.versions():
        channels = [pointer.channel for pointer in pointers if pointer.version == number]
        try:
            item = registry.manifest(number)
        except IntegrityError as error:
            reporter.note(error.message)
            rows.append([number, " ".join(channels) or "-", "not trusted", "-", "-", "-", "-", "-"])
            documents.append(
                {"version": number, "channels": channels, "error": error.message, "card": cards.get(number)}
            )
            continue
        rows.append(_row(item, channels))
        documents.append({**item.payload(), "channels": channels, "card": cards.get(number)})
    columns = ["version", "channels", "dataset", "gate", "size", "accuracy (95 % interval)", "created", "by"]
    empty = f"no version of {registry.model} has been published to {registry.store.name}"
    reporter.result(
        {"model": registry.model, "versions": documents, "pointers": [encode(item) for item in pointers]},
        _with_cards(reporter.table(columns, rows), cards) if rows else empty,
    )


def _with_cards(table: str, cards: dict[int, str]) -> str:
    """Add to a table of versions where their model cards are."""
    if not cards:
        return table
    version, key = max(cards.items())
    return f"{table}\nthe model card of version {version}: {key} (`orchard card {version}` fetches it)"


@verb(group="Registry", examples="orchard history\norchard history --channel canary --json")
@click.option("--channel", type=_CHANNEL, help="Only this channel.  [default: all]")
def history(reporter: Reporter, channel: str | None) -> None:
    """Show all changes of the channels: the time, the versions, the actor and the reason.

    The command checks every entry's signature, and that no entry is missing.
    """
    from orchard.documents import encode
    from orchard.registry.cards import list_cards

    registry = _open_to_read()
    cards = list_cards(registry.store, registry.model)
    names = CHANNELS if channel is None else (channel,)
    entries = [item for name in names for item in registry.channel(name).history()]
    rows = [
        [
            item.channel,
            item.generation,
            item.action,
            f"{item.previous or '-'} → {item.version}",
            item.verdict,
            _second(item.created),
            item.who,
            item.why + (f" (override: {item.override_reason})" if item.override_reason else ""),
        ]
        for item in entries
    ]
    columns = ["channel", "generation", "action", "versions", "gate", "when", "who", "why"]
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
@click.argument("version", type=_Number(), default="latest")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("artifacts/card"),
    show_default=True,
    help="The folder for card.html and card.md.",
)
def card(reporter: Reporter, version: int | str, to: Path) -> None:
    """Fetch the model card of VERSION (a number, or `latest`): a page for people, and Markdown as of Hugging Face.

    The card says what the model is for, how good it is by source and class, where it fails and how it was chosen. It is
    not signed; the version's manifest is.
    """
    from orchard.disk import writing_to
    from orchard.files import atomic_write
    from orchard.registry.cards import read_card

    registry = _open_to_read()
    number = _newest(registry) if isinstance(version, str) else version
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


def _newest(registry: ModelVersions) -> int:
    known = registry.versions()
    if not known:
        raise DataError(
            f"{registry.model!r} has no version in {registry.store.name}", hint="`orchard publish` makes one"
        )
    return known[-1]


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
@click.argument("version", type=_Number(), required=False)
@click.option("--channel", type=_CHANNEL, help="The channel to change.  [default: ORCHARD_CHANNEL]")
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
    """Let a channel point to VERSION (a number, or `latest`), after verifying its manifest and all its files.

    Without VERSION it is the version that the run ORCHARD_RUN_ID published.

    If somebody else changes the channel at the same time, the command ends with exit code 7 and changes nothing. It may
    be repeated after a crash.

    With --again every sync that has refused the version judges it at once, and not only after its back-off.
    """
    target, intent = _open_to_change(channel, why)
    registry = target.registry
    if version is None:
        version = _published_version(registry.store, intent.run_id)
    if isinstance(version, str):
        version = _newest(registry)
    with reporter.status(f"verifying version {version} of {registry.model}"):
        change = target.promote(version, intent, override_reason=override_reason, **pointer)
    _print_change(reporter, change, "promote")
    if not change.changed and intent.run_id is None:
        reporter.note("nothing was changed; with --again every sync that has refused this version judges it at once")


@verb(
    group="Registry",
    examples="orchard rollback --why 'takes plums for grapes'\norchard rollback --to 5 --channel canary --why drill",
)
@click.option(
    "--to", type=click.IntRange(1), metavar="VERSION", help="The version to go back to.  [default: the one before]"
)
@click.option("--channel", type=_CHANNEL, help="The channel to change.  [default: ORCHARD_CHANNEL]")
@click.option("--why", required=True, help="The reason; the history keeps it.")
def rollback(reporter: Reporter, to: int | None, channel: str | None, why: str) -> None:
    """Let a channel point to an earlier version again, after verifying all its files.

    Without --to it is the version before the current one, and never one that was rolled back. The same command again
    changes nothing, so it may be repeated after a crash; with another reason it goes one version further back.
    """
    target, intent = _open_to_change(channel, why)
    with reporter.status(f"verifying the version that {target.name} of {target.registry.model} goes back to"):
        change = target.rollback(intent, to=to)
    _print_change(reporter, change, "rollback")
