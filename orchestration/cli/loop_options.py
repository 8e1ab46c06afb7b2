"""Options that verbs of the whole loop share: the release of `deploy`, `undeploy` and `doctor`; the photos of `run` and `deploy`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

__all__ = ["RELEASE", "photos_option", "release_options"]

RELEASE = "orchard"


def release_options(namespace: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator for the options that choose a release.

    Args:
        namespace: what the namespace is without the option, for the help.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option("--release", default=RELEASE, show_default=True, help="The Helm release."),
            click.option("--namespace", "-n", help=f"The namespace.  [default: {namespace}]"),
            click.option("--context", help="The kubeconfig's context.  [default: the current one]"),
        ):
            command = option(command)
        return command

    return decorate


def photos_option(dataset: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator for the option that names photos to ingest.

    Args:
        dataset: which dataset is used without photos, for the help.
    """
    return click.option(
        "--photos",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help=f"Ingest these photos.  [default: ORCHARD_PHOTOS; without it {dataset} is used as it is]",
    )
