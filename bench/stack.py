"""A store, a registry, `orchard sync` and `orchard serve`, as real processes, for benchmarks that publish and serve."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.processes import ChildProcess
from orchard.registry.channels import ChangeIntent
from orchard.registry.manifest import DatasetRef, GateRecord, ModelSignature, PublishMetadata
from orchard.registry.registry import Registry
from orchard.settings import Settings
from orchard.signing import SigningKey, create_pair, load_key
from orchard.store import ObjectStore, open_store
from orchard.store.embedded import EmbeddedStore

ROOT = Path(__file__).resolve().parents[1]
MODEL = "fruits"
READY_S = 120.0


def run(*command: str) -> str:
    """Run a module in a process of its own; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_true(condition: Callable[[], bool], child: ChildProcess, what: str, *, pause_s: float = 0.05) -> None:
    """Wait for a condition while a child runs; a SystemExit shows its log."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end and child.running():
        if condition():
            return
        time.sleep(pause_s)
    raise SystemExit(f"not so: {what}\n{child.tail(30)}")


def get(url: str, token: str = "") -> tuple[int, bytes]:
    """Ask for a page; returns status and body, (0, b"") if nobody answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  our own address
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def is_up(url: str) -> bool:
    """Whether a page is there."""
    return get(url)[0] == 200


def start_server(
    config: Path, log: Path, *options: str, environment: Mapping[str, str] | None = None
) -> tuple[ChildProcess, int]:
    """Start `orchard serve` as in earnest: limits, metrics, access log; returns it and its port at once."""
    port = free_port()
    given = ["--port", str(port), "--models-config", str(config), *options]
    return ChildProcess([sys.executable, "-m", "orchard", "serve", *given], environment=environment, log=log), port


@dataclass
class ServingStack:
    """Everything between a published version and its answers.

    Attributes:
        folder: scratch.
        store: an empty bucket on a store of its own.
        environment: of the programs.
        key: what versions and channels are signed with.
        server: `orchard serve`.
        sync: `orchard sync`.
        port: the server's.
        page: the port of sync's status page.
    """

    folder: Path
    store: ObjectStore
    environment: dict[str, str]
    key: SigningKey
    server: ChildProcess
    sync: ChildProcess
    port: int
    page: int

    @classmethod
    def open(cls, folder: Path, stack: ExitStack) -> ServingStack:
        """Start the store and both programs; they end with `stack`."""
        folder.mkdir(parents=True)
        embedded = stack.enter_context(EmbeddedStore(folder / "store"))
        bucket, store = make_bucket(embedded)
        pair = create_pair(folder / "keys")
        serving = folder / "serving"
        environment = {
            **os.environ,
            **embedded.environment,
            "ORCHARD_STORE_URL": f"s3://{bucket}",
            "ORCHARD_TRUSTED_KEYS_FILE": str(pair.public),
            "ORCHARD_SERVING_DIR": str(serving),
            "ORCHARD_MODEL": MODEL,
        }
        config = serving / "models.config"
        server, port = start_server(config, folder / "serve.log", environment=environment)
        stack.enter_context(server)
        environment["ORCHARD_SERVER_URL"] = f"http://127.0.0.1:{port}"
        page = free_port()
        command = [sys.executable, "-m", "orchard", "sync", "--port", str(page)]
        sync = stack.enter_context(ChildProcess(command, environment=environment, log=folder / "sync.log"))
        await_true(lambda: is_up(f"http://127.0.0.1:{port}/healthz"), server, "the server is up")
        await_true(lambda: is_up(f"http://127.0.0.1:{page}/healthz"), sync, "sync is up")
        return cls(folder, store, environment, load_key(pair.private), server, sync, port, page)

    @property
    def registry(self) -> Registry:
        """The registry, opened to sign."""
        return Registry(self.store, MODEL, self.key.trusted, self.key)

    def publish(self, model: Path) -> int:
        """Publish a SavedModel that `bench.bench_models` made; returns its version."""
        return self.registry.publish(model, facts_of(model)).version

    def promote(self, version: int) -> None:
        """Have the stable channel mean a version."""
        why = ChangeIntent("bench@here", f"version {version}")
        self.registry.channel("stable").promote(version, why)

    def rollback(self) -> None:
        """Have it mean the version before."""
        why = ChangeIntent("bench@here", f"back again {uuid.uuid4()}")
        self.registry.channel("stable").rollback(why)

    def served(self) -> int | None:
        """The version that the stable label points to at the server."""
        status, body = get(f"http://127.0.0.1:{self.page}/status")
        found: dict[str, Any] = json.loads(body)["channels"].get("stable", {}) if status == 200 else {}
        return found.get("served") if found.get("live") else None

    def await_served(self, version: int) -> None:
        """Wait until a version is live."""
        await_true(lambda: self.served() == version, self.sync, f"version {version} is served")


def make_bucket(embedded: EmbeddedStore) -> tuple[str, ObjectStore]:
    """Make an empty bucket; returns its name and its store."""
    bucket = f"b{uuid.uuid4().hex[:12]}"
    embedded.create_bucket(bucket)
    given = {**embedded.environment, "ORCHARD_STORE_URL": f"s3://{bucket}"}
    settings = Settings(**{name.removeprefix("ORCHARD_").lower(): value for name, value in given.items()})  # type: ignore[arg-type]
    return bucket, open_store(settings)


def facts_of(model: Path) -> PublishMetadata:
    """What a publisher says of a SavedModel that `bench.bench_models` made."""
    found = json.loads(model.with_name(model.name + ".facts.json").read_text())
    return PublishMetadata(
        signatures={name: ModelSignature(**value) for name, value in found["signatures"].items()},
        ops=tuple(found["ops"]),
        classes=tuple(found["classes"]),
        dataset=DatasetRef("fruits", 1, "d" * 64),
        params_digest="e" * 64,
        code="0.1.0",
        metrics={},
        gate=GateRecord("accepted", "all checks passed", "a" * 64),
        created_by="bench@here",
    )
