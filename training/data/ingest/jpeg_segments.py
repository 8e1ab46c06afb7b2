"""The segments of a JPEG file: kinds that only some decoders read, and harmless deviations that phones write."""

from __future__ import annotations

from training.data.rejections import PhotoRejected, RejectionReason

__all__ = ["check_frame", "is_progressive", "without_harmless_deviations"]

SCAN, END, JFIF = 0xDA, b"\xff\xd9", b"JFIF\0"
SEQUENTIAL = {0xC0, 0xC1}
WHOLE_SPECTRUM = bytes((0, 63, 0))
"""The end of a scan header of a sequential JPEG. Some Samsung phones write zeros, and all decoders ignore that."""


def _segments(body: bytes | bytearray, start: int = 2) -> list[tuple[int, int, int]]:
    """Marker, begin and end of the segments up to and with the first scan header; begin is at the length."""
    found = []
    at = start
    while at + 4 <= len(body) and body[at] == 0xFF:
        marker, size = body[at + 1], int.from_bytes(body[at + 2 : at + 4], "big")
        if marker == 0xFF:  # it may be repeated as padding
            at += 1
            continue
        found.append((marker, at + 2, at + 2 + size))
        if marker == SCAN:
            break
        at += 2 + size
    return found


def _frame(body: bytes) -> int | None:
    """The marker of the frame header."""
    markers = (marker for marker, _, _ in _segments(body))
    return next((marker for marker in markers if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}), None)


def check_frame(body: bytes) -> None:
    """Reject arithmetic coding and lossless JPEG, which only some decoders read. Raises `PhotoRejected`."""
    frame = _frame(body)
    if frame is not None and frame > 0xC2:
        raise PhotoRejected(
            RejectionReason.MODE, f"a JPEG of the rare kind SOF{frame - 0xC0}; save it again as an ordinary JPEG"
        )


def is_progressive(body: bytes) -> bool:
    """Whether a decoder needs the coefficients of the whole picture in memory."""
    return _frame(body) == 0xC2


def without_harmless_deviations(body: bytes) -> bytes:
    """Return a copy whose data are the same and whose headers are as the standard says.

    If the copy decodes without a warning, and the file to the same pixels, the file is sound.
    """
    copy = bytearray(body)
    start = 2
    while segments := _segments(copy, start):
        for marker, begin, _ in segments:
            if marker == 0xE0 and copy[begin + 2 : begin + 7] == JFIF:
                copy[begin + 7] = 1  # an unknown revision
        marker, _, end = segments[-1]
        if marker != SCAN or end > len(copy):
            break
        if _frame(body) in SEQUENTIAL:
            copy[end - 3 : end] = WHOLE_SPECTRUM
        start = _next_marker(copy, end)
    last = copy.rfind(END)
    data = copy[:last].rstrip(b"\0")  # padding between the data and the end
    return bytes(data + (b"\0" if data.endswith(b"\xff") else b"") + copy[last:]) if last > 0 else bytes(copy)


def _next_marker(body: bytearray, at: int) -> int:
    """The place of the first marker in or after a scan's data that is neither a stuffed byte nor a restart."""
    while (at := body.find(b"\xff", at)) >= 0 and at + 1 < len(body):
        if body[at + 1] not in {0, 0xFF, *range(0xD0, 0xD8)}:
            return at
        at += 1
    return len(body)
