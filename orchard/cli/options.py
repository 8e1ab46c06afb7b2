"""What `orchard prune` and `orchard housekeeping` ask alike: which versions stay whole."""

from __future__ import annotations

from collections.abc import Iterable

import click

__all__ = ["keep_option", "loaded_versions", "serving_option"]

keep_option = click.option(
    "--keep",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Newest versions to keep, and steps back on each channel.",
)

serving_option = click.option(
    "--serving", multiple=True, metavar="URL", help="A model server whose versions stay too; may be repeated."
)


def loaded_versions(servers: Iterable[str], model: str) -> frozenset[int]:
    """Ask model servers which versions of a model they have.

    Args:
        servers: their URLs.
        model: the model's name.

    Raises:
        ServerError: one of them did not answer.
    """
    from orchard.client import ModelServer

    return frozenset(status.version for url in servers for status in ModelServer(url).status(model))
