"""Corrections that wait for review: what counts, what is held, what is exported, and how they end."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchard import layout
from orchard.cli import main
from orchard.cli.corrections import corrections
from orchard.documents import FORMAT, canonical_json, encode, sha256_hex
from orchard.errors import DataError
from orchard.housekeeping import ExpiredObjects, RetentionPolicy, sweep
from orchard.review.correction import Correction, checked_label, correction_id, keep_correction
from orchard.review.waiting_corrections import read_waiting, remove_corrections
from tests.orchard.version_fixtures import registry_of

MODEL = "fruits"
KIWI, PLUM, PEAR, PNG = b"\xff\xd8\xffkiwi", b"\xff\xd8\xffplum", b"\xff\xd8\xffpear", b"\x89PNG\r\n\x1a\nfig"


def correct(store, photo, label, client, *, salt=1, at=1, model=MODEL, answered="Apple"):
    """Store a correction, as the console does."""
    sha256, name = sha256_hex(photo), f"{client:016x}"
    record = Correction(
        FORMAT, correction_id(sha256, label, name), model, sha256, label, label != "Dragon fruit", answered, 7, "stable",
        f"2026-11-24T20:{at:02d}:00Z", name, f"{salt:08x}",
    )  # fmt: skip
    keep_correction(store, record, photo, "image/jpeg")
    return record


@pytest.fixture
def corrected(memory_of_verbs):
    """Kiwi by three clients, Plum by two, a name of one's own by one, and a photo about which two disagree."""
    store = memory_of_verbs
    for client in (1, 2, 3):
        correct(store, KIWI, "Kiwi", client, at=client)
    correct(store, PNG, "Kiwi", 1)
    for client in (1, 2):
        correct(store, PLUM, "Plum", client)
    correct(store, b"\xff\xd8\xff?", "Dragon fruit", 1)
    correct(store, PEAR, "Pear", 1)
    correct(store, PEAR, "Quince", 2)
    return store


def verb(capsys, *arguments, code=0):
    assert main([*arguments, "--json"], corrections) == code
    captured = capsys.readouterr()
    return json.loads(captured.out if code == 0 else captured.err or captured.out)


def test_classes_are_counted_by_photo_and_client_and_few_clients_are_held(corrected, capsys):
    found = verb(capsys, "list")

    assert [(one["label"], one["photos"], one["clients"], one["held"], one["known"]) for one in found["classes"]] == [
        ("Kiwi", 2, 3, False, True),
        ("Dragon fruit", 1, 1, True, False),
        ("Plum", 1, 2, True, True),
    ]
    assert (found["disputed"], found["invalid"]) == ([sha256_hex(PEAR)], {})
    assert main(["list"], corrections) == 0
    text = capsys.readouterr().out
    assert "held, for 2 clients or fewer correct them: Dragon fruit, Plum" in text
    assert "1 photos are left out: people give them different classes" in text


def test_one_client_under_many_keys_is_still_one(memory):
    for salt in range(5):
        correct(memory, KIWI, "Kiwi", salt, salt=salt)

    (kiwi,) = read_waiting(memory, MODEL).classes

    assert (kiwi.clients, kiwi.held, len(kiwi.photos[0].corrections)) == (1, True, 5)


def test_the_newest_word_of_a_client_counts(memory):
    correct(memory, KIWI, "Plum", 1, at=1)
    correct(memory, KIWI, "Kiwi", 1, at=2)

    waiting = read_waiting(memory, MODEL)

    assert [one.label for one in waiting.classes] == ["Kiwi"]
    assert waiting.disputed == ()


def test_records_of_somebody_else_are_named_and_not_used(corrected, capsys):
    record = correct(corrected, KIWI, "Kiwi", 9)
    key = layout.correction(MODEL, record.photo, record.id)
    forged = (
        replace(record, label="../../etc"),
        replace(record, label="Kiwi\x1b[31m"),
        replace(record, client="192.0.2.1"),
        replace(record, answered="\x1b[2J"),
        replace(record, photo="0" * 64),
        replace(record, model="pears"),
        replace(record, version=0),
    )
    for one in forged:
        corrected.put(key, canonical_json(encode(one)))
        found = verb(capsys, "list")
        assert list(found["invalid"]) == [key], one
        assert found["classes"][0]["clients"] == 3
    corrected.put(key, b"\xff")
    corrected.put(f"{layout.corrections(MODEL)}/notes.txt", b"somebody's")
    assert list(verb(capsys, "list")["invalid"]) == [key]


