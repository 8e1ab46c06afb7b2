"""An environment for each peer: its own packages first, then ours, so that all servers run the same TensorFlow.

The environments are kept in $XDG_CACHE_HOME/orchard/peers (or ~/.cache/orchard/peers); their names depend on the pinned
versions.
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
    """The default folder of the environments."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "orchard" / "peers"


def python_of(peer: str, folder: Path) -> Path:
    """Return a peer's Python in a folder of environments; installs its packages if they are missing.

    A peer that is not in `PACKAGES` runs with ours. A SystemExit: the packages cannot be installed.
    """
    requirements = PACKAGES.get(peer)
    if requirements is None:
        return Path(sys.executable)
    digest = hashlib.sha256(" ".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    environment = folder / f"{peer}-{digest}"
    python = environment / "bin" / "python"
    if (environment / "ready").exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "ours.pth").write_text(f"{ours}\n")
    process = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *requirements], capture_output=True, text=True, check=False
    )
    if process.returncode:
        raise SystemExit(f"{peer} cannot be installed:\n{process.stderr[-2000:]}")
    (environment / "ready").touch()
    return python
