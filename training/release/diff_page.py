"""The page of a comparison: two versions side by side, and both model cards beside the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchard.cli.version_text import FIGURE_NAMES, value_text
from orchard.disk import writing_to
from orchard.files import atomic_write
from orchard.registry.annotations import Annotations, tags_of
from orchard.registry.cards import read_card
from orchard.registry.comparison import VersionDiff
from orchard.registry.manifest import Manifest
from orchard.registry.version_overview import read_pointers
from orchard.registry.versions import ModelVersions
from training import pages

__all__ = ["write_diff"]


def write_diff(path: Path, registry: ModelVersions, found: VersionDiff) -> list[Path]:
    """Write the page of a comparison, and the model cards of both versions beside it.

    Args:
        path: the page.
        registry: the model.
        found: the comparison.

    Returns:
        The paths of the cards; a version without a card has none.

    Raises:
        DiskError: the folder cannot be written to.
        IntegrityError: a note or a channel is not trusted.
    """
    cards: dict[int, Path] = {}
    with writing_to(path.absolute().parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        for manifest in (found.before, found.after):
            card = read_card(registry.store, registry.model, manifest.version)
            if card is not None:
                cards[manifest.version] = path.parent / f"{path.stem}-card-{manifest.version}.html"
                atomic_write(cards[manifest.version], card.html)
        pages.write(path, "diff.html", **_page(registry, found, {n: card.name for n, card in cards.items()}))
    return list(cards.values())


def _page(registry: ModelVersions, found: VersionDiff, cards: dict[int, str]) -> dict[str, Any]:
    pointers = read_pointers(registry)
    judged = [one.judgement for one in found.figures if one.name == "accuracy"]
    state = "bad" if "worse" in judged else "good" if "better" in judged else "plain"
    return {
        "state": state if found.same_photos else "warn",
        "diff": found,
        "cards": cards,
        "names": FIGURE_NAMES,
        "value_text": value_text,
        "sides": [
            _side(registry, manifest, [one.channel for one in pointers if one.version == manifest.version])
            for manifest in (found.before, found.after)
        ],
        "channels": [(one.channel, one.version) for one in pointers],
        "made": pages.made_now(),
    }


def _side(registry: ModelVersions, manifest: Manifest, channels: list[str]) -> list[tuple[str, str]]:
    """The facts of one version."""
    records = Annotations(registry, manifest.version).read()
    data = manifest.dataset
    tags = tags_of(records)
    return [
        ("created", f"{manifest.created[:19]}Z by {manifest.created_by}"),
        ("code", manifest.code),
        ("dataset", f"{data.name} {data.version or 'not in the store'}"),
        ("its digest", data.digest),
        ("parameters' digest", manifest.params_digest),
        ("size", pages.size(manifest.size)),
        ("gate", f"{manifest.gate.verdict}: {manifest.gate.reason}"),
        ("channels", ", ".join(channels) or "none"),
        ("tags", ", ".join(tags) or "none"),
        *((f"note, {note.created[:10]}", f"{note.who}: {note.text}") for note in records if note.kind == "note"),
    ]
