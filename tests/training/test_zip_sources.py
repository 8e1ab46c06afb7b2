"""Zip archives: read as folders and tars are, and as safe: no name leads out, no member fills memory, nothing is lost."""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchard.errors import DataError
from tests import photo_files
from training.data.ingest import zip_archives
from training.data.ingest.placement import ClassFolder, IgnoredFile, PhotoPlacement, SourceFile
from training.data.ingest.sources import walk
from training.data.rejections import RejectedPhoto, RejectionReason, readable

PLACING = PhotoPlacement(None, None, 1000)
GOOD = "f/train/Kiwi/good.jpg"
KIWI = photo_files.CLASSES[0]


def zipped(path, *members, packing=zipfile.ZIP_DEFLATED):
    """Write an archive of (name or ZipInfo, body)."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return path


def entry_of(name, mode=0, body=b""):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info, body


def photos(path, placing=PLACING):
    return {entry.name: entry for entry in walk(path, placing) if isinstance(entry, SourceFile)}


def rejected(path, placing=PLACING):
    return {e.path.rpartition("/")[2]: e for e in walk(path, placing) if isinstance(e, RejectedPhoto)}


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_tar_and_folder_give_the_same_dataset(workspace, run, packing):
    farm = photo_files.fill(workspace / "farm")
    (farm / "LICENSE").write_text("MIT")
    names = sorted(path.relative_to(workspace) for path in farm.rglob("*"))
    with (
        tarfile.open(workspace / "farm.tar", "w") as tar,
        zipfile.ZipFile(workspace / "farm.zip", "w", packing) as zipped,
    ):
        tar.add(farm, "farm")
        for name in names:
            zipped.write(workspace / name, name)

    results = []
    for source in ("farm", "farm.tar", "farm.zip"):
        code, result = run(source)
        assert (code, result["found"], result["ignored"]) == (0, 33, 1)
        results.append(result["digest"])
        shutil.rmtree(workspace / "data")
    assert len(set(results)) == 1


def test_files_of_file_managers_are_ignored_as_elsewhere(tmp_path):
    names = [
        "__MACOSX/f/train/Kiwi/._1.jpg",
        "f/.DS_Store",
        "f/train/Kiwi/Thumbs.db",
        "f/data.yaml",
        "f/train/Kiwi/._2.jpg",
    ]
    path = zipped(tmp_path / "a.zip", *((name, b"x") for name in names), (GOOD, b"photo"))

    entries = list(walk(path, PLACING))
    assert sum(isinstance(entry, IgnoredFile) for entry in entries) == len(names)
    assert [entry.name for entry in entries if isinstance(entry, SourceFile)] == ["good.jpg"]


HOSTILE = {
    "parent": (entry_of("../../evil.jpg"), RejectionReason.UNSAFE),
    "absolute": (entry_of("/x/evil.jpg"), RejectionReason.UNSAFE),
    "absolute on Windows": (entry_of("C:\\tmp\\evil.jpg"), RejectionReason.UNSAFE),
    "parent on Windows": (entry_of("..\\..\\evil.jpg"), RejectionReason.UNSAFE),
    "link": (entry_of("f/train/Kiwi/evil.jpg", stat.S_IFLNK | 0o777, b"/etc/passwd"), RejectionReason.LINK),
    "pipe": (entry_of("f/train/Kiwi/evil.jpg", stat.S_IFIFO | 0o600), RejectionReason.SPECIAL),
    "device": (entry_of("f/train/Kiwi/evil.jpg", stat.S_IFCHR | 0o600), RejectionReason.SPECIAL),
    "large": (entry_of("f/train/Kiwi/evil.jpg", 0, bytes(1001)), RejectionReason.TOO_LARGE),
}


@pytest.mark.parametrize(("member", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_member_is_rejected_and_its_neighbours_are_read(tmp_path, member, reason):
    path = zipped(tmp_path / "a.zip", member, (GOOD, b"photo"))

    assert {name: entry.reason for name, entry in rejected(path).items()} == {"evil.jpg": reason}
    assert list(photos(path)) == ["good.jpg"]
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def patched(path, *, local, central, value, form="<I"):
    """Write a number into the headers of the first member: at `local` of its own, at `central` of the directory's."""
    body = bytearray(path.read_bytes())
    for begin, place in ((body.index(b"PK\3\4"), local), (body.index(b"PK\1\2"), central)):
        struct.pack_into(form, body, begin + place, value)
    path.write_bytes(bytes(body))
    return path


