"""The photos of `bench.large_photos`: valid JPEG, each with other pixels, from a stream that is a tar."""

from __future__ import annotations

import io
import tarfile

from bench.large_photos import mosaics, pictures, write_tar
from training.data.ingest.decode import inspect
from training.data.schema import SchemaRules


def test_mosaics_are_valid_photos_with_pixels_of_their_own():
    bodies = pictures(64, 160)

    decoded = [inspect(body, SchemaRules()) for body in mosaics(bodies, 50)]

    assert {(photo.width, photo.height, photo.changed) for photo in decoded} == {(64, 160, "")}
    assert len({photo.pixels_sha256 for photo in decoded}) == 50
    assert list(mosaics(bodies, 3)) == list(mosaics(bodies, 3)), "the same photos again"

    stream = io.BytesIO()
    write_tar(stream, bodies, 10)
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        names = [member.name for member in archive]
    assert names[:2] == ["phone/test/even/0.jpg", "phone/train/odd/1.jpg"]
