"""TensorFlow, imported without its start-up output."""

from __future__ import annotations

import os
import sys
from typing import Any

from orchard.processes import stderr_held_back

__all__ = ["tensorflow"]


def tensorflow() -> Any:
    """Import TensorFlow and return it; its native code's output during the import is shown only if the import fails.

    `TF_CPP_MIN_LOG_LEVEL` alone is not enough: TensorFlow prints two lines before it reads the log level. Verbs call
    this before they import a module that imports TensorFlow at its top.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with stderr_held_back():
            import tensorflow  # noqa: F401
    return sys.modules["tensorflow"]