def test_an_export_has_photos_by_class_and_a_label_file_and_holds_back(corrected, tmp_path, capsys):
    from training.data.ingest.label_files import read_label_file

    found = verb(capsys, "export", str(tmp_path / "new" / "out"))

    out = tmp_path / "new" / "out"
    assert (found["photos"], found["labels"], found["held"]) == (2, {"Kiwi": 2}, ["Dragon fruit", "Plum"])
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    expected = sorted((f"Kiwi/{sha256_hex(KIWI)[:16]}.jpg", f"Kiwi/{sha256_hex(PNG)[:16]}.png"))
    assert names == [*expected, "labels.csv"]
    assert (out / f"Kiwi/{sha256_hex(KIWI)[:16]}.jpg").read_bytes() == KIWI
    assert sorted((row.path, row.label) for row in read_label_file(out / "labels.csv")) == [
        (name, "Kiwi") for name in expected
    ]
    rows = list(csv.DictReader((out / "labels.csv").read_text().splitlines()))
    assert {(row["answered"], row["version"]) for row in rows} == {("Apple", "7")}
    assert sorted(row["corrections"] for row in rows) == ["1", "3"]
    assert verb(capsys, "export", str(tmp_path / "all"), "--held")["labels"] == {
        "Kiwi": 2,
        "Dragon fruit": 1,
        "Plum": 1,
    }
    assert "is not an empty folder" in str(verb(capsys, "export", str(out), code=4))


def test_a_photo_that_is_gone_or_another_is_left_out(corrected, tmp_path, capsys):
    corrected.delete(layout.corrected_photo(MODEL, sha256_hex(KIWI)))
    corrected.put(layout.corrected_photo(MODEL, sha256_hex(PNG)), b"\xff\xd8\xffanother")

    found = verb(capsys, "export", str(tmp_path / "out"))

    assert (found["photos"], sorted(found["missing"])) == (0, sorted((sha256_hex(KIWI), sha256_hex(PNG))))


def test_what_was_exported_is_removed_and_all_else_stays(corrected, tmp_path, capsys):
    other = correct(corrected, KIWI, "Kiwi", 1, model="pears")
    verb(capsys, "export", str(tmp_path / "out"))

    assert verb(capsys, "remove", "--from", str(tmp_path / "out" / "labels.csv"))["removed"] == 2
    assert verb(capsys, "remove", "--from", str(tmp_path / "out" / "labels.csv"))["removed"] == 0
    assert [one["label"] for one in verb(capsys, "list")["classes"]] == ["Dragon fruit", "Plum"]
    assert not corrected.exists(layout.corrected_photo(MODEL, sha256_hex(KIWI)))
    assert verb(capsys, "remove", sha256_hex(PLUM)[:8])["removed"] == 1
    assert corrected.exists(layout.corrected_photo("pears", other.photo))
    assert "no photos with corrections" in str(verb(capsys, "remove", "0" * 8, code=4))
    (tmp_path / "other.csv").write_text("file,label\na,b\n")
    assert "has no column sha256" in str(verb(capsys, "remove", "--from", str(tmp_path / "other.csv"), code=4))


def test_what_nobody_reviews_goes_after_its_days_and_a_photo_with_its_last_record(corrected):
    registry = registry_of(corrected)
    policy = RetentionPolicy(corrections=30)
    now = datetime.now(UTC)

    assert sweep(registry, policy, now + timedelta(days=29), delete=True).corrections == ExpiredObjects(0, 0)
    reported = sweep(registry, policy, now + timedelta(days=31), delete=False).corrections
    assert reported.objects == 9 + 5
    assert sweep(registry, policy, now + timedelta(days=31), delete=True).corrections == reported
    assert list(corrected.list(layout.review(MODEL))) == []


def test_a_removal_of_nothing_removes_nothing(corrected):
    before = len(list(corrected.list("")))

    assert remove_corrections(corrected, MODEL, []) == 0
    assert len(list(corrected.list(""))) == before


@pytest.mark.parametrize(
    "text",
    ["", " ", "x" * 101, "ж" * 100 + "日" * 20, "a/b", "a\\b", ".", "..", "-a", "=1", "a\0b", "a\u202eb", "\ud800"],
)
def test_a_label_that_could_do_harm_is_refused(text):
    with pytest.raises(DataError, match="A label"):
        checked_label(text)


def test_a_label_has_one_form():
    assert checked_label("  Crème\n brûlée ") == checked_label("Cre\u0300me bru\u0302le\u0301e") == "Crème brûlée"
    assert checked_label("3 Äpfel, rot") == "3 Äpfel, rot"


def test_keys_are_those_of_the_architecture_and_are_read_back():
    sha256, one = "a" * 64, "b" * 32
    assert layout.correction(MODEL, sha256, one) == f"review/fruits/corrections/{sha256}/{one}.json"
    assert layout.corrected_photo(MODEL, sha256) == f"review/fruits/photos/{sha256}"
    assert layout.parts_of_correction_key(layout.correction(MODEL, sha256, one)) == (sha256, one)
    assert layout.sha256_of_corrected_photo_key(layout.corrected_photo(MODEL, sha256)) == sha256
    assert layout.parts_of_correction_key(layout.corrected_photo(MODEL, sha256)) is None
    for bad in ("a" * 31, "../" + "a" * 29, "A" * 32):
        with pytest.raises(DataError, match="is not a valid id"):
            layout.correction(MODEL, sha256, bad)
