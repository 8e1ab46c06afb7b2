"""The weights of canary and shadow as Envoy's runtime reads them: sync writes them, the router's bootstrap file names them.

Envoy watches a symbolic link and reads the small files below it when the link is replaced, so a weight acts without a
reload and without a lost request:

    current -> weights-01000-00500                     canary 10 %, shadow 5 % (in steps of 0.01 %)
    weights-01000-00500/orchard/traffic/rest_canary    "1000"
    weights-01000-00500/orchard/traffic/rest_stable    "9000"    and the same for grpc_…
    weights-01000-00500/orchard/mirror/shadow          "numerator: 500, denominator: TEN_THOUSAND", as YAML

A folder is complete before the link names it. The one before stays until the next change: Envoy may still read it.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from orchard.channel_names import CANARY, WEIGHTED

__all__ = [
    "KEY_PREFIX", "LINK", "MIRROR_KEY", "PROTOCOLS", "ROUTER_FOLDER", "SUBFOLDER", "TOTAL", "offer_weight", "read_weight",
    "write_weight",
]  # fmt: skip

TOTAL = 10_000
"""The sum of the weights of a protocol's two channels."""

ROUTER_FOLDER = ".router"
"""In ORCHARD_SERVING_DIR, where sync and the router share it by default; no model has such a name."""

LINK, SUBFOLDER, KEY_PREFIX = "current", "orchard", "traffic"
MIRROR_KEY = "mirror.shadow"
"""The key of the share that is mirrored; Envoy makes the dots of a key from folders."""

PROTOCOLS = ("rest", "grpc")
_FOLDER = re.compile(r"weights-(\d{5})-(\d{5})")
_KEPT = 2


def _read_steps(folder: Path) -> dict[str, int] | None:
    """The weights that the folder gives the router, in steps, by channel; None: it gives none."""
    link = folder / LINK
    try:
        target = link.readlink().name
    except OSError:
        return None
    match = _FOLDER.fullmatch(target)
    if match is None or not (link / SUBFOLDER / KEY_PREFIX).is_dir():
        return None
    return dict(zip(WEIGHTED, map(int, match.groups()), strict=True))


def read_weight(folder: Path, channel: str = CANARY) -> float | None:
    """Return a channel's weight in percent that the folder gives the router; None: it gives none, which is 0.

    Args:
        folder: the router's folder.
        channel: a channel of `WEIGHTED`.
    """
    steps = _read_steps(folder)
    return None if steps is None else steps[channel] / 100


def offer_weight(folder: Path, percent: float | None, channel: str = CANARY) -> bool:
    """Give the router a channel's weight as far as it is known; returns whether it changed.

    Without any weight no folder is made: there may be no router.

    Args:
        folder: the router's folder.
        percent: the share of the traffic, 0 to 100; None: it is unknown, and stays as it is.
        channel: a channel of `WEIGHTED`.

    Raises:
        OSError: the folder cannot be written.
    """
    if percent is None or (percent == 0 and read_weight(folder, channel) is None):
        return False
    return write_weight(folder, percent, channel)


def write_weight(folder: Path, percent: float, channel: str = CANARY) -> bool:
    """Give the router a channel's weight, and leave the others; returns whether it changed.

    Args:
        folder: the router's folder; it is created.
        percent: the share of the traffic, 0 to 100; it is rounded to steps of 0.01.
        channel: a channel of `WEIGHTED`.

    Raises:
        OSError: the folder cannot be written.
    """
    before = _read_steps(folder)
    steps = {**(before or dict.fromkeys(WEIGHTED, 0)), channel: round(percent * 100)}
    if steps == before:
        return False
    name = "-".join(("weights", *(f"{steps[weighted]:05d}" for weighted in WEIGHTED)))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / name, ignore_errors=True)
    fresh = folder / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    _write_keys(fresh / SUBFOLDER, **steps)
    fresh.rename(folder / name)
    link = folder / f".{LINK}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    link.replace(folder / LINK)
    _remove_old(folder, name)
    return True


def _write_keys(root: Path, canary: int, shadow: int) -> None:
    keys, mirror = root / KEY_PREFIX, root.joinpath(*MIRROR_KEY.split("."))
    keys.mkdir(parents=True)
    for protocol in PROTOCOLS:
        (keys / f"{protocol}_canary").write_text(f"{canary}\n", encoding="ascii")
        (keys / f"{protocol}_stable").write_text(f"{TOTAL - canary}\n", encoding="ascii")
    mirror.parent.mkdir()
    mirror.write_text(f"numerator: {shadow}\ndenominator: TEN_THOUSAND\n", encoding="ascii")


def _remove_old(folder: Path, current: str) -> None:
    found = [entry for entry in os.scandir(folder) if _FOLDER.fullmatch(entry.name) and entry.name != current]
    newest_first = sorted(found, key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
    for entry in newest_first[_KEPT - 1 :]:
        shutil.rmtree(entry.path, ignore_errors=True)
