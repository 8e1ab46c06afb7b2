"""`orchard versions`, `orchard history`, `orchard promote` and `orchard rollback`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchard.cli.output import Output
from orchard.cli.verb import verb
from orchard.errors import DataError

if TYPE_CHECKING:
    from orchard.registry.channels import ChangeIntent, ChannelChange
    from orchard.registry.manifest import Manifest
    from orchard.settings import Settings
    from orchard.signing import SigningKey, TrustedKeys
    from orchard.store import ObjectStore

CHANNELS = click.Choice(["stable", "canary", "shadow"])


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


def _opened() -> tuple[Settings, ObjectStore, TrustedKeys]:
    from orchard import settings
    from orchard.signing import load_trusted
    from orchard.store import open_store

    found = settings.load()
    found.require("store_url", "trusted_keys_file")
    return found, open_store(found), load_trusted(found.trusted_keys_file)  # type: ignore[arg-type]  # required above


def _intended(found: Settings, why: str) -> tuple[SigningKey, ChangeIntent]:
    from orchard.registry.channels import ChangeIntent
    from orchard.runs.records import actor
    from orchard.signing import load_key

    found.require("signing_key_file")
    key = load_key(found.signing_key_file)  # type: ignore[arg-type]  # required the line before
    return key, ChangeIntent(actor(found), why, found.run_id)


def _second(created: str) -> str:
    """A time for people: without the fraction that tells two writes of one second apart."""
    return f"{created[:19]}Z"


def _told(out: Output, change: ChannelChange, action: str) -> None:
    from orchard.documents import encode

    now = change.pointer
    place = f"{now.channel} of {now.model}"
    before = f"version {now.previous}" if now.previous else "nothing"
    text = f"{place}: {before} → version {now.version} (generation {now.generation})"
    if not change.changed:
        text = f"{place}: version {now.version} already (generation {now.generation}, {now.action} by {now.who})"
    out.result({"action": action, "changed": change.changed, **encode(now)}, text)


def _row(item: Manifest, meant: list[str]) -> list[object]:
    figures = [
        f"{name.removesuffix('.accuracy')} {100 * value:.1f} %"
        for name, value in item.metrics.items()
        if name.endswith(".accuracy")
    ]
    data = f"{item.dataset.name} {item.dataset.version or item.dataset.digest[:12]}"
    size = f"{item.size / 1e6:.1f} MB"
    accuracy = ", ".join(figures) or "-"
    where = " ".join(meant) or "-"
    return [item.version, where, data, item.gate.verdict, size, accuracy, _second(item.created), item.created_by]


@verb(examples="orchard versions\norchard versions --json | jq '.versions[-1].metrics'")
def versions(out: Output) -> None:
    """List the model's versions: what they were made from, how good they are, and which channel means them.

    Every manifest's signature is checked; one that cannot be believed is shown with the reason.
    """
    from orchard.documents import encode
    from orchard.errors import IntegrityError
    from orchard.registry import registry
    from orchard.registry.pointers import CHANNELS, read

    found, store, trusted = _opened()
    pointers = [pointer for name in CHANNELS if (pointer := read(store, found.model, name, trusted))]
    rows: list[list[object]] = []
    documents: list[dict[str, Any]] = []
    for number in registry.versions(store, found.model):
        meant = [pointer.channel for pointer in pointers if pointer.version == number]
        try:
            item = registry.read_manifest(store, found.model, number, trusted)
        except IntegrityError as error:
            out.note(error.message)
            rows.append([number, " ".join(meant) or "-", "not to be believed", "-", "-", "-", "-", "-"])
            documents.append({"version": number, "channels": meant, "error": error.message})
            continue
        rows.append(_row(item, meant))
        documents.append({**item.payload(), "channels": meant})
    columns = ["version", "channels", "dataset", "gate", "size", "accuracy", "created", "by"]
    empty = f"no version of {found.model} has been published to {store.name}"
    out.result(
        {"model": found.model, "versions": documents, "pointers": [encode(item) for item in pointers]},
        out.table(columns, rows) if rows else empty,
    )


@verb(examples="orchard history\norchard history --channel canary --json")
@click.option("--channel", type=CHANNELS, help="Only this channel.  [default: all]")
def history(out: Output, channel: str | None) -> None:
    """Show what every channel ever meant: who changed it, when, from what to what, and why.

    Every entry's signature is checked, and that none is missing.
    """
    from orchard.documents import encode
    from orchard.registry import pointers

    found, store, trusted = _opened()
    names = pointers.CHANNELS if channel is None else (channel,)
    entries = [item for name in names for item in pointers.history(store, found.model, name, trusted)]
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
    empty = f"nothing was ever promoted for {found.model} in {store.name}"
    out.result(
        {"model": found.model, "history": [encode(item) for item in entries]},
        out.table(columns, rows) if rows else empty,
    )


@verb(examples="orchard promote latest --channel canary --why 'nightly run'\norchard promote 7 --why 'canary was fine'")
@click.argument("version", type=_Number())
@click.option("--channel", type=CHANNELS, help="The channel that shall mean it.  [default: ORCHARD_CHANNEL]")
@click.option("--why", required=True, help="The reason; the history keeps it.")
@click.option("--override-reason", help="Promote a version that the gate has not accepted, for this reason.")
@click.option("--forward", is_flag=True, help="Leave a channel alone that means a newer version already; exit code 7.")
def promote(
    out: Output, version: int | str, channel: str | None, why: str, override_reason: str | None, forward: bool
) -> None:
    """Make a channel mean VERSION (a number, or `latest`), after proving its manifest and every byte of it.

    Somebody else's change in between ends it with exit code 7 and changes nothing; the same command again after a
    crash finds its own work.
    """
    from orchard.registry import channels, registry

    found, store, trusted = _opened()
    key, intent = _intended(found, why)
    if isinstance(version, str):
        known = registry.versions(store, found.model)
        if not known:
            raise DataError(f"{found.model!r} has no version in {store.name}", hint="`orchard publish` makes one")
        version = known[-1]
    with out.status(f"proving version {version} of {found.model}"):
        change = channels.promote(
            store,
            found.model,
            channel or found.channel,
            version,
            key,
            intent,
            trusted=trusted,
            override_reason=override_reason,
            forward=forward,
        )
    _told(out, change, "promote")


@verb(examples="orchard rollback --why 'takes plums for grapes'\norchard rollback --to 5 --channel canary --why drill")
@click.option(
    "--to", type=click.IntRange(1), metavar="VERSION", help="The version to go back to.  [default: the one before]"
)
@click.option("--channel", type=CHANNELS, help="The channel to change.  [default: ORCHARD_CHANNEL]")
@click.option("--why", required=True, help="The reason; the history keeps it.")
def rollback(out: Output, to: int | None, channel: str | None, why: str) -> None:
    """Make a channel mean an earlier version again, after proving that every byte of it is there.

    Without --to it is the version before the current one, and never one that was rolled back from. The same command
    again changes nothing, so it may be repeated after a crash; another reason goes one further back.
    """
    from orchard.registry import channels

    found, store, trusted = _opened()
    key, intent = _intended(found, why)
    with out.status(f"proving the version that {channel or found.channel} of {found.model} goes back to"):
        change = channels.rollback(store, found.model, channel or found.channel, key, intent, to=to, trusted=trusted)
    _told(out, change, "rollback")
