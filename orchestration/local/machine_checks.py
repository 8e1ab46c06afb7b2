"""What this machine has and lacks for a project: programs, packages, room, photos, the store and the ports."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import yaml

from orchard import layout, settings
from orchard.disk import free_bytes
from orchard.errors import DISTRIBUTION, OrchardError, install_hint
from orchard.running_store import DIRECTORY, PORT
from orchard.settings import Settings
from orchestration.local.run_inputs import require_project

__all__ = ["MachineCheck", "check_machine", "missing_packages"]

EXTRAS = ("training", "serving", "store")
"""What a project on one machine needs."""

STATUS_PORT = 8502
GIGABYTE = 1e9
COPIES = 4
"""Photos are in the archive, the shards, DVC's cache and the store."""

ROOM, MEMORY = 1.0, 2.0
"""Gigabytes: the room beside the photos' copies, and the memory that a training of small photos takes."""


@dataclass(frozen=True, slots=True)
class MachineCheck:
    """One line: what was looked at, whether it is there, what was found, and what to do if it is not there.

    `warning` may be as it is meant; `missing` stops a command; `skipped` was not looked at.
    """

    name: str
    state: Literal["ok", "warning", "missing", "skipped"]
    found: str
    remedy: str = ""


def check_machine(folder: Path) -> Iterator[MachineCheck]:
    """Look at everything that a project in `folder` needs, in the order of its use; nothing is written."""
    yield MachineCheck("python", "ok", f"{platform.python_version()}, {platform.machine()}")
    yield from _extras()
    yield from _programs()
    yield _project(folder)
    try:
        loaded = settings.load()
    except OrchardError as error:
        yield MachineCheck("settings", "missing", error.message, error.hint)
        return
    size = _size(loaded.photos)
    yield _photos(folder, loaded, size)
    yield _disk(folder, size)
    yield from _memory()
    yield _store(loaded)
    yield from _ports(loaded)
    yield _cluster()


