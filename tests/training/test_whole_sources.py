"""A source is read whole, or it is an error: nothing of it is left out without a word."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.errors import DataError
from training.data.ingest.placement import PhotoPlacement, SourceFile
from training.data.ingest.sources import walk

PLACING = PhotoPlacement(None, None, 1000)


def zstd(body: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(body)
    return bytes(sink.getvalue())


PACK = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


def packed(name: str, photos: int) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for number in range(photos):
            info = tarfile.TarInfo(f"{name}/train/Kiwi/{number}.jpg")
            info.size = 5
            archive.addfile(info, io.BytesIO(b"photo"))
    return body.getvalue()


def photos_in(path) -> int:
    return sum(isinstance(entry, SourceFile) for entry in walk(path, PLACING))


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from(sorted(PACK)),
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    inside=st.booleans(),
    data=st.data(),
)
def test_joined_archive_is_read_whole_and_a_cut_or_continued_one_is_an_error(
    tmp_path_factory, form, counts, inside, data
):
    path = tmp_path_factory.getbasetemp() / "joined"
    parts = [packed(str(number), count) for number, count in enumerate(counts)]
    pieces = [PACK[form](b"".join(parts))] if inside else [PACK[form](part) for part in parts]
    whole = b"".join(pieces)
    path.write_bytes(whole)
    assert photos_in(path) == sum(counts)

    # what is left of a cut before the last archive is whole: nobody can see that another one was there
    last = len(parts[-1]) - 512 if form == "tar" else len(pieces[-1])
    cut = data.draw(st.integers(len(whole) - last + 1, len(whole) - 1))
    tail = data.draw(st.binary(min_size=1, max_size=600).filter(lambda tail: tail.strip(b"\0")))
    for body in (whole[:cut], whole + tail):
        path.write_bytes(body)
        try:
            read = photos_in(path)
        except DataError:
            continue
        assert read == sum(counts), "only zeros at the end may be missing"


@pytest.mark.parametrize("form", PACK)
def test_block_of_zeros_between_members_is_an_error(tmp_path, form):
    body = packed("a", 3)
    (tmp_path / "a").write_bytes(PACK[form](body[:1024] + bytes(512) + body[1024:]))
    with pytest.raises(DataError, match="zeros are in the place of a member"):
        photos_in(tmp_path / "a")
