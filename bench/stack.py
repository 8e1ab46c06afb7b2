"""A store, a registry, `orchard sync` and `orchard serve` as real processes, for benchmarks that publish and serve."""

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


def run_python(*arguments: str, folder: Path | None = None, environment: Mapping[str, str]) -> str:
    """Run Python in another process, with more variables in its environment; returns its output."""
    process = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if process.returncode:
        output = f"{process.stdout[-2000:]}{process.stderr[-4000:]}"
        raise SystemExit(f"{' '.join(arguments)} failed with exit code {process.returncode}:\n{output}")
    return process.stdout


def run(*command: str) -> str:
    """Run a module in another process; returns its output."""
    return run_python("-m", *command, environment={"TF_CPP_MIN_LOG_LEVEL": "3"})


def free_port() -> int:
    """A free port."""
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
    raise SystemExit(f"timed out or ended before {what}\n{child.tail(30)}")


def get(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Request a page, or post a body to it; returns status and body, (0, b"") without an answer."""
    try:
        with urllib.request.urlopen(url, body, timeout=5) as answer:  # noqa: S310  a local address
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def is_up(url: str, body: bytes | None = None) -> bool:
    """Whether a page has the status 200, or answers a body with it."""
    return get(url, body)[0] == 200


def start_server(
    config: Path, log: Path, *options: str, environment: Mapping[str, str] | None = None
) -> tuple[ChildProcess, int]:
    """Start `orchard serve` with limits, metrics and access log; returns the process and its port without waiting."""
    port = free_port()
    arguments = ["--port", str(port), "--models-config", str(config), *options]
    return ChildProcess([sys.executable, "-m", "orchard", "serve", *arguments], environment=environment, log=log), port


@dataclass
class ServingStack:
    """A store, `orchard serve` and `orchard sync`.

    Attributes:
        folder: scratch.
        store: an empty bucket.
        environment: of the programs.
        key: signs versions and channels.
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
        """Start the store and both programs; they stop with `stack`."""
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
        """The registry, with the signing key."""
        return Registry(self.store, MODEL, self.key.trusted, self.key)

    def publish(self, model: Path) -> int:
        """Publish a SavedModel that `bench.bench_models` made; returns its version."""
        return self.registry.publish(model, facts_of(model)).version

    def promote(self, version: int) -> None:
        """Promote a version to the stable channel."""
        self.registry.channel("stable").promote(version, ChangeIntent("bench@here", f"version {version}"))

    def rollback(self) -> None:
        """Roll the stable channel back to the previous version."""
        self.registry.channel("stable").rollback(ChangeIntent("bench@here", f"rollback {uuid.uuid4()}"))

    def served(self) -> int | None:
        """The version that the stable label points to at the server."""
        status, body = get(f"http://127.0.0.1:{self.page}/status")
        channel: dict[str, Any] = json.loads(body)["channels"].get("stable", {}) if status == 200 else {}
        return channel.get("served") if channel.get("live") else None

    def await_served(self, version: int) -> None:
        """Wait until a version is live."""
        await_true(lambda: self.served() == version, self.sync, f"version {version} is served")


def make_bucket(embedded: EmbeddedStore) -> tuple[str, ObjectStore]:
    """Make an empty bucket; returns its name and its store."""
    bucket = f"b{uuid.uuid4().hex[:12]}"
    embedded.create_bucket(bucket)
    return bucket, open_store(bucket_settings(embedded, bucket))


def bucket_settings(embedded: EmbeddedStore, bucket: str) -> Settings:
    """Return the settings for a bucket."""
    environment = {**embedded.environment, "ORCHARD_STORE_URL": f"s3://{bucket}"}
    return Settings(**{name.removeprefix("ORCHARD_").lower(): value for name, value in environment.items()})  # type: ignore[arg-type]


def facts_of(model: Path) -> PublishMetadata:
    """The metadata for publishing a SavedModel of `bench.bench_models`."""
    facts = json.loads(model.with_name(model.name + ".facts.json").read_text())
    return PublishMetadata(
        signatures={name: ModelSignature(**value) for name, value in facts["signatures"].items()},
        ops=tuple(facts["ops"]),
        classes=tuple(facts["classes"]),
        dataset=DatasetRef("fruits", 1, "d" * 64),
        params_digest="e" * 64,
        code="0.1.0",
        metrics={},
        gate=GateRecord("accepted", "all checks passed", "a" * 64),
        created_by="bench@here",
    )
