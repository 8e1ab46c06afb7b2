"""TensorFlow, imported without its start-up chatter."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

__all__ = ["tensorflow"]


def tensorflow() -> Any:
    """Import TensorFlow and return it; what its native code says meanwhile is shown only if the import fails.

    Two lines come before any log level is read, so that `TF_CPP_MIN_LOG_LEVEL` alone cannot stop them. Verbs call this
    before they import a module that imports TensorFlow at its top.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with _held_back():
            import tensorflow  # noqa: F401
    return sys.modules["tensorflow"]


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Keep what is written to file descriptor 2, and write it there after all if an exception passes."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
