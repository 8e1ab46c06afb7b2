"""`orchard note` and `orchard tag`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchard.cli.verb import verb
from orchard.cli.version_argument import VERSION, find_version
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.registry.annotations import AnnotationChange, Annotations
    from orchard.registry.channels import ChangeIntent

__all__ = ["note", "tag"]


def _open(version: int | str, why: str) -> tuple[Annotations, ChangeIntent]:
    from orchard import settings
    from orchard.registry.annotations import Annotations
    from orchard.registry.channels import ChangeIntent
    from orchard.registry.registry import Registry
    from orchard.runs.records import actor

    config = settings.load()
    config.require("store_url", "trusted_keys_file", "signing_key_file")
    registry = Registry.open(config, sign=True)
    return Annotations(registry, find_version(registry, version)), ChangeIntent(actor(config), why, config.run_id)


def _print(reporter: Reporter, target: Annotations, change: AnnotationChange, text: str) -> None:
    from orchard.documents import encode

    model, version = target.registry.model, target.version
    document = {
        "model": model,
        "version": version,
        "changed": change.written is not None,
        "record": encode(change.written) if change.written else None,
        "tags": list(change.tags),
    }
    reporter.result(document, f"version {version} of {model}: {text}")


@verb(
    group="Registry", examples='orchard note 7 "takes plums for grapes in the shade"\norchard note stable "ran a week"'
)
@click.argument("version", type=VERSION)
@click.argument("text")
def note(reporter: Reporter, version: int | str, text: str) -> None:
    """Write a note about VERSION (a number, `latest`, or a channel): a signed record with the actor and the time.

    The manifest does not change. Notes are kept permanently, also of a version that is pruned; a further note corrects
    one. The same note again changes nothing, so the command may be repeated after a crash. `orchard versions VERSION`
    shows them.
    """
    target, intent = _open(version, "")
    change = target.add_note(text, intent)
    count = sum(record.kind == "note" for record in change.records)
    done = "noted" if change.written else "this note is there already"
    _print(reporter, target, change, f"{done}; it has {count} note{'s' * (count != 1)}")


@verb(
    group="Registry",
    examples='orchard tag 7 reviewed\norchard tag 7 best-so-far --why "shop photos"\norchard tag 7 reviewed --remove',
)
@click.argument("version", type=VERSION)
@click.argument("name")
@click.option("--remove", is_flag=True, help="Remove the tag; the records keep that the version had it.")
@click.option("--why", default="", help="The reason; it is kept with the change.")
def tag(reporter: Reporter, version: int | str, name: str, *, remove: bool, why: str) -> None:
    """Give VERSION (a number, `latest`, or a channel) the tag NAME, or remove it.

    A tag is a word without white space and commas, such as `reviewed` or `data=v3`. Each change is a signed record with
    the actor, the time and the reason; the manifest does not change, and no server looks at tags. The same command
    again changes nothing. `orchard versions --tag NAME` lists the versions that have it.
    """
    target, intent = _open(version, why)
    change = target.remove_tag(name, intent) if remove else target.add_tag(name, intent)
    tags = ", ".join(change.tags) or "none"
    done = "nothing was changed; its tags" if change.written is None else "its tags now"
    _print(reporter, target, change, f"{done}: {tags}")
