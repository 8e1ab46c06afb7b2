"""`orchard validate`: each broken rule of the schema is found; a valid dataset passes, always with the same files."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchard.cli import main
from orchard.files import md5_of, sha256_of
from tests import photo_files
from tests.training.page_minutes import read_files
from training.data import shards
from training.data.ingest import shard_writer

KIWI, LEMON, *_ = photo_files.CLASSES
LENIENT = "defaults: {photos: {train: 5, test: 2}}\n"


@pytest.fixture
def farm(workspace, monkeypatch):
    """A dataset of 32 photos in three shards, with a schema that it follows."""
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 40_000)
    photo_files.fill(workspace / "farm")
    ingest("farm")
    write_schema(workspace, LENIENT)
    return workspace / "data" / "farm"


def ingest(source, *options):
    assert main(["ingest", str(source), "--dataset", "farm", "--no-push", *options]) == 0


def write_schema(workspace, text):
    (workspace / "data" / "schema.yaml").write_text(text)


def validate(workspace):
    """Validate; return the exit code, the document and the page, which are always written."""
    code = main(["validate", "--dataset", "farm"])
    output = workspace / "artifacts" / "validation"
    return code, json.loads((output / "validation.json").read_text()), (output / "page.html").read_text()


def broken(document):
    return sorted({item["rule"] for item in document["findings"] if item["level"] == "error"})


def rewrite(folder, change):
    """Put other rows into the first shard, with a matching index: only a fault or a forger does this."""
    index = shards.read_index(folder)
    rows = [row for batch in shards.iterate(folder) for row in batch.to_pylist()]
    for shard in index.shards:
        (folder / shard.path).unlink()
    rows = change(rows)
    pq.write_table(pa.Table.from_pylist(rows, shard_writer.SCHEMA), folder / "draft")
    md5, sha256 = md5_of(folder / "draft"), sha256_of(folder / "draft")
    path = (folder / "draft").rename(folder / f"0000-{sha256[:12]}.parquet")
    counts = {
        split: {label: sum((r["split"], r["label"]) == (split, label) for r in rows) for label in index.classes}
        for split in shards.SPLITS
    }
    shard = shards.Shard(path.name, md5, sha256, path.stat().st_size, len(rows))
    index = shards.Index(1, index.name, index.classes, (shard,), counts)
    (folder / "index.json").write_text(json.dumps(index.document))


def test_good_dataset_passes_and_the_files_are_the_same_every_time(workspace, farm, capsys):
    first = validate(workspace)
    files = read_files(workspace / "artifacts/validation")
    again = validate(workspace)

    assert first == again
    assert (first[0], first[1]["passed"], first[1]["findings"]) == (0, True, [])
    assert first[1]["dataset"] == {"name": "farm", "digest": shards.read_index(farm).digest}
    assert first[1]["counts"]["train"][KIWI] == {"farm": 6}
    assert first[1]["sizes"] == {"100×100": 32}
    assert read_files(workspace / "artifacts/validation") == files
    assert "follows every rule: 32 photos of 4 classes" in capsys.readouterr().out


RULES = {
    "photos.train": "defaults: {photos: {train: 7, test: 2}}",
    "photos.test": "defaults: {photos: {train: 5, test: 3}}",
    "side": "defaults: {photos: {train: 5, test: 2}, side: {min: 101}}",
    "classes": f"datasets: {{farm: {{photos: {{train: 5}}, classes: [{', '.join([*photo_files.CLASSES, 'Durian'])}]}}}}",
}


@pytest.mark.parametrize(("rule", "text"), RULES.items())
def test_broken_rule_fails_with_a_remedy(workspace, farm, capsys, rule, text):
    write_schema(workspace, text)
    code, document, page = validate(workspace)

    assert (code, document["passed"], broken(document)) == (4, False, [rule])
    (finding,) = document["findings"]
    assert finding["remedy"]
    assert finding["message"] in capsys.readouterr().err
    assert "Invalid: training cannot use it" in page


def test_class_that_the_schema_does_not_list_is_found(workspace, farm):
    write_schema(workspace, f"datasets: {{farm: {{photos: {{train: 5}}, classes: [{KIWI}, {LEMON}]}}}}")

    code, document, _ = validate(workspace)
    assert (code, broken(document)) == (4, ["classes"])
    assert "not among the schema's 2 classes" in document["findings"][0]["message"]


def test_class_without_test_photos_is_an_error_by_default_and_shows_as_zero(workspace, farm):
    """The workshop's Peach: counted among 16 classes, tested with none."""
    folder = photo_files.fill(workspace / "peach", [KIWI, LEMON])
    for path in (folder / "test" / LEMON).iterdir():
        path.unlink()
    assert main(["ingest", "peach", "--dataset", "peach", "--no-push"]) == 0
    write_schema(workspace, "defaults: {photos: {train: 5}}")

    assert main(["validate", "--dataset", "peach"]) == 4
    document = json.loads((workspace / "artifacts/validation/validation.json").read_text())
    assert broken(document) == ["photos.test"]
    assert f"{LEMON} (0)" in document["findings"][0]["message"]
    assert document["counts"]["test"][LEMON] == {"peach": 0}


