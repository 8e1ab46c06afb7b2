from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.errors import IntegrityError
from orchard.registry.manifest import MAX_FILES, MAX_TOTAL, ManifestFile, check_files, publish_id

SHA = "0" * 64


def files(*paths, size=1):
    return [ManifestFile(path, size, SHA) for path in paths]


def test_paths_of_a_savedmodel_are_fine():
    check_files(
        files(
            "saved_model.pb",
            "fingerprint.pb",
            "variables/variables.index",
            "variables/variables.data-00000-of-00001",
            "assets/classes.txt",
            "assets.extra/golden.json",
        ),
        "it",
    )


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        ".",
        "..",
        "a\\b",
        "C:x",
        "a\0b",
        "a\nb",
        "a\x7fb",
        " a",
        "a /b",
        "a.",
        "a./b",
        "a\u200bb",
        "a\u202eb",
        "u\u0308",
        "x" * 201,
        "/".join(["y" * 100] * 6),
        "a?b",
        "\udc80",
    ],
)
def test_path_that_is_not_safe_is_refused(path):
    with pytest.raises(IntegrityError, match="the path"):
        check_files(files("saved_model.pb", path), "it")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("a", "a"),
        ("a", "A"),
        ("a/b", "A/c"),
        ("stra\u00dfe", "STRASSE"),
        ("\ufb01x", "fix"),
        ("a", "a/b"),
        ("a/b", "a"),
    ],
)
def test_paths_that_a_file_system_might_take_for_one_are_refused(one, two):
    with pytest.raises(IntegrityError, match="clashes with"):
        check_files(files("saved_model.pb", one, two), "it")


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=6))
def test_paths_that_are_let_through_stay_inside_and_apart(paths):
    try:
        check_files(files(*paths), "it")
    except IntegrityError:
        return
    root = Path("/volume/models/.staging")
    ends = {(root / path).resolve() for path in paths}
    assert all(end.is_relative_to(root) and end != root for end in ends)
    assert len({unicodedata.normalize("NFC", str(end)).casefold() for end in ends}) == len(paths)


def test_number_of_files_is_limited():
    check_files(files(*(f"f{number}" for number in range(MAX_FILES))), "it")
    for count in (0, MAX_FILES + 1):
        with pytest.raises(IntegrityError, match=f"has {count} files; expected 1 to 256"):
            check_files(files(*(f"f{number}" for number in range(count))), "it")


def test_bytes_of_all_files_are_limited():
    check_files(files("a", "b", size=MAX_TOTAL // 2), "it")
    with pytest.raises(IntegrityError, match="at most 2147483648 are allowed"):
        check_files(files("a", "b", "c", size=MAX_TOTAL // 2), "it")


@pytest.mark.parametrize(
    "file", [ManifestFile("a", -1, SHA), ManifestFile("a", 1, SHA.replace("0", "G")), ManifestFile("a", 1, "00")]
)
def test_file_without_proper_size_and_hash_is_refused(file):
    with pytest.raises(IntegrityError, match="no valid size and SHA-256"):
        check_files([file], "it")


def test_publish_id_is_the_content_and_nothing_else():
    one, two = files("a", "b")

    assert publish_id("m", [one, two], "d", "p") == publish_id("m", [two, one], "d", "p")
    others = {
        publish_id("n", [one, two], "d", "p"),
        publish_id("m", [one], "d", "p"),
        publish_id("m", [one, two], "e", "p"),
        publish_id("m", [one, two], "d", "q"),
        publish_id("m", [one, ManifestFile("b", 2, SHA)], "d", "p"),
        publish_id("m", [one, ManifestFile("b", 1, "1" * 64)], "d", "p"),
    }
    assert len(others | {publish_id("m", [one, two], "d", "p")}) == 7
