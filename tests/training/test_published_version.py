"""A page names the version of its dataset only if it is the data at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.published_version import describe_dataset, remember_version


def test_version_is_named_for_its_digest_only(tmp_path: Path):
    folder = tmp_path / "data" / "fruits"
    assert describe_dataset(folder, "a" * 64) == "fruits (aaaaaaaaaaaa)"

    remember_version(folder, 3, "a" * 64)

    assert describe_dataset(folder, "a" * 64) == "fruits 3 (aaaaaaaaaaaa)"
    assert describe_dataset(folder, "b" * 64) == "fruits (bbbbbbbbbbbb)"
    assert describe_dataset(folder.with_name("other"), "a" * 64) == "other (aaaaaaaaaaaa)"


@pytest.mark.parametrize("body", ["", "{}", '{"format": 1, "version": "3", "digest": "x"}'])
def test_a_broken_file_is_no_version(tmp_path: Path, body: str):
    folder = tmp_path / "data" / "fruits"
    remember_version(folder, 3, "a" * 64)
    (tmp_path / ".orchard/datasets/fruits.json").write_text(body)

    assert describe_dataset(folder, "a" * 64) == "fruits (aaaaaaaaaaaa)"
