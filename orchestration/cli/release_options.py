"""The options that choose a release, of the verbs `deploy`, `undeploy` and `doctor`."""

from __future__ import annotations

from collections.abc import Callable

import click

__all__ = ["RELEASE", "release_options"]

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
