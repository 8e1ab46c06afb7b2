"""Model cards: a page about each version for people, as HTML and Markdown, kept beside the version's manifest.

A card is created once and never changed or deleted. It is not signed: the manifest is, and has the figures that count.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchard import layout
from orchard.store.conditional import create_once, get_or_none
from orchard.store.objects import ObjectStore

__all__ = ["MAX_CARD", "ModelCard", "keep_card", "list_cards", "read_card"]

MAX_CARD = 1_000_000
"""The largest card, in bytes of HTML."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model card: a page that loads nothing else, and a Markdown file whose front matter is that of Hugging Face."""

    html: bytes
    markdown: bytes


def keep_card(store: ObjectStore, model: str, version: int, card: ModelCard) -> ModelCard:
    """Store the card of a version unless it has one, and return the one that it has afterwards. May be repeated.

    Raises:
        StoreError: the store failed.
    """
    markdown = create_once(store, layout.card(model, version, ".md"), card.markdown, "text/markdown; charset=utf-8")
    html = create_once(store, layout.card(model, version), card.html, "text/html; charset=utf-8")
    return ModelCard(html.body, markdown.body)


def read_card(store: ObjectStore, model: str, version: int) -> ModelCard | None:
    """Return the card of a version; None: it was published without one."""
    html, markdown = (get_or_none(store, layout.card(model, version, suffix)) for suffix in (".html", ".md"))
    return ModelCard(html.body, markdown.body) if html and markdown else None


def list_cards(store: ObjectStore, model: str) -> dict[int, str]:
    """Return the keys of all versions' cards, as HTML, by version."""
    keys = (stat.key for stat in store.list(layout.versions(model)))
    return {version: key for key in keys if (version := layout.version_of_card_key(key)) is not None}
