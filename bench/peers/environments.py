"""An environment for each peer, made once and kept: its own packages first, then ours, so that TensorFlow is the same.

Kept in $XDG_CACHE_HOME/orchard/peers (or ~/.cache/orchard/peers), under a name that holds the pinned versions.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "fastapi": ("fastapi==0.165.0", "uvicorn==0.54.0"),
    "litserve": ("litserve==0.2.19",),
    "kserve": ("kserve==0.21.0",),
    "mlserver": ("mlserver==1.7.1",),
}


def default_folder() -> Path:
    """Where the environments are kept unless told otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "orchard" / "peers"


def python_of(peer: str, folder: Path) -> Path:
    """The Python that a peer runs with; its packages are installed if they are not there yet.

    Args:
        peer: one of `PACKAGES`; any other runs with ours.
        folder: where the environments are kept.

    Raises:
        SystemExit: its packages cannot be installed.
    """
    wanted = PACKAGES.get(peer)
    if wanted is None:
        return Path(sys.executable)
    mark = hashlib.sha256(" ".join((sys.version, *wanted)).encode()).hexdigest()[:12]
    place = folder / f"{peer}-{mark}"
    python = place / "bin" / "python"
    if (place / "ready").exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
    packages = next(place.glob("lib/python*/site-packages"))
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "ours.pth").write_text(f"{ours}\n")
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{peer} cannot be installed:\n{done.stderr[-2000:]}")
    (place / "ready").touch()
    return python
