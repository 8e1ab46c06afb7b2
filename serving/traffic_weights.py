"""The weight of the canary as Envoy's runtime reads it: sync writes it, the router's bootstrap file names it.

Envoy watches a symbolic link and reads the small files below it when the link is replaced, so a weight acts without a
reload and without a lost request:

    current -> weights-01000                     10 % (in steps of 0.01 %)
    weights-01000/orchard/traffic/rest_canary    "1000"
    weights-01000/orchard/traffic/rest_stable    "9000"    and the same for grpc_…

A folder is complete before the link names it. The one before stays until the next change: Envoy may still read it.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

__all__ = ["KEY_PREFIX", "LINK", "PROTOCOLS", "ROUTER_FOLDER", "SUBFOLDER", "TOTAL", "read_weight", "write_weight"]

TOTAL = 10_000
"""The sum of the weights of a protocol's two channels."""

ROUTER_FOLDER = ".router"
"""In ORCHARD_SERVING_DIR, where sync and the router share it by default; no model has such a name."""

LINK, SUBFOLDER, KEY_PREFIX = "current", "orchard", "traffic"
PROTOCOLS = ("rest", "grpc")
_FOLDER = re.compile(r"weights-(\d{5})")
_KEPT = 2


def read_weight(folder: Path) -> float | None:
    """Return the canary's weight in percent that the folder gives the router; None: it gives none, which is 0."""
    link = folder / LINK
    try:
        target = link.readlink().name
    except OSError:
        return None
    match = _FOLDER.fullmatch(target)
    return int(match[1]) / 100 if match and (link / SUBFOLDER / KEY_PREFIX).is_dir() else None


def write_weight(folder: Path, percent: float) -> bool:
    """Give the router the canary's weight; returns whether it changed.

    Args:
        folder: the router's folder; it is created.
        percent: the share of the traffic, 0 to 100; it is rounded to steps of 0.01.

    Raises:
        OSError: the folder cannot be written.
    """
    steps = round(percent * 100)
    before = read_weight(folder)
    if before is not None and round(before * 100) == steps:
        return False
    name = f"weights-{steps:05d}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / name, ignore_errors=True)
    fresh = folder / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    _write_keys(fresh / SUBFOLDER / KEY_PREFIX, steps)
    fresh.rename(folder / name)
    link = folder / f".{LINK}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    link.replace(folder / LINK)
    _remove_old(folder, name)
    return True


def _write_keys(keys: Path, steps: int) -> None:
    keys.mkdir(parents=True)
    for protocol in PROTOCOLS:
        (keys / f"{protocol}_canary").write_text(f"{steps}\n", encoding="ascii")
        (keys / f"{protocol}_stable").write_text(f"{TOTAL - steps}\n", encoding="ascii")


def _remove_old(folder: Path, current: str) -> None:
    found = [entry for entry in os.scandir(folder) if _FOLDER.fullmatch(entry.name) and entry.name != current]
    newest_first = sorted(found, key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
    for entry in newest_first[_KEPT - 1 :]:
        shutil.rmtree(entry.path, ignore_errors=True)