def test_member_that_is_larger_than_its_declared_size_is_never_unpacked_further(tmp_path):
    bomb = zipped(tmp_path / "a.zip", ("f/train/Kiwi/bomb.jpg", bytes(50_000_000)), (GOOD, b"photo"))
    patched(bomb, local=22, central=24, value=900)

    (entry,) = rejected(bomb).values()
    assert (entry.reason, "the archive is damaged here" in entry.detail) == (RejectionReason.DAMAGED, True)
    assert list(photos(bomb)) == ["good.jpg"]


def test_overlapping_members_are_an_error(tmp_path):
    path = zipped(tmp_path / "a.zip", ("f/train/Kiwi/1.jpg", os.urandom(900)), (GOOD, os.urandom(900)))
    body = bytearray(path.read_bytes())
    second = body.rindex(b"PK\1\2")
    struct.pack_into("<I", body, second + 42, 10)  # its bytes begin inside of the first member
    path.write_bytes(bytes(body))

    with pytest.raises(DataError, match="members overlap"):
        list(walk(path, PLACING))


def test_encrypted_member_is_rejected_with_what_to_do(tmp_path):
    path = zipped(tmp_path / "a.zip", ("f/train/Kiwi/secret.jpg", b"x"), (GOOD, b"photo"))
    patched(path, local=6, central=8, value=1, form="<H")

    (entry,) = rejected(path).values()
    assert entry.reason is RejectionReason.UNREADABLE
    assert "unpack the archive with its password" in entry.detail
    assert list(photos(path)) == ["good.jpg"]


def test_unknown_packing_is_rejected_with_what_to_do(tmp_path):
    path = zipped(tmp_path / "a.zip", ("f/train/Kiwi/9.jpg", b"x"), (GOOD, b"photo"))
    patched(path, local=8, central=10, value=9, form="<H")  # Deflate64

    (entry,) = rejected(path).values()
    assert "make the archive with deflate" in entry.detail


def test_damaged_member_is_named_and_its_neighbours_are_read(tmp_path):
    path = zipped(
        tmp_path / "a.zip", ("f/train/Kiwi/1.jpg", b"first photo"), (GOOD, b"photo"), packing=zipfile.ZIP_STORED
    )
    path.write_bytes(path.read_bytes().replace(b"first photo", b"first phot0"))

    assert {name: entry.reason for name, entry in rejected(path).items()} == {"1.jpg": RejectionReason.DAMAGED}
    assert list(photos(path)) == ["good.jpg"]


