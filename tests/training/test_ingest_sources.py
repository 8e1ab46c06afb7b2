"""Folders, tars and single photos: every file gets its split, class and source, or a reason; no name leads out of an archive."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import PurePosixPath

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchard.errors import DataError
from training.data.ingest.placement import ADDED, ClassFolder, IgnoredFile, PhotoPlacement, SourceFile
from training.data.ingest.sources import walk
from training.data.rejections import RejectedPhoto, RejectionReason, readable

PLACING = PhotoPlacement(None, None, 1000)


def member(
    name: str, body: bytes = b"photo", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(body) if kind == tarfile.REGTYPE else 0
    return info, body


def tar(path, *members, mode="w"):
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:
        for info, body in members:
            archive.addfile(info, io.BytesIO(body))
    return path


def placed(entries):
    return [(e.folder, e.split, e.label, e.name, e.body) for e in entries if isinstance(e, SourceFile)]


def rejected(entries):
    return {PurePosixPath(e.path).name: e.reason for e in entries if isinstance(e, RejectedPhoto)}


def test_splits_and_classes_come_from_folders_and_the_source_from_the_one_that_holds_them(tmp_path):
    members = [
        member("fruits/LICENSE"),
        member("fruits/Training", kind=tarfile.DIRTYPE),
        member("fruits/Training/Apple Golden 1/3_100.jpg", b"a"),
        member("fruits/Test/Apple Golden 1/r_9_100.jpg", b"b"),
        member("fruits/val/Kiwi", kind=tarfile.DIRTYPE),
    ]
    entries = list(walk(tar(tmp_path / "anything.tar.gz", *members, mode="w:gz"), PLACING))

    assert placed(entries) == [
        ("fruits", "train", "Apple Golden 1", "3_100.jpg", b"a"),
        ("fruits", "test", "Apple Golden 1", "r_9_100.jpg", b"b"),
    ]
    assert [entry.path.split(":")[1] for entry in entries if isinstance(entry, IgnoredFile)] == ["fruits/LICENSE"]
    assert ClassFolder("test", "Kiwi") in entries


@pytest.mark.parametrize("form", ["tar", "tar.gz", "tar.xz", "tar.zst"])
def test_every_compression_reads_alike(tmp_path, form):
    plain = tar(tmp_path / "shop.tar", member("shop/train/Kiwi/1.jpg", b"k" * 500))
    if form == "tar.zst":
        with pa.CompressedOutputStream(str(tmp_path / "shop.tar.zst"), "zstd") as stream:
            stream.write(plain.read_bytes())
    elif form != "tar":
        tar(tmp_path / f"shop.{form}", member("shop/train/Kiwi/1.jpg", b"k" * 500), mode=f"w:{form[4:]}")

    assert placed(walk(tmp_path / f"shop.{form}", PLACING)) == [("shop", "train", "Kiwi", "1.jpg", b"k" * 500)]


def test_folder_and_archive_of_it_give_the_same(tmp_path):
    for name in (
        "train/Kiwi/1.jpg",
        "Validation/Kiwi/2.jpg",
        "train/Lemon/sub folder/3.jpg",
        "train/.DS_Store",
        "x.jpg",
    ):
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    with tarfile.open(tmp_path / "shop.tar", "w") as archive:
        archive.add(tmp_path / "shop", "shop")

    folder, packed = list(walk(tmp_path / "shop", PLACING)), list(walk(tmp_path / "shop.tar", PLACING))
    assert sorted(placed(folder)) == sorted(placed(packed))
    assert {e[1:4] for e in placed(folder)} == {("train", "Kiwi", "1.jpg"), ("test", "Kiwi", "2.jpg")}
    assert (
        rejected(folder) == rejected(packed) == {"3.jpg": RejectionReason.MISPLACED, "x.jpg": RejectionReason.MISPLACED}
    )


def test_source_that_is_a_split_or_the_folder_of_several_sources(tmp_path):
    for name in ("fruits/Training/Kiwi/1.jpg", "shop/train/Kiwi/2.jpg"):
        (tmp_path / "all" / name).parent.mkdir(parents=True)
        (tmp_path / "all" / name).write_bytes(b"x")

    assert [e[0] for e in placed(walk(tmp_path / "all", PLACING))] == ["fruits", "shop"]
    assert [e[0] for e in placed(walk(tmp_path / "all" / "fruits" / "Training", PLACING))] == ["fruits"]


def test_new_photos_get_the_split_that_is_given_and_their_class_from_folder_or_label(tmp_path):
    day = tmp_path / "2024-05-01"
    (day / "Kiwi").mkdir(parents=True)
    (day / "Kiwi" / "1.jpg").write_bytes(b"1")
    (day / "loose.jpg").write_bytes(b"2")

    entries = list(walk(day, PhotoPlacement("train", None, 1000)))
    assert placed(entries) == [(ADDED, "train", "Kiwi", "1.jpg", b"1")]
    assert rejected(entries) == {"loose.jpg": RejectionReason.MISPLACED}
    assert {e[2] for e in placed(walk(day, PhotoPlacement("test", "Lemon", 1000)))} == {"Lemon"}
    assert placed(walk(day / "loose.jpg", PhotoPlacement("test", "Lemon", 9))) == [
        (ADDED, "test", "Lemon", "loose.jpg", b"2")
    ]
    with pytest.raises(DataError, match="its class is unknown"):
        list(walk(day / "loose.jpg", PLACING))


def test_split_is_not_given_to_a_source_that_has_its_own(tmp_path):
    archive = tar(tmp_path / "a.tar", member("a/train/Kiwi/1.jpg"))

    assert rejected(walk(archive, PhotoPlacement("test", None, 1000))) == {"1.jpg": RejectionReason.MISPLACED}


HOSTILE = {
    "parent": (member("fruits/train/Kiwi/../../../../etc/cron.d/evil.jpg"), RejectionReason.UNSAFE),
    "absolute": (member("/fruits/train/Kiwi/evil.jpg"), RejectionReason.UNSAFE),
    "symlink": (member("fruits/train/Kiwi/evil.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd"), RejectionReason.LINK),
    "hard link": (member("fruits/train/Kiwi/evil.jpg", kind=tarfile.LNKTYPE, link="fruits/x"), RejectionReason.LINK),
    "linked folder": (member("fruits/train/evil.jpg", kind=tarfile.SYMTYPE, link="/"), RejectionReason.LINK),
    "device": (member("fruits/train/Kiwi/evil.jpg", kind=tarfile.CHRTYPE), RejectionReason.SPECIAL),
    "pipe": (member("fruits/train/Kiwi/evil.jpg", kind=tarfile.FIFOTYPE), RejectionReason.SPECIAL),
    "large": (member("fruits/train/Kiwi/evil.jpg", b"x" * 1001), RejectionReason.TOO_LARGE),
}


@pytest.mark.parametrize(("hostile", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_member_is_rejected_and_its_neighbours_are_read(tmp_path, hostile, reason):
    good = member("fruits/train/Kiwi/good.jpg")
    entries = list(walk(tar(tmp_path / "a.tar", hostile, good), PLACING))

    assert rejected(entries) == {"evil.jpg": reason}
    assert [e[3] for e in placed(entries)] == ["good.jpg"]
    assert reason.tolerable == (reason is RejectionReason.TOO_LARGE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("keep", [0.4, 0.8])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_archive_that_was_cut_off_is_an_error_and_not_a_short_source(tmp_path, mode, keep):
    members = [member(f"f/train/Kiwi/{n}.jpg", os.urandom(900)) for n in range(40)]
    path = tar(tmp_path / "a.tar", *members, mode=mode)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])

    with pytest.raises(DataError, match="damaged after"):
        list(walk(path, PLACING))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_flipped_byte_in_an_archive_never_shortens_or_changes_it_silently(tmp_path, mode):
    members = [member(f"f/train/Kiwi/{n}.jpg", bytes(900)) for n in range(8)]
    whole = tar(tmp_path / "a.tar", *members, mode=mode).read_bytes()
    expected = placed(walk(tmp_path / "a.tar", PLACING))
    headers = range(0, 8 * 1536, 1536)  # bodies of a plain tar have no checksum; photos bring their own
    places = [at + 150 for at in headers] if mode == "w" else range(12, len(whole), max(1, len(whole) // 40))

    assert len(expected) == 8
    for at in places:
        (tmp_path / "a.tar").write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        try:
            entries = list(walk(tmp_path / "a.tar", PLACING))
        except DataError:
            continue
        assert placed(entries) == expected, f"byte {at}"


def test_an_invalid_source_is_an_error(tmp_path):
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf" + b"\0" * 100)

    with pytest.raises(DataError, match="neither a folder nor an archive"):
        list(walk(tmp_path / "a.7z", PLACING))
    with pytest.raises(DataError, match="there is no source"):
        list(walk(tmp_path / "nothing", PLACING))


def test_odd_files_of_a_folder_never_stop_it(tmp_path):
    kiwi = tmp_path / "shop" / "train" / "Kiwi"
    kiwi.mkdir(parents=True)
    os.mkfifo(kiwi / "pipe.jpg")
    (kiwi / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "real.jpg").write_bytes(b"real")
    (kiwi / "linked.jpg").symlink_to(tmp_path / "real.jpg")
    (kiwi.parent / "Lemon").symlink_to(kiwi)
    (kiwi / "large.jpg").write_bytes(b"x" * 1001)
    (kiwi / os.fsdecode(b"kiw\xe9\n.jpg")).write_bytes(b"latin")

    entries = list(walk(tmp_path / "shop", PLACING))
    assert rejected(entries) == {
        "pipe.jpg": RejectionReason.SPECIAL,
        "broken.jpg": RejectionReason.UNREADABLE,
        "Lemon": RejectionReason.MISPLACED,
        "large.jpg": RejectionReason.TOO_LARGE,
    }
    assert sorted(e[3] for e in placed(entries)) == ["kiw\ufffd\ufffd.jpg", "linked.jpg"]


def test_class_names_that_look_alike_are_one_class(tmp_path):
    archive = tar(
        tmp_path / "a.tar",
        member("a/train/Maracuja\u0301/1.jpg"),
        member("a/train/Maracuj\u00e1/2.jpg"),
        member("a/train/bad\u0007name/3.jpg"),
        member(f"a/train/{'x' * 121}/4.jpg"),
    )
    entries = list(walk(archive, PLACING))

    assert {e[2] for e in placed(entries)} == {"Maracuj\u00e1"}
    assert rejected(entries) == {"3.jpg": RejectionReason.UNKNOWN_CLASS, "4.jpg": RejectionReason.UNKNOWN_CLASS}


PART = st.one_of(
    st.sampled_from(["..", ".", "", "train", "Test", "VAL", "Kiwi", ".hidden", "~", "C:", "a\\..\\b", "\udce9"]),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1, max_size=12),
)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(PART, min_size=1, max_size=7), absolute=st.booleans())
@example(parts=["..", "train", "Kiwi", "1.jpg"], absolute=False)
def test_no_member_path_leads_out_or_breaks_what_is_reported(tmp_path_factory, parts, absolute):
    name = "/" * absolute + "/".join(parts)
    path = tmp_path_factory.getbasetemp() / "property.tar"
    tar(path, member(name), member("f/train/Kiwi/last.jpg"))

    entries = list(walk(path, PLACING))
    with tarfile.open(path) as archive:
        read = archive.getmembers()[0].name  # what tar itself made of the name
    for entry in entries:
        shown = [entry.path] if not isinstance(entry, ClassFolder) else []
        names = [entry.name, entry.label, entry.folder] if isinstance(entry, SourceFile) else []
        for text in (*shown, *names):
            assert readable(text) == text
            text.encode()
        assert all("/" not in text and text not in {"", ".", ".."} for text in names)
    if absolute or ".." in read.split("/"):
        assert any(isinstance(e, RejectedPhoto) and e.reason is RejectionReason.UNSAFE for e in entries)
    assert any(isinstance(e, SourceFile) and e.name == "last.jpg" for e in entries)
