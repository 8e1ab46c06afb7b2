"""Steps of runs as real processes, each in a folder of its own, against the real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchard import layout
from orchard.signing import create_pair
from orchard.store import ObjectStore

__all__ = ["CHECKOUT", "EndedProcess", "StepSite", "small_params"]

CHECKOUT = Path(__file__).resolve().parents[2]


def small_params(**sections: dict[str, Any]) -> dict[str, Any]:
    """The checkout's parameters, with a network and thresholds for a hundred drawn photos."""
    params = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    params["model"] |= {"image_size": 16, "cnn": {"filters": [8, 16], "dropout": 0.1}}
    params["evaluate"] = {"baseline": False}
    params["gate"] = {"accuracy": {"all": 0.01}, "photos": {"all": 1}}
    for name, values in sections.items():
        params[name] |= values
    return params


@dataclass(frozen=True, slots=True)
class EndedProcess:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Its result with --json."""
        return json.loads(self.out)


@dataclass(slots=True)
class StepSite:
    """A store, keys, a project, and a folder for the steps' folders."""

    root: Path
    store: ObjectStore
    environment: dict[str, str]
    count: int = 0
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pair = create_pair(self.root / "keys")
        self.extra = {
            "ORCHARD_TRUSTED_KEYS_FILE": str(pair.public),
            "ORCHARD_SIGNING_KEY_FILE": str(pair.private),
            "ORCHARD_STEP_SUMMARY": str(self.root / "summary.json"),
            "ORCHARD_DATASET": "own",
            "ORCHARD_MODEL": "own",
        }
        (self.root / "project").mkdir()

    def write_params(self, params: dict[str, Any]) -> None:
        """Set the project's params.yaml."""
        (self.root / "project" / "params.yaml").write_text(yaml.safe_dump(params))

    def start(self, run_id: str | None, *arguments: str, folder: Path | None = None) -> subprocess.Popen[str]:
        """Start ``orchard ARGUMENTS`` in a fresh empty folder, or in the one given."""
        self.count += 1
        folder = folder or self.root / f"folder-{self.count}"
        folder.mkdir(exist_ok=True)
        environment = {**os.environ, **self.environment, **self.extra}
        if run_id is not None:
            environment["ORCHARD_RUN_ID"] = run_id
        return subprocess.Popen(
            [sys.executable, "-m", "orchard", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, run_id: str | None, *arguments: str, folder: Path | None = None) -> EndedProcess:
        """Start ``orchard ARGUMENTS`` and wait for its end."""
        process = self.start(run_id, *arguments, folder=folder)
        out, err = process.communicate(timeout=240)
        return EndedProcess(process.returncode, out, err)

    def step(self, run_id: str, verb: str, *options: str) -> EndedProcess:
        """Run a step with the site's project, in a fresh folder."""
        return self.run(run_id, "step", verb, "--project", str(self.root / "project"), *options, "--json")

    def summary(self) -> dict[str, Any]:
        """The summary of the last step."""
        return json.loads((self.root / "summary.json").read_text())

    def copy_run(self, source: str, target: str, *steps: str) -> None:
        """Copy a run with some of its steps, so that a test need not train again."""
        for key in (layout.run(source), *(layout.run_step(source, step) for step in steps)):
            body = json.loads(self.store.get(key).body) | {"run_id": target}
            self.store.put(key.replace(f"runs/{source}/", f"runs/{target}/", 1), json.dumps(body).encode())