def test_large_directory_is_not_read(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", *((f"f/train/Kiwi/{number}.jpg", b"x") for number in range(100)))
    monkeypatch.setattr(zip_archives, "MAX_DIRECTORY", 4000)

    with pytest.raises(DataError, match=r"its directory has \d+ bytes; at most 4000 are read"):
        list(walk(path, PLACING))


def test_zip64_is_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open(zipfile.ZipInfo(GOOD), "w", force_zip64=True) as member:
        member.write(b"photo")
    body = path.read_bytes()
    end = body.rindex(b"PK\5\6")
    size, offset = struct.unpack_from("<II", body, end + 12)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(body[:end] + record + locator + last)

    assert photos(path)["good.jpg"].body == b"photo"


def raw_zip(name: bytes, flags=0, extra=b""):
    """An archive with one stored member whose name has these bytes."""
    body = b"photo"
    head = struct.pack("<HHHHHIIIH", 20, flags, 0, 0, 0, zlib.crc32(body), 5, 5, len(name))[2:]
    local = b"PK\3\4" + struct.pack("<H", 20) + head + struct.pack("<H", len(extra)) + name + extra + body
    central = (
        b"PK\1\2" + struct.pack("<HH", 20, 20) + head + struct.pack("<HHHHII", len(extra), 0, 0, 0, 0, 0) + name + extra
    )
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


NAME = "f/train/Crème brûlée/1.jpg"
FIELD = b"\1" + struct.pack("<I", zlib.crc32(b"f/train/Cr_me/1.jpg")) + NAME.encode()
ENCODED = {
    "declared as UTF-8": raw_zip(NAME.encode(), 0x800),
    "UTF-8 without a word, as of macOS": raw_zip(NAME.encode()),
    "code page 437": raw_zip(NAME.encode("cp437")),
    "extra field": raw_zip(b"f/train/Cr_me/1.jpg", extra=struct.pack("<HH", 0x7075, len(FIELD)) + FIELD),
    "backslashes": raw_zip(NAME.replace("/", "\\").encode(), 0x800),
}


@pytest.mark.parametrize("body", ENCODED.values(), ids=ENCODED)
def test_names_are_read_in_the_encodings_that_archives_have(tmp_path, body):
    (tmp_path / "a.zip").write_bytes(body)

    (photo,) = photos(tmp_path / "a.zip").values()
    assert (photo.label, photo.body) == ("Crème brûlée", b"photo")


def whole(tmp_path):
    return zipped(tmp_path / "a.zip", *((f"f/train/Kiwi/{n}.jpg", bytes([n]) * 900) for n in range(5))).read_bytes()


def test_archive_that_was_cut_off_is_an_error_at_any_place(tmp_path):
    body = whole(tmp_path)

    for end in range(4, len(body), 7):
        (tmp_path / "a.zip").write_bytes(body[:end])
        with pytest.raises(DataError, match=r"is damaged: .*nothing was written"):
            list(walk(tmp_path / "a.zip", PLACING))


@pytest.mark.parametrize(("before", "after"), [(b"", b"more"), (b"PK\3\4 more", b"")])
def test_what_is_before_or_after_an_archive_is_an_error(tmp_path, before, after):
    (tmp_path / "a.zip").write_bytes(before + whole(tmp_path) + after)

    with pytest.raises(DataError, match=r"before its first member|follows its end|damaged"):
        list(walk(tmp_path / "a.zip", PLACING))


def test_joined_archives_are_an_error_and_no_half_source(tmp_path):
    body = whole(tmp_path)
    (tmp_path / "a.zip").write_bytes(body + body)

    with pytest.raises(DataError, match="bytes are before its first member"):
        list(walk(tmp_path / "a.zip", PLACING))


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
@example(at=328, value=1)  # the first entry's comment would swallow the others
def test_changed_byte_is_an_error_a_rejection_or_harmless(tmp_path_factory, at, value):
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    body = bytearray(whole(path.parent))
    expected = photos(path.parent / "a.zip")
    body[at % len(body)] = value
    path.write_bytes(bytes(body))
    try:
        entries = list(walk(path, PLACING))
    except DataError:
        return
    found = {entry.name: entry.body for entry in entries if isinstance(entry, SourceFile)}
    assert set(found.values()) <= {entry.body for entry in expected.values()}
    assert sum(not isinstance(entry, ClassFolder) for entry in entries) in {4, 5}, "one may have become a folder"


PART = st.one_of(
    st.sampled_from(["..", ".", "", "train", "Test", "Kiwi", ".hidden", "C:", "a\\..\\b", "é"]),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1, max_size=12),
)


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(PART, min_size=1, max_size=7), absolute=st.booleans())
@example(parts=["..", "train", "Kiwi", "1.jpg"], absolute=False)
def test_no_member_path_leads_out_or_breaks_what_is_reported(tmp_path_factory, parts, absolute):
    name = "/" * absolute + "/".join(parts)
    path = zipped(
        tmp_path_factory.getbasetemp() / "names.zip", (entry_of(name)[0], b"x"), ("f/train/Kiwi/last.jpg", b"x")
    )

    for entry in walk(path, PLACING):
        shown = [entry.path] if not isinstance(entry, ClassFolder) else []
        names = [entry.name, entry.label, entry.folder] if isinstance(entry, SourceFile) else []
        for text in (*shown, *names):
            assert readable(text) == text
        assert all("/" not in text and text not in {"", ".", ".."} for text in names)
    assert "last.jpg" in photos(path)


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=400))
def test_bytes_that_begin_as_a_zip_are_read_or_are_an_error(tmp_path_factory, body):
    path = tmp_path_factory.getbasetemp() / "any.zip"
    path.write_bytes(b"PK\5\6" + body)
    with suppress(DataError):
        list(walk(path, PLACING))


def test_zip_as_a_photo_of_a_class_is_named_as_what_it_is(workspace, run):
    farm = photo_files.fill(workspace / "farm")
    body = io.BytesIO()
    zipped(body, ("a", b"b"))
    (farm / "train" / KIWI / "photos.jpg").write_bytes(body.getvalue())

    assert run("farm", "--max-refused", "1")[1]["reasons"] == {"not an image": 1}
