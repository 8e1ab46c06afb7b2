"""A home folder that cannot be used, as in a container with another user: programs that read it get a folder of the project."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replace_unusable"]

_DVC = "DVC_GLOBAL_CONFIG_DIR"


def replace_unusable() -> None:
    """Give DVC, in this process and its children, a folder of the project if its own one in the home folder is unreadable.

    DVC ends with an error there, except where the folder is only missing.
    """
    try:
        base = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
        Path(base, "dvc", "config").stat()
    except FileNotFoundError:
        return
    except (OSError, RuntimeError):  # RuntimeError: nobody knows this user
        os.environ.setdefault(_DVC, str(Path(".dvc", "tmp", "global").absolute()))
