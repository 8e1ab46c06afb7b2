"""Files that are no photos are named as what they are, with what to do; those of file managers and NAS are ignored."""

from __future__ import annotations

import pytest

from orchard.errors import DataError, ParamsError
from orchard.overrides import find_conflict, read_yaml
from tests import photo_files
from training.data.dvc_project import init, open_project
from training.data.ingest.decode import inspect
from training.data.ingest.placement import IgnoredFile, PhotoPlacement
from training.data.ingest.sources import walk
from training.data.rejections import PhotoRejected, RejectionReason
from training.data.schema import SchemaRules

PHOTO = photo_files.jpeg()

NAMED = {
    "header cut off": (PHOTO[:15], "a JPEG whose header is damaged or cut off: copy it again"),
    "three bytes": (PHOTO[:3], "a JPEG whose header is damaged or cut off"),
    "begin cut off": (PHOTO[40:], "the rest of a JPEG whose first bytes are missing: copy it again"),
    "PNG begin cut off": (
        photo_files.encoded(photo_files.photo(), "PNG")[:12],
        "a PNG whose header is damaged or cut off",
    ),
    "web page": (
        b"<!DOCTYPE html><html><body>404",
        "a web page, as a failed download leaves: download the photo again",
    ),
    "web page after a BOM": (b"\xef\xbb\xbf\r\n<HTML>", "a web page"),
    "SVG": (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing: export it as PNG"),
    "zeros": (bytes(5000), "only zeros, as a failed copy or a broken card leaves"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "run `git lfs pull`"),
    "DVC pointer": (b"outs:\n- md5: 1\n", "run `dvc pull`"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(60), "a HEIC or AVIF that is damaged or of a rare kind: export it as JPEG"),
    "AVIF": (b"\0\0\0\x1cftypavif" + bytes(60), "HEIC or AVIF"),
    "video": (b"\0\0\0\x18ftypmp42" + bytes(60), "a video: export single pictures of it"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST", "a video"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "a PDF: export its pictures as JPEG"),
    "Photoshop": (b"8BPS\0\1" + bytes(30), "a Photoshop document"),
    "JPEG XL": (b"\xff\x0a\xfa\x1f", "a JPEG XL"),
    "raw": (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "often a camera's raw file: export it as JPEG"),
    "AppleDouble": (b"\0\5\x16\7\0\2\0\0Mac OS X", "the metadata that macOS puts beside a file"),
    "Thumbs.db under another name": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Thumbs.db or Office document"),
    "ZIP": (b"PK\3\4\x14\0", "a ZIP archive: unpack it"),
    "sidecar": (b'{"title": "IMG_1.jpg"}', "a JSON text"),
    "merge conflict": (b"<<<<<<< HEAD\nouts:\n", "a text with a merge conflict: solve it in git"),
    "text": (b"This is not a photo.", "a text that begins with 'This is not a photo.'"),
    "noise": (bytes(range(1, 200)), "not a JPEG, PNG, HEIC, AVIF, WebP, GIF, TIFF or BMP"),
}


@pytest.mark.parametrize(("body", "text"), NAMED.values(), ids=NAMED.keys())
def test_file_is_named_as_what_it_is(body, text):
    with pytest.raises(PhotoRejected) as refused:
        inspect(body, SchemaRules())

    assert text in refused.value.detail
    expected = RejectionReason.TRUNCATED if body.startswith(b"\xff\xd8") else RejectionReason.NOT_AN_IMAGE
    assert refused.value.reason is expected


@pytest.mark.parametrize(
    "name",
    [
        "Thumbs.db",
        "thumbs.db",
        "THUMBS.DB",
        "Desktop.ini",
        "ehthumbs.db",
        "Picasa.ini",
        ".DS_Store",
        "._IMG_1.jpg",
        "@eaDir/IMG_1.jpg/SYNOPHOTO_THUMB_XL.jpg",
        "@eaDir/IMG_1.jpg/SYNOFILE_THUMB_M.png",
        "SYNOPHOTO:FILM_M.jpg".replace(":", "_"),
        ".@__thumb/s800IMG_1.jpg",
        "@Recycle/IMG_1.jpg",
        "#recycle/IMG_1.jpg",
        "__MACOSX/IMG_1.jpg",
    ],
)
def test_files_of_systems_and_nas_are_ignored_in_any_case(tmp_path, name):
    folder = tmp_path / "shelf" / "train" / "Kiwi"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(PHOTO)

    entries = [
        entry for entry in walk(tmp_path / "shelf", PhotoPlacement(None, None, 100_000)) if hasattr(entry, "path")
    ]

    assert [type(entry) for entry in entries] == [IgnoredFile]


CONFLICT = "outs:\n<<<<<<< HEAD\n- md5: 1.dir\n=======\n- md5: 2.dir\n>>>>>>> other\n  path: own\n"


def test_merge_conflict_in_a_dvc_file_is_named_with_its_line(tmp_path):
    init(tmp_path)
    (tmp_path / "data" / "own").mkdir(parents=True)
    (tmp_path / "data" / "own.dvc").write_text(CONFLICT)

    with (
        pytest.raises(DataError, match=r"own\.dvc has a merge conflict of git, in line 2") as refused,
        open_project(tmp_path / "data" / "own"),
    ):
        pass
    assert "git checkout --theirs" in refused.value.hint


def test_merge_conflict_in_a_yaml_file_is_named_with_its_line():
    assert find_conflict("a: 1\n") == 0
    with pytest.raises(ParamsError, match=r"schema\.yaml has a merge conflict of git, in line 2"):
        read_yaml(CONFLICT, "schema.yaml")
