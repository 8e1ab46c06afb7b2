"""The rule of `orchard.orientation` as TensorFlow operations, inside the served model.

Almost every photo is upright, so one regular expression comes first: it matches wherever the rule could find another
orientation than 1. Only then the segments are walked. tests/training/test_orientation.py compares both rules.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from orchard.orientation import (
    APP0,
    APP1,
    APP15,
    COMMENT,
    DATA,
    ENTRY,
    EXIF,
    FILL,
    LONG,
    ORIENTATION,
    SHORT,
    TURNS,
    UPRIGHT,
)

__all__ = ["may_be_turned", "turn_upright"]

TURNED = (
    r"\C*(?:Exif\x00\x00|eXIf)(?:"
    r"MM\x00\*\C*\x01\x12\x00(?:\x03\x00\x00\x00\x01\x00|\x04\x00\x00\x00\x01\x00\x00\x00)[\x02-\x08]|"
    r"II\*\x00\C*\x12\x01[\x03\x04]\x00\x01\x00\x00\x00[\x02-\x08]\x00"
    r")\C*"
)
"""Matches every file for which the rule finds an orientation of 2 to 8, and few others. `\\C` is any byte."""


def may_be_turned(head: Any) -> Any:
    """Whether the rule could find an orientation of 2 to 8: bool tensor []. `head` is a file's first `HEAD` bytes."""
    return tf.strings.regex_full_match(head, TURNED)


def turn_upright(pixels: Any, head: Any, *, is_jpeg: bool) -> Any:
    """Turn decoded pixels upright, as the photo's Exif block says.

    Args:
        pixels: uint8 tensor [H, W, 3], as decoded.
        head: string tensor [], the first `HEAD` bytes of the file.
        is_jpeg: JPEG; otherwise PNG.

    Returns:
        uint8 tensor, [H, W, 3] or [W, H, 3].
    """
    start, end = _jpeg_block(head) if is_jpeg else _png_block(head)
    return _turn(pixels, _read_directory(head, start, end))


def _turn(pixels: Any, orientation: Any) -> Any:
    transposed, rows, columns = (tf.gather(tf.constant(column), orientation - 1) for column in zip(*TURNS, strict=True))
    pixels = tf.cond(transposed, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    pixels = tf.cond(rows < 0, lambda: tf.reverse(pixels, [0]), lambda: pixels)
    return tf.cond(columns < 0, lambda: tf.reverse(pixels, [1]), lambda: pixels)


def _slice(text: Any, start: Any, size: int) -> Any:
    """Bytes of a string as int64[size]. They must exist."""
    return tf.cast(tf.reshape(tf.io.decode_raw(tf.strings.substr(text, start, size), tf.uint8), [size]), tf.int64)


def _number(values: Any, big: Any = True) -> Any:
    """A whole number from int64[…, n] bytes."""
    weights = [256**place for place in range(values.shape[-1])]
    chosen = tf.where(big, tf.constant(weights[::-1], tf.int64), tf.constant(weights, tf.int64))
    return tf.reduce_sum(values * chosen, -1)


def _walk(begin: int, least: int, step: Any, text: Any) -> tuple[Any, Any]:
    """Follow a chain of segments: `step` returns the place of the next one, and of a found block, or -1."""
    length = tf.cast(tf.strings.length(text), tf.int64)

    def goes_on(at: Any, start: Any, end: Any) -> Any:
        return (at >= 0) & (at + least <= length) & (start < 0)

    none = tf.constant(-1, tf.int64)
    _, start, end = tf.while_loop(goes_on, step, [tf.constant(begin, tf.int64), none, none])
    return start, tf.minimum(end, length)


def _jpeg_block(head: Any) -> tuple[Any, Any]:
    length = tf.cast(tf.strings.length(head), tf.int64)

    def step(at: Any, start: Any, end: Any) -> Any:
        first, marker, high, low = tf.unstack(_slice(head, at, 4))
        size = high * 256 + low
        name = tf.strings.substr(head, tf.minimum(at + 4, length), len(EXIF))
        found = tf.equal(first, 0xFF) & tf.equal(marker, APP1) & tf.equal(name, EXIF)
        passes = ((marker >= APP0) & (marker <= APP15)) | tf.equal(marker, COMMENT) | tf.equal(marker, FILL)
        after = tf.where(tf.equal(marker, FILL), at + 1, at + 2 + size)
        after = tf.where(tf.equal(first, 0xFF) & passes, after, -1)
        return after, tf.where(found, at + 10, -1), tf.where(found, at + 2 + size, -1)

    return _walk(2, 4, step, head)


def _png_block(head: Any) -> tuple[Any, Any]:
    length = tf.cast(tf.strings.length(head), tf.int64)

    def step(at: Any, start: Any, end: Any) -> Any:
        size = _number(_slice(head, at, 4))
        name = tf.strings.substr(head, at + 4, 4)
        prefix = tf.equal(tf.strings.substr(head, tf.minimum(at + 8, length), len(EXIF)), EXIF)
        found = tf.equal(name, "eXIf")
        begin = at + 8 + tf.where(prefix & (size >= len(EXIF)), tf.constant(len(EXIF), tf.int64), 0)
        after = tf.where(tf.equal(name, DATA), tf.constant(-1, tf.int64), at + 12 + size)
        return after, tf.where(found, begin, -1), tf.where(found, at + 8 + size, -1)

    return _walk(8, 8, step, head)


def _read_directory(text: Any, start: Any, end: Any) -> Any:
    """The orientation in the Exif block from `start` to `end`; int64, 1 to 8."""
    upright = tf.constant(UPRIGHT, tf.int64)
    return tf.cond((start >= 0) & (start + 8 <= end), lambda: _read_block(text, start, end), lambda: upright)


def _read_block(text: Any, start: Any, end: Any) -> Any:
    upright = tf.constant(UPRIGHT, tf.int64)
    begin = tf.strings.substr(text, start, 4)
    big = tf.equal(begin, b"MM\0*")
    directory = start + _number(_slice(text, start + 4, 4), big)
    known = (big | tf.equal(begin, b"II*\0")) & (directory + 2 <= end)

    def read() -> Any:
        count = _number(_slice(text, directory, 2), big)
        count = tf.minimum(count, (end - directory - 2) // ENTRY)
        raw = tf.io.decode_raw(tf.strings.substr(text, directory + 2, count * ENTRY), tf.uint8)
        entries = tf.cast(tf.reshape(raw, [-1, ENTRY]), tf.int64)
        hits = tf.where(tf.equal(_number(entries[:, :2], big), ORIENTATION))[:, 0]
        return tf.cond(tf.size(hits) > 0, lambda: _read_entry(entries[hits[0]], big), lambda: upright)

    return tf.cond(known, read, lambda: upright)


def _read_entry(entry: Any, big: Any) -> Any:
    kind, number = _number(entry[2:4], big), _number(entry[4:8], big)
    is_short = tf.equal(kind, SHORT)
    value = tf.where(is_short, _number(entry[8:10], big), _number(entry[8:12], big))
    valid = (is_short | tf.equal(kind, LONG)) & tf.equal(number, 1) & (value >= 1) & (value <= 8)
    return tf.where(valid, value, tf.constant(UPRIGHT, tf.int64))
