"""How long the parts of a test took, besides the test itself; the summary lists them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PARTS: list[tuple[str, float]] = []
"""Of the running test: what took how many seconds."""


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Record how long the context took, whether it ends well or not."""
    begin = time.monotonic()
    try:
        yield
    finally:
        PARTS.append((name, time.monotonic() - begin))
