"""A release of the chart, and the programs that manage it: kubectl and helm, with their errors as ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestration.cluster.kube_client import ClusterError

__all__ = ["CHECKOUT", "Release", "ReleaseSnapshot", "run"]

CHECKOUT = Path(__file__).resolve().parents[3]
"""The checkout, whose scripts `make deploy` runs; of a wheel it is the folder of all packages."""

_SECONDS = 120.0


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    seconds: float = _SECONDS,
    environment: Mapping[str, str] | None = None,
    show_errors: bool = False,
) -> str:
    """Run a program in the working folder and return its standard output.

    Args:
        command: the program and its arguments.
        stdin: its standard input.
        seconds: the time limit; then it is killed, with every process that it started.
        environment: its whole environment; None: ours.
        show_errors: pass its standard error to ours as it is written, instead of into the error.

    Raises:
        ClusterError: it is not installed, it failed, or it took too long.
    """
    program = Path(command[0]).name
    if shutil.which(command[0]) is None:
        raise ClusterError(f"{program} is not on the PATH", hint="`make doctor` lists what is missing")
    with subprocess.Popen(  # noqa: S603  the command comes from our own code
        list(command),
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if show_errors else subprocess.PIPE,
        env=None if environment is None else dict(environment),
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(stdin, timeout=seconds)
        except BaseException as error:  # a script's own children hold its output open: kill them too
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ClusterError(f"{' '.join(command[:6])} … did not end within {seconds:.0f} s") from error
            raise
    if process.returncode != 0:
        message = ((errors or "").strip() or output.strip())[-2000:] or "its output is above"
        raise ClusterError(
            f"{program} ended with {process.returncode}: {message}", hint="`make doctor` finds the reason"
        )
    return output


@dataclass(frozen=True, slots=True)
class Release:
    """A release of the chart, or one part of it.

    Attributes:
        context: the kubeconfig's.
        namespace: its namespace.
        name: its name.
        component: the part that `get` lists, by its label; empty: all parts.
    """

    context: str
    namespace: str
    name: str
    component: str = ""

    @property
    def fullname(self) -> str:
        """The prefix of the chart's names."""
        return self.name if "orchard" in self.name else f"{self.name}-orchard"

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `orchard job` that choose this release."""
        return ("--context", self.context, "--namespace", self.namespace, "--release", self.name)

    def kubectl_command(self, *arguments: str) -> list[str]:
        """A command line for kubectl."""
        return ["kubectl", "--context", self.context, "--namespace", self.namespace, *arguments]

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = _SECONDS) -> str:
        """Run kubectl here; see `run`."""
        return run(self.kubectl_command(*arguments), stdin=stdin, seconds=seconds)

    def helm(self, *arguments: str, seconds: float = _SECONDS) -> str:
        """Run helm here; see `run`."""
        where = ("--kube-context", self.context, "--namespace", self.namespace)
        return run(["helm", *arguments, *where], seconds=seconds)

    def get(self, *what: str) -> list[dict[str, Any]]:
        """Return objects of the release, or one object.

        Args:
            what: kinds, as ``"pods,jobs"``: all objects with the release's label; or a kind and a name.
        """
        labels = f"app.kubernetes.io/instance={self.name}"
        if self.component:
            labels += f",app.kubernetes.io/component={self.component}"
        selector = () if len(what) > 1 else ("--selector", labels)
        document: dict[str, Any] = json.loads(self.kubectl("get", *what, *selector, "--output=json"))
        items: list[dict[str, Any]] = document["items"] if document["kind"] == "List" else [document]
        return items

    def secret(self, name: str) -> dict[str, bytes]:
        """Return what a Secret holds."""
        from base64 import b64decode

        return {key: b64decode(value) for key, value in self.get("secret", name)[0].get("data", {}).items()}

    def serving_pods(self) -> list[str]:
        """Names of the model server's pods that are not being deleted."""
        return [
            item["metadata"]["name"]
            for item in self.get("pods")
            if item["metadata"]["labels"].get("app.kubernetes.io/component") == "serving"
            and "deletionTimestamp" not in item["metadata"]
        ]


@dataclass(frozen=True, slots=True)
class ReleaseSnapshot(Release):
    """A release whose objects are read once, so that several checks see one state."""

    _objects: dict[tuple[str, ...], list[dict[str, Any]]] = field(default_factory=dict, compare=False, repr=False)

    def get(self, *what: str) -> list[dict[str, Any]]:
        """Return objects of the release as they were when they were read first; see `Release.get`."""
        if what not in self._objects:
            self._objects[what] = Release.get(self, *what)
        return self._objects[what]
