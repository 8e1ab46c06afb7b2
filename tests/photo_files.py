"""Photos for tests: good ones as `orchard synthetic` draws them, and every kind of bad one. Always the same bytes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from training.data import synthetic

__all__ = ["CLASSES", "animated", "bomb", "encoded", "fill", "heic", "jpeg", "photo", "png16", "rotated", "truncated"]

CLASSES = tuple(synthetic.classes(4))
"""Four classes that `photo` and `fill` can draw."""


def photo(label: str = CLASSES[0], number: int = 0, *, side: int = 100, lying: bool = False) -> Image.Image:
    """Draw one RGB picture of a class; another number is another picture (frame of the turntable)."""
    return synthetic.draw(synthetic.specimen(label), number, side=side, lying=lying)


def encoded(picture: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """Encode a picture to the bytes of a file."""
    body = io.BytesIO()
    picture.save(body, form, **options)
    return body.getvalue()


def heic(picture: Image.Image, **options: Any) -> bytes:
    """Encode a picture to a HEIC; only tests have the encoder. An Exif's orientation is written as HEIC writes it."""
    import pillow_heif

    body = io.BytesIO()
    pillow_heif.encode(
        picture.mode,
        picture.size,
        picture.tobytes(),
        body,
        **{"quality": 90, "enc_params": {"preset": "ultrafast"}, **options},
    )
    return body.getvalue()


def jpeg(label: str = CLASSES[0], number: int = 0, *, side: int = 100, lying: bool = False) -> bytes:
    """Draw one photo of a class as the bytes of a JPEG file."""
    return encoded(photo(label, number, side=side, lying=lying), quality=90)


def fill(
    folder: Path,
    labels: Sequence[str] = CLASSES,
    *,
    train: int = 6,
    test: int = 2,
    side: int = 100,
    splits: tuple[str, str] = ("train", "test"),
) -> Path:
    """Fill `folder` with `<split>/<class>/<frame>_100.jpg`; return it. Frames of train and test are arcs of a turntable."""
    for label in labels:
        for split, count, first, step in (
            (splits[0], train, 0, 208 // max(1, train)),
            (splits[1], test, 212, 80 // max(1, test)),
        ):
            target = folder / split / label
            target.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                frame = first + number * max(1, step)
                (target / f"{frame}_100.jpg").write_bytes(jpeg(label, frame, side=side))
    return folder


def truncated() -> bytes:
    """A JPEG that ends in the middle, like an interrupted copy."""
    whole = jpeg(number=77)
    return whole[: len(whole) // 2]


def animated() -> bytes:
    """A GIF of three pictures."""
    frames = [photo(number=number) for number in (0, 20, 40)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def rotated(number: int = 55, orientation: int = 6) -> bytes:
    """A JPEG whose EXIF says that it lies on its side, as from a phone."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return encoded(photo(number=number).crop((0, 0, 100, 80)), exif=tags, quality=90)


def _png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def bomb(side: int = 30_000) -> bytes:
    """A small PNG that unpacks to `side` × `side` pixels: 900 million by default, from a few hundred bytes."""
    return _png(side, side, 8, 2, b"\0" * 1000)


def png16(colour: bool = False, side: int = 64) -> bytes:
    """A PNG with 16 bits for each value: grey, or RGB."""
    values = 3 if colour else 1
    row = b"\0" + b"".join(struct.pack(">H", (column * 997) % 65536) for column in range(side * values))
    return _png(side, side, 16, 2 if colour else 0, row * side)
