"""What a file is that is not a photo, by its first bytes, and what to do; and the files of file managers and NAS."""

from __future__ import annotations

import re

from orchard.photo_formats import FORMATS, HEIF_BRANDS

__all__ = ["describe", "is_heif", "is_system_file"]

SYSTEM_NAMES = {
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "picasa.ini",
    "zbthumbnail.info",
    "icon\r",
    "__macosx",
    "@eadir",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "lost+found",
    "system volume information",
}
"""Files and folders that operating systems, photo programs and NAS add, in lower case."""

SYSTEM_PATTERN = re.compile(r"syno(?:photo|file|video)_.*", re.IGNORECASE)

VIDEO = "a video: export single pictures of it"

SIGNATURES = (
    (b"version https://git-lfs.github.com/", "a Git LFS pointer without its content: run `git lfs pull`"),
    (b"outs:", "a DVC pointer without its content: run `dvc pull`"),
    (b"%PDF", "a PDF: export its pictures as JPEG"),
    (b"8BPS", "a Photoshop document: export it as JPEG"),
    (b"\xff\x0a", "a JPEG XL, which is not supported: export it as JPEG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL, which is not supported: export it as JPEG"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000, which is not supported: export it as JPEG"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000, which is not supported: export it as JPEG"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file: export it as JPEG"),
    (b"IIRO", "a camera's raw file: export it as JPEG"),
    (b"IIU\0", "a camera's raw file: export it as JPEG"),
    (b"\xd0\xcf\x11\xe0", "a Thumbs.db or Office document: delete it, or leave it out"),
    (b"\0\x05\x16\x07", "the metadata that macOS puts beside a file (._name): delete it"),
    (b"\0\0\0\1Bud1", "a .DS_Store of macOS: delete it"),
    (b"L\0\0\0\1\x14\2\0", "a Windows shortcut: copy the photo itself"),
    (b"[InternetShortcut]", "a link to a web page: download the photo itself"),
    (b"bplist00", "a property list, as iCloud leaves where a photo is not downloaded: download the photo"),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"\0\0\1\0", "an icon: save it as PNG"),
    (b"\x1aE\xdf\xa3", VIDEO),
    (b"OggS", VIDEO),
    (b"{", "a JSON text, such as a sidecar of Google Photos: leave it out"),
)
"""The first bytes of files that are met beside photos or under their names."""

MERGE_CONFLICT = b"<<<<<<< "


def is_system_file(name: str) -> bool:
    """Whether a file or folder of this name belongs to an operating system, a photo program or a NAS, not to the photos."""
    return name.lower() in SYSTEM_NAMES or SYSTEM_PATTERN.fullmatch(name) is not None


def is_heif(body: bytes) -> bool:
    """Whether a file says that it is HEIC or AVIF."""
    return body[4:8] == b"ftyp" and body[8:12] in HEIF_BRANDS


def describe(body: bytes) -> str:
    """Name a file that no decoder recognises, and the remedy.

    Args:
        body: the whole file, not empty.
    """
    begin = body[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?php")):
        return "a web page, as a failed download leaves: download the photo again"
    if begin.startswith((b"<svg", b"<?xml")):
        return "an XML text or SVG drawing: export it as PNG" if b"<svg" in begin else "an XML text: leave it out"
    if not body.strip(b"\0"):
        return "only zeros, as a failed copy or a broken card leaves: copy the photo again"
    if body[4:8] == b"ftyp":
        return "a HEIC or AVIF that is damaged or of a rare kind: export it as JPEG" if is_heif(body) else VIDEO
    if body.startswith(b"RIFF") and body[8:12] != b"WEBP":
        return VIDEO
    if body.startswith(MERGE_CONFLICT):
        return "a text with a merge conflict: solve it in git"
    known = next((text for signature, text in SIGNATURES if body.startswith(signature)), "")
    return known or _describe_unknown(body)


def _describe_unknown(body: bytes) -> str:
    if body.startswith(b"\xff\xd8"):
        return "a JPEG whose header is damaged or cut off: copy it again"
    if body.startswith(b"\x89PNG"):
        return "a PNG whose header is damaged or cut off, or changed by a transfer as text: copy it again"
    if body.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "a TIFF that Pillow cannot read, often a camera's raw file: export it as JPEG"
    place = min((at for at in map(body[:65536].find, (b"JFIF\0", b"Exif\0\0", b"\xff\xdb\0")) if at >= 0), default=-1)
    if place >= 0 or body[-2:] == b"\xff\xd9":
        return "the rest of a JPEG whose first bytes are missing: copy it again"
    if _is_text(body[:4096]):
        return f"a text that begins with {body[:40].decode('utf-8', 'replace').strip()!r}: leave it out"
    return f"not a {FORMATS}; it begins with {body[:8]!r}"


def _is_text(begin: bytes) -> bool:
    try:
        text = begin.decode("utf-8", "strict" if len(begin) < 4096 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)
