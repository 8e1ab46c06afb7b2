"""Whether a transfer makes progress: deadlines that move with the bytes, in both directions."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios

__all__ = ["TransferProgress", "queued_bytes"]


def queued_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the kernel has that the client has not acknowledged."""
    connection = transport.get_extra_info("socket")
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except (AttributeError, OSError, ValueError):  # the connection is closed, or this system cannot say
        return 0


class TransferProgress:
    """One direction of a connection while bytes are expected to move. It is read a few times a second, not per piece.

    Args:
        now: the monotonic time at which the transfer began.
        moved: the number of bytes that had moved by then.
    """

    __slots__ = ("_last_moved", "_last_time", "_window_moved", "_window_time")

    def __init__(self, now: float, moved: int) -> None:
        self._last_time = self._window_time = now
        self._last_moved = self._window_moved = moved

    def has_stalled(self, now: float, moved: int, seconds: float, rate: float) -> bool:
        """Whether nothing moved for `seconds`, or less than `rate` bytes a second over `seconds`.

        Args:
            now: the monotonic time.
            moved: the number of bytes that have moved so far.
            seconds: the time in which bytes must move; a slower client has at least so long.
            rate: the minimum mean rate in bytes a second.
        """
        if moved != self._last_moved:
            self._last_time, self._last_moved = now, moved
        elif now - self._last_time > seconds:
            return True
        if now - self._window_time > seconds:
            if moved - self._window_moved < rate * (now - self._window_time):
                return True
            self._window_time, self._window_moved = now, moved
        return False
