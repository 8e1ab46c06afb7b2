"""Corrections of the console's page, exported and ingested as docs/console.md says."""

from __future__ import annotations

from orchard.cli import main
from orchard.cli.corrections import corrections
from orchard.documents import FORMAT, sha256_hex
from orchard.review.correction import Correction, correction_id, keep_correction
from serving.photo_metadata import without_metadata
from tests import photo_files


def test_an_export_is_ingested_as_the_page_says(run, memory_of_verbs, workspace, capsys):
    label, other, *_ = photo_files.CLASSES
    photo_files.fill(workspace / "farm")
    assert run("farm")[0] == 0
    photo = without_metadata(photo_files.jpeg(label, 77))
    assert photo is not None
    sha256 = sha256_hex(photo)
    for client in ("1" * 16, "2" * 16, "3" * 16):
        record = Correction(
            FORMAT, correction_id(sha256, label, client), "fruits", sha256, label, True, other, 1, "stable",
            "2026-11-24T20:00:00Z", client, "0" * 8,
        )  # fmt: skip
        keep_correction(memory_of_verbs, record, photo, "image/jpeg")

    assert main(["export", "to-review"], corrections) == 0
    capsys.readouterr()
    arguments = ("to-review", "--labels", "to-review/labels.csv", "--split", "train", "--source", "page")
    code, result = run(*arguments)

    assert (code, result["added"], result["refused"]) == (0, 1, 0), result
    assert run(*arguments)[1]["present"] == 1
