"""The request headers of our own, which are the metadata of a gRPC call too."""

from __future__ import annotations

__all__ = ["CHANNEL_HEADER", "NO_CAPTURE_HEADER"]

CHANNEL_HEADER = "x-orchard-channel"
"""By it a request names its channel."""

NO_CAPTURE_HEADER = "x-orchard-no-capture"
"""Its presence forbids to capture a request, whatever its value is."""
