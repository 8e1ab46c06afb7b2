"""Remedies for who has the installed command and no checkout: its verbs instead of the targets of the Makefile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from orchard.errors import OrchardError
from orchestration.cluster.deploy.release import Release

__all__ = ["in_verbs", "remedies_in_verbs"]

_NOT_THERE = re.compile(
    r"; make evidence saves all of it|: make evidence|, `make evidence` saves the state of the cluster"
)
_NAMED = {"make deploy NAMESPACE=…": "orchard deploy --namespace NAME", "CONTEXT=…": "--context NAME"}
_TARGET = re.compile(r"\bmake (deploy|doctor|undeploy|logs)\b|\bscripts/cluster up starts it")


def in_verbs(text: str, release: Release) -> str:
    """Return a remedy whose commands need no checkout, and name the release."""
    where = f"--namespace {release.namespace} --context {release.context}"
    name = f" --release {release.name}" if release.name != "orchard" else ""
    commands = {
        "doctor": f"orchard doctor {where}{name}",
        "undeploy": f"orchard undeploy {where}{name} --yes",
        "deploy": f"orchard deploy {where}{name}",
        "logs": f"kubectl {where} logs deployment/{release.fullname}-serving --all-containers",
    }
    text = _NOT_THERE.sub("", text)
    for written, meant in _NAMED.items():
        text = text.replace(written, meant)
    return _TARGET.sub(lambda match: commands[match[1]] if match[1] else "start it again with Docker", text)


@contextmanager
def remedies_in_verbs(release: Release) -> Iterator[None]:
    """Change the hint of an error that the context raises; see `in_verbs`."""
    try:
        yield
    except OrchardError as error:
        error.hint = in_verbs(error.hint, release)
        raise