def test_imbalance_is_found(workspace, farm):
    more = workspace / "more" / "train" / KIWI
    more.mkdir(parents=True)
    for number in range(10):
        (more / f"{number}.jpg").write_bytes(photo_files.jpeg(KIWI, 110 + number, lying=True))
    ingest("more")
    write_schema(workspace, "defaults: {photos: {train: 5, test: 2}, balance: 2.5}")

    code, document, _ = validate(workspace)
    assert (code, broken(document)) == (4, ["balance"])
    assert f"{KIWI} has 16 train photos" in document["findings"][0]["message"]


def test_flipped_byte_and_missing_shard_are_found_and_nothing_else_is_reported(workspace, farm):
    first, second, *_ = (farm / shard.path for shard in shards.read_index(farm).shards)
    body = bytearray(first.read_bytes())
    body[len(body) // 3] ^= 1
    first.write_bytes(body)
    second.unlink()

    code, document, page = validate(workspace)
    assert (code, broken(document)) == (4, ["shards"])
    assert [
        "is damaged" in document["findings"][0]["message"],
        "is missing" in document["findings"][1]["message"],
    ]
    assert (document["counts"], document["sizes"]) == ({}, {})
    assert "nothing was read" in page


def test_picture_in_both_splits_is_found(workspace, farm):
    def leak(rows):
        copied = next(row for row in rows if row["split"] == "train")
        return [*rows, {**copied, "split": "test"}]

    rewrite(farm, leak)
    code, document, _ = validate(workspace)
    assert (code, broken(document)) == (4, ["overlap"])


def test_repeated_picture_and_changed_bytes_are_found(workspace, farm):
    def forge(rows):
        other = photo_files.jpeg(KIWI, 300)
        return [*rows, rows[0], {**rows[1], "image": {**rows[1]["image"], "bytes": other}, "pixels_sha256": "0" * 64}]

    rewrite(farm, forge)
    code, document, _ = validate(workspace)
    assert (code, broken(document)) == (4, ["duplicates", "sha256"])


def test_wrong_counts_in_the_index_are_found(workspace, farm):
    document = json.loads((farm / "index.json").read_text())
    document["counts"]["train"][KIWI] -= 1
    document["counts"]["train"][LEMON] += 1
    (farm / "index.json").write_text(json.dumps(document))

    code, found, _ = validate(workspace)
    assert (code, broken(found)) == (4, ["counts"])


def test_left_over_shard_is_a_warning(workspace, farm):
    shutil.copy(next(farm.glob("*.parquet")), farm / f"0009-{'a' * 12}.parquet")

    code, document, page = validate(workspace)
    assert (code, document["passed"]) == (0, True)
    assert [(item["level"], item["rule"]) for item in document["findings"]] == [("warning", "shards")]
    assert "Valid, with 1 warning" in page


def test_source_without_test_photos_of_a_class_is_a_warning(workspace, farm):
    shop = workspace / "shop" / "test" / KIWI
    shop.mkdir(parents=True)
    (shop / "one.jpg").write_bytes(photo_files.jpeg(KIWI, 300, side=140))
    ingest("shop")

    code, document, _ = validate(workspace)
    assert code == 0
    (finding,) = [item for item in document["findings"] if item["rule"] == "sources"]
    assert finding["level"] == "warning"
    assert f"no shop photo in test of {LEMON}" in finding["message"]


def test_page_is_one_file_with_every_class_and_its_photos(workspace, farm):
    class Reader(HTMLParser):
        rows, images = 0, []

        def handle_starttag(self, tag, attributes):
            values = dict(attributes)
            self.rows += tag == "th" and values.get("scope") == "row"
            if tag == "img":
                self.images.append(values["src"])
            assert not any(str(values.get(name, "")).startswith(("http", "//", "/")) for name in ("src", "href"))

    _, _, page = validate(workspace)
    reader = Reader()
    reader.feed(page)
    assert reader.rows == len(photo_files.CLASSES)
    assert len(reader.images) == 2 * len(photo_files.CLASSES)
    assert all(source.startswith("data:image/jpeg;base64,") for source in reader.images)
    assert page.index("<h1>Valid</h1>") < page.index("Classes")
    assert len(page) < 100_000
    assert re.search(r"The schema has no section for farm", page)


def test_class_name_cannot_write_into_the_page(workspace):
    name = "<script>alert(1)<b>"
    photo_files.fill(workspace / "farm", [KIWI, LEMON])
    for split in ("train", "test"):
        (workspace / "farm" / split / KIWI).rename(workspace / "farm" / split / name)
    ingest("farm")
    write_schema(workspace, LENIENT)

    assert "<script>alert" not in validate(workspace)[2]


def test_no_dataset_and_broken_index_have_their_own_exit_codes(workspace, farm):
    assert main(["validate", "--dataset", "nothing"]) == 4
    (farm / "index.json").write_text("[]")
    assert main(["validate", "--dataset", "farm"]) == 8
