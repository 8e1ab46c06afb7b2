"""TensorFlow, imported without its start-up output."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from orchard.processes import stderr_held_back

__all__ = ["tensorflow"]

KERAS_HOME = ".orchard/keras"
"""The folder of Keras's own settings, in the project."""


def tensorflow() -> Any:
    """Import TensorFlow and return it; its native code's output during the import is shown only if the import fails.

    `TF_CPP_MIN_LOG_LEVEL` alone is not enough: TensorFlow prints two lines before it reads the log level. Verbs call
    this before they import a module that imports TensorFlow at its top.
    """
    # not the user's: its keras.json would change what is trained, and a pod's or a colleague's home may be read-only
    os.environ.setdefault("KERAS_HOME", str(Path(KERAS_HOME).absolute()))
    # TensorFlow's own allocator keeps the memory of a step for the next one; malloc returns it to the system each time, and
    # page faults make a step at 224 pixels 1.4 times as long (bench/allocator.py)
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with stderr_held_back():
            import tensorflow  # noqa: F401
    return sys.modules["tensorflow"]