def missing_packages(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    missing = []
    for text in metadata.requires(DISTRIBUTION) or []:
        name, _, marker = text.partition(";")
        machine = re.search(r"platform_machine (==|!=) [\"']([^\"']+)", marker)
        elsewhere = machine is not None and (platform.machine() == machine[2]) != (machine[1] == "==")
        if not re.search(rf"extra == [\"']{extra}[\"']", marker) or elsewhere:
            continue
        package = re.split(r"[^A-Za-z0-9._-]", name.strip())[0]
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            missing.append(package)
    return missing


def _extras() -> Iterator[MachineCheck]:
    for extra in EXTRAS:
        missing = missing_packages(extra)
        found = f"without {', '.join(missing)}" if missing else "every package is installed"
        yield MachineCheck(
            f"extra {extra}", "missing" if missing else "ok", found, install_hint(extra) if missing else ""
        )


def _programs() -> Iterator[MachineCheck]:
    here = Path(sys.executable).parent
    for name, remedy in (
        (
            "git",
            "install git: without it no version of the project is kept, and the commit is not in the model's record",
        ),
        ("dvc", f'activate the environment: export PATH="{here}:$PATH"; `orchard run` needs only the extra training'),
    ):
        path = shutil.which(name)
        yield MachineCheck(name, "ok" if path else "warning", path or "is not on the PATH", "" if path else remedy)


def _project(folder: Path) -> MachineCheck:
    try:
        require_project(folder)
    except OrchardError as error:
        return MachineCheck("project", "warning", error.message, error.hint)
    return MachineCheck("project", "ok", str(folder.absolute()))


def _size(photos: Path | None) -> float:
    """Return the bytes of an archive, or of the files in a folder; 0 if there is none."""
    if photos is None or not photos.exists():
        return 0
    if photos.is_file():
        return photos.stat().st_size
    total = 0
    for path in photos.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _photos(folder: Path, loaded: Settings, size: float) -> MachineCheck:
    has_dataset = (folder / "data" / loaded.dataset / "index.json").exists()
    if loaded.photos is None:
        if has_dataset:
            return MachineCheck("photos", "ok", f"those of data/{loaded.dataset}; ORCHARD_PHOTOS names no others")
        remedy = "write ORCHARD_PHOTOS=PATH into .env, or `orchard run --photos PATH`; a dataset of the store comes by `orchard pull`"
        return MachineCheck("photos", "warning", "ORCHARD_PHOTOS is not set, and there is no dataset", remedy)
    if not loaded.photos.exists():
        remedy = "correct ORCHARD_PHOTOS in .env; without that line the dataset is used as it is"
        return MachineCheck("photos", "missing", f"there is no {loaded.photos}", remedy)
    return MachineCheck("photos", "ok", f"{os.path.relpath(loaded.photos)}, {size / 1e6:,.1f} MB")


def _disk(folder: Path, size: float) -> MachineCheck:
    needed = ROOM + COPIES * size / GIGABYTE
    free = min(free_bytes(folder), free_bytes(Path(tempfile.gettempdir()))) / GIGABYTE
    found = f"{free:,.1f} GB free, about {needed:,.1f} GB needed"
    remedy = "make room; `orchard prune` and `dvc gc --workspace` delete what is old"
    return MachineCheck("disk", "ok" if free >= needed else "missing", found, remedy if free < needed else "")


def _memory() -> Iterator[MachineCheck]:
    with suppress(OSError, AttributeError, TypeError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        available = int(re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024 / GIGABYTE  # type: ignore[index]
        found = f"{available:,.1f} GB available, about {MEMORY:.0f} GB needed; {os.cpu_count()} cores"
        remedy = "end other programs, or train with a smaller `model.image_size` and `train.batch_size`"
        yield MachineCheck(
            "memory", "ok" if available >= MEMORY else "warning", found, remedy if available < MEMORY else ""
        )


def _store(loaded: Settings) -> MachineCheck:
    from orchard.store import open_store
    from orchard.store.conditional import get_or_none

    if loaded.store_url is None:
        return MachineCheck("store", "ok", f"none is set: the embedded one in {DIRECTORY}, when a command needs it")
    try:
        store = open_store(loaded)
        get_or_none(store, layout.probe(loaded.model))
    except OrchardError as error:
        return MachineCheck("store", "missing", error.message, error.hint or "`orchard store check` says more")
    return MachineCheck("store", "ok", f"{store.name} answers; `orchard store check` proves its rights")


def _ports(loaded: Settings) -> Iterator[MachineCheck]:
    from orchard.store import ports

    parts = urlsplit(loaded.server_url)
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    uses = [(parts.port or 80, "the model server", "another ORCHARD_SERVER_URL, such as http://127.0.0.1:9501")] * local
    uses += [(STATUS_PORT, "the page of `orchard sync`", "`orchard sync --port 0`")]
    if loaded.store_url is None and not ports.is_free(PORT):
        found = f"is taken by {ports.listener(PORT) or 'another program'}: the embedded store will take another one"
        yield MachineCheck(f"port {PORT}", "ok", found)
    for port, use, remedy in uses:
        if ports.is_free(port):
            yield MachineCheck(f"port {port}", "ok", f"is free for {use}")
        else:
            holder = ports.listener(port) or "another program"
            remedy = f"if that is not {use} of this project: {remedy}"
            yield MachineCheck(f"port {port}", "warning", f"is taken by {holder}", remedy)


def _cluster() -> MachineCheck:
    files = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    for name in filter(None, files.split(os.pathsep)):
        with suppress(OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
            if context := yaml.safe_load(Path(name).read_text(encoding="utf-8")).get("current-context"):
                found = f"the context is {context}: `orchard doctor --namespace NAME` looks at a release there"
                return MachineCheck("cluster", "skipped", found)
    return MachineCheck("cluster", "skipped", "no kube context is configured, and none is needed on one machine")
