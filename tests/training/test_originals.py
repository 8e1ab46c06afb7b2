"""A converted photo is known by the file that it was: ingested again, relabelled, removed."""

from __future__ import annotations

import hashlib
import json

import pytest

from orchard.cli import main
from tests import drawn_profiles, photo_files
from training.data import shards
from training.data.ingest import decode
from training.data.ingest.colours import ProfileEffect

KIWI, LEMON, *_ = photo_files.CLASSES


@pytest.fixture
def own(workspace, monkeypatch):
    """Folders of photos, with a HEIC and a wide JPEG of a kiwi."""
    monkeypatch.setenv("ORCHARD_DATASET", "own")
    folder = photo_files.fill(workspace / "farm") / "train" / KIWI
    (folder / "phone.heic").write_bytes(photo_files.heic(photo_files.photo(KIWI, 31)))
    (folder / "wide.jpg").write_bytes(
        photo_files.encoded(photo_files.photo(KIWI, 33), icc_profile=drawn_profiles.P3, quality=95)
    )
    return workspace / "data" / "own"


@pytest.fixture
def call(capsys):
    """Run a command with --json and --no-push; return the exit code and the document."""

    def run(*arguments):
        capsys.readouterr()
        code = main([*map(str, arguments), "--json", "--no-push"])
        return code, json.loads(capsys.readouterr().out or "{}")

    return run


def of_file(workspace, name):
    return hashlib.sha256((workspace / "farm" / "train" / KIWI / name).read_bytes()).hexdigest()


def originals(folder):
    index = shards.read_index(folder)
    return {stored: file for shard in index.shards for stored, file in shards.read_originals(folder, shard).items()}


def test_same_file_is_present_even_if_another_release_converts_it_to_other_pixels(own, workspace, call, monkeypatch):
    first = call("ingest", "farm")[1]
    kept = originals(own)
    monkeypatch.setattr(decode, "LARGE", 0)  # now JPEG instead of PNG: nearly the same pixels

    code, again = call("ingest", "farm")

    assert (code, first["added"], first["changed"]) == (0, 34, 2)
    assert set(kept.values()) == {of_file(workspace, "phone.heic"), of_file(workspace, "wide.jpg")}
    assert (again["added"], again["present"], again["refused"]) == (0, 34, 0)
    assert originals(own) == kept


def test_photo_that_was_stored_unconverted_before_profiles_counted_is_present(own, workspace, call, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(decode, "profile_effect", lambda image, body: ProfileEffect())
        call("ingest", "farm")
    assert set(originals(own).values()) == {of_file(workspace, "phone.heic")}

    code, again = call("ingest", "farm")

    assert (code, again["added"], again["present"]) == (0, 0, 34)


def test_shards_without_converted_photos_have_no_list(own, workspace, call):
    for name in ("phone.heic", "wide.jpg"):
        (workspace / "farm" / "train" / KIWI / name).unlink()
    call("ingest", "farm")

    index = shards.read_index(own)
    bodies = [(own / shard.path).read_bytes() for shard in index.shards]

    assert not any(shards.ORIGINALS in body for body in bodies)
    assert originals(own) == {}


def test_photo_is_relabelled_and_removed_by_the_digest_of_its_file(own, workspace, call):
    call("ingest", "farm")
    file, kept = of_file(workspace, "phone.heic"), originals(own)
    (stored,) = (digest for digest, original in kept.items() if original == file)

    code, result = call("data", "relabel", file[:12], "--label", LEMON)

    assert (code, [item["sha256"] for item in result["changed"]]) == (0, [stored])
    assert originals(own) == kept
    assert call("data", "relabel", file, "--label", LEMON)[1]["done_already"] == 1

    code, result = call("data", "remove", file)

    assert (code, result["photos"]) == (0, 33)
    assert file not in originals(own).values()
    assert call("data", "remove", file)[1]["done_already"] == 1
