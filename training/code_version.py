"""Which code this is: for manifests and pages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from orchard import __version__

__all__ = ["describe_code"]

ROOT = Path(__file__).resolve().parents[1]


def describe_code() -> str:
    """The version of the code: the package's version, in a checkout with git's description."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return __version__
    command = [git, "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # constant arguments
    description = process.stdout.strip()
    return f"{__version__}+{description}" if process.returncode == 0 and description else __version__
