"""`orchard ingest` on this machine: photos become rows or rejections, and nothing else changes a dataset."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from itertools import pairwise

import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchard.cli import main
from orchard.errors import DataError, IntegrityError, ParamsError
from tests import photo_files
from training.data import shards
from training.data.ingest import shard_writer

KIWI, LEMON, *_ = photo_files.CLASSES


@pytest.fixture
def farm(workspace):
    """Photos of four classes, for each six in train and two in test."""
    return photo_files.fill(workspace / "farm")


def rows(workspace, dataset="farm"):
    return [row for batch in shards.iterate(workspace / "data" / dataset, check=True) for row in batch.to_pylist()]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rejections(workspace):
    document = json.loads((workspace / "artifacts/ingest/refused.json").read_text())
    return {item["path"].rsplit("/", 1)[-1]: item["reason"] for item in document["refused"]}


def pack(folder, path, name=None):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, name or folder.name)
    return path


def test_folder_becomes_a_dataset(workspace, farm, run):
    code, result = run("farm")

    assert code == 0
    assert (result["photos"], result["added"], result["refused"], result["version"]) == (32, 32, 0, None)
    assert result["digest"] == shards.read_index(workspace / "data/farm").digest
    stored = {(row["split"], row["label"], row["image"]["path"]): row for row in rows(workspace)}
    for path in farm.rglob("*.jpg"):
        row = stored.pop((path.parts[-3], path.parts[-2], path.name))
        assert row["image"]["bytes"] == path.read_bytes()
        assert (row["source"], row["width"], row["height"]) == ("farm", 100, 100)
    assert stored == {}


def test_same_photos_give_the_same_bytes_from_any_kind_of_source(workspace, farm, run, monkeypatch):
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 30_000)
    pack(farm, workspace / "farm.tar.gz")
    with tarfile.open(workspace / "backwards.tar", "w") as archive:
        for path in sorted(farm.rglob("*.jpg"), reverse=True):
            archive.add(path, path.relative_to(workspace))

    results = []
    for source in ("farm", "farm.tar.gz", "backwards.tar"):
        assert run(source)[0] == 0
        results.append(contents(workspace / "data" / "farm"))
        shutil.rmtree(workspace / "data")
    assert results[0] == results[1] == results[2]
    assert len(results[0]) > 3


def test_rows_are_mixed_and_shards_are_even(workspace, farm, run, monkeypatch):
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 40_000)
    run("farm")
    index = shards.read_index(workspace / "data/farm")
    labels = [row["label"] for row in rows(workspace)]

    assert max(shard.rows for shard in index.shards) < 2 * min(shard.rows for shard in index.shards)
    assert sum(a != b for a, b in pairwise(labels)) > 12  # sorted by class there would be 3


def test_schema_of_a_shard_is_what_other_readers_expect(workspace, farm, run):
    run("farm")
    (path,) = (workspace / "data/farm").glob("*.parquet")
    file = pq.ParquetFile(path)
    features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    image = file.metadata.row_group(0).column(0)

    assert file.schema_arrow.names == list(shards.COLUMNS) == list(features)
    assert features["image"] == {"_type": "Image"}
    assert (image.path_in_schema, image.compression, image.is_stats_set) == ("image.bytes", "UNCOMPRESSED", False)
    assert file.metadata.row_group(0).column(2).is_stats_set


def test_same_photos_again_add_nothing(workspace, farm, run, capsys):
    run("farm")
    before = contents(workspace / "data")

    code, result = run("farm")
    assert (code, result["added"], result["present"], result["shards_added"]) == (0, 0, 32, 0)
    assert contents(workspace / "data") == before
    assert main(["ingest", "farm", "--dataset", "farm", "--no-push"]) == 0
    assert "nothing new" in capsys.readouterr().out


def test_new_photos_make_new_shards_and_leave_the_old_ones_alone(workspace, farm, run):
    run("farm")
    before = contents(workspace / "data/farm")
    day = workspace / "2024-05-01"
    (day / KIWI).mkdir(parents=True)
    (day / KIWI / "new.jpg").write_bytes(photo_files.jpeg(KIWI, 150))
    (day / KIWI / "known.jpg").write_bytes((farm / "train" / KIWI / "0_100.jpg").read_bytes())

    code, result = run(day, "--split", "train", "--source", "shop")
    after = contents(workspace / "data/farm")
    assert (code, result["added"], result["present"], result["shards_added"]) == (0, 1, 1, 1)
    assert {name: body for name, body in after.items() if name in before and name != "index.json"} == {
        name: body for name, body in before.items() if name != "index.json"
    }
    assert result["counts"]["train"][KIWI] == 7
    assert [row["source"] for row in rows(workspace) if row["image"]["path"] == "new.jpg"] == ["shop"]


def test_single_photo_with_split_and_label(workspace, farm, run):
    run("farm")
    (workspace / "kiwi.jpg").write_bytes(photo_files.jpeg(KIWI, 151))

    assert run("kiwi.jpg", "--split", "test", "--label", KIWI)[1]["counts"]["test"][KIWI] == 3
    assert run("kiwi.jpg", "--split", "test", "--label", "Kiwwi")[1]["error"]["exit_code"] == 4
    assert main(["ingest", "kiwi.jpg", "--label", KIWI, "--no-push"]) == 2


def test_sources_are_named_by_the_schema(workspace, farm, run):
    (workspace / "data").mkdir()
    (workspace / "data/schema.yaml").write_text("sources: {farm: turntable}")
    shutil.copytree(farm, workspace / "elsewhere/shop")
    for path in (workspace / "elsewhere").rglob("*.jpg"):
        path.write_bytes(photo_files.jpeg(path.parent.name, int(path.name.split("_")[0]) + 13))

    assert run("farm", "elsewhere")[0] == 0
    assert {row["source"] for row in rows(workspace)} == {"turntable", "shop"}


def test_only_the_selected_classes(workspace, farm, run):
    (workspace / "classes.txt").write_text(f"# two of them\n{KIWI}\n\n{LEMON}  # sour\n")

    code, result = run("farm", "--classes", f"{KIWI}, {LEMON}")
    assert (code, result["classes"], result["photos"]) == (0, [KIWI, LEMON], 16)
    assert sum(result["left_out"].values()) == 16
    assert run("farm", "--classes-from", "classes.txt", dataset="two")[1]["digest"] != result["digest"]  # another name
    assert run("farm", "--classes-from", "classes.txt", dataset="two")[1]["classes"] == [KIWI, LEMON]
    assert main(["ingest", "farm", "--classes", KIWI, "--classes-from", "classes.txt"]) == 2


BAD = {
    "text.jpg": (b"not a photo\n" * 9, "not an image"),
    "half.jpg": (photo_files.truncated(), "truncated"),
    "bomb.png": (photo_files.bomb(), "decompression bomb"),
    "pages.tif": (
        photo_files.encoded(photo_files.photo(), "TIFF", save_all=True, append_images=[photo_files.photo()]),
        "several pages",
    ),
    "empty.jpg": (b"", "empty file"),
    "tiny.jpg": (photo_files.jpeg(side=9), "too small"),
}


def test_a_few_bad_files_are_left_out_with_their_reasons(workspace, farm, run):
    for name, (body, _) in BAD.items():
        (farm / "train" / KIWI / name).write_bytes(body)

    code, result = run("farm", "--max-refused", "0.2")
    assert code == 0
    assert (result["photos"], result["refused"]) == (32, len(BAD))
    assert rejections(workspace) == {name: reason for name, (_, reason) in BAD.items()}


@pytest.mark.parametrize("name", BAD)
def test_too_many_bad_files_fail_the_whole_ingest_and_change_nothing(workspace, farm, run, name):
    run("farm")
    before = contents(workspace / "data")
    more = workspace / "more"
    (more / "train" / KIWI).mkdir(parents=True)
    (more / "train" / KIWI / "good.jpg").write_bytes(photo_files.jpeg(KIWI, 160))
    (more / "train" / KIWI / name).write_bytes(BAD[name][0])

    code, result = run("more")
    assert (code, result["error"]["kind"]) == (4, "DataError")
    assert BAD[name][1] in result["error"]["message"]
    assert "nothing was written" in result["error"]["message"]
    assert rejections(workspace) == {name: BAD[name][1]}
    assert contents(workspace / "data") == before
    assert [path.name for path in (workspace / "data").iterdir()] == ["farm"]


def test_photos_that_the_served_model_does_not_read_are_converted_and_reported_and_all_others_kept(
    workspace, farm, run
):
    bodies = {
        "phone.jpg": photo_files.rotated(),
        "print.jpg": photo_files.encoded(photo_files.photo(KIWI, 31).convert("CMYK")),
    }
    web = photo_files.encoded(photo_files.photo(KIWI, 33), "WEBP")
    for name, body in {**bodies, "web.jpg": web}.items():
        (farm / "train" / KIWI / name).write_bytes(body)

    code, result = run("farm")
    assert (code, result["changed"], result["photos"]) == (0, 1, 35)
    report = json.loads((workspace / "artifacts/ingest/refused.json").read_text())
    assert [item["what"] for item in report["changed"]] == ["WEBP written as PNG"]
    stored = {row["image"]["path"]: row for row in rows(workspace)}
    assert {name: stored[name]["image"]["bytes"] for name in bodies} == bodies
    assert (stored["phone.jpg"]["width"], stored["phone.jpg"]["height"]) == (80, 100)
    assert Image.open(io.BytesIO(stored["web.jpg"]["image"]["bytes"])).format == "PNG"
    assert run("farm")[1]["present"] == 35


def test_picture_in_both_splits_stays_in_test_only(workspace, farm, run):
    shutil.copy(farm / "test" / KIWI / "212_100.jpg", farm / "train" / KIWI / "leaked.jpg")
    Image.open(farm / "test" / LEMON / "212_100.jpg").save(farm / "train" / LEMON / "leaked.png")

    code, result = run("farm", "--max-refused", "0.1")
    assert (code, result["reasons"], result["photos"]) == (0, {"leak": 2}, 32)
    assert rejections(workspace) == {"leaked.jpg": "leak", "leaked.png": "leak"}
    assert result["counts"]["test"][KIWI] == 2
    assert run("farm")[0] == 4, "two in thirty-four is more than the default share"


def test_leak_into_a_dataset_that_is_there_is_refused_from_either_side(workspace, farm, run):
    run("farm")
    for split, name in (("train", "212_100.jpg"), ("test", "0_100.jpg")):
        other = "test" if split == "train" else "train"
        code, result = run(farm / other / KIWI / name, "--split", split, "--label", KIWI)
        assert (code, result["error"]["kind"]) == (4, "DataError")
        assert "leak" in result["error"]["message"]


def test_same_picture_twice_is_stored_once_and_a_contradiction_is_named(workspace, farm, run):
    shutil.copy(farm / "train" / KIWI / "0_100.jpg", farm / "train" / KIWI / "copy.jpg")
    shutil.copy(farm / "train" / KIWI / "0_100.jpg", farm / "train" / LEMON / "zz.jpg")

    code, result = run("farm", "--max-refused", "0.1")
    assert (code, result["photos"], result["reasons"]) == (0, 32, {"duplicate": 2})
    report = json.loads((workspace / "artifacts/ingest/refused.json").read_text())
    details = {item["path"].rsplit("/", 1)[-1]: item["detail"] for item in report["refused"]}
    assert f"as {KIWI!r}, here as {LEMON!r}" in details["zz.jpg"]


def test_unknown_class_names_the_nearest_one(workspace, farm, run):
    (workspace / "data").mkdir()
    names = ", ".join(photo_files.CLASSES)
    (workspace / "data/schema.yaml").write_text(f"datasets: {{farm: {{classes: [{names}]}}}}")
    (farm / "train" / KIWI).rename(farm / "train" / f"{KIWI}s")

    code, result = run("farm")
    assert code == 4
    assert f"did you mean '{KIWI}'" in result["error"]["message"]
    assert "--dataset NAME" in result["error"]["hint"]
    assert not (workspace / "data/farm").exists()
    assert run("farm", "--classes", f"{KIWI},Durian")[1]["error"]["message"].startswith("'Durian' is not one of the 4")


def test_dataset_without_a_schema_takes_a_new_class_only_by_name(workspace, farm, run):
    run("farm", "--classes", f"{KIWI},{LEMON}")
    new = photo_files.CLASSES[2]

    assert run(farm)[0] == 4
    code, result = run(farm, "--classes", f"{KIWI},{LEMON},{new}")
    assert (code, result["classes"]) == (0, sorted([KIWI, LEMON, new]))


def test_empty_class_folder_is_an_error_unless_the_class_has_photos_elsewhere(workspace, farm, run):
    (farm / "train" / "Durian").mkdir()
    code, result = run("farm")
    assert code == 4
    assert "no photo for the class Durian" in result["error"]["message"]
    assert not (workspace / "data/farm").exists()

    (farm / "train" / "Durian").rmdir()
    for path in (farm / "test" / KIWI).iterdir():
        path.unlink()
    assert run("farm")[0] == 0
    report = json.loads((workspace / "artifacts/ingest/refused.json").read_text())
    assert report["empty"] == [{"split": "test", "class": KIWI}]


@pytest.mark.parametrize("name", ["../../evil.jpg", "/evil.jpg"])
def test_archive_with_an_unsafe_path_always_fails_the_ingest(workspace, farm, run, name):
    pack(farm, workspace / "farm.tar")
    with tarfile.open(workspace / "evil.tar", "w") as archive:
        archive.add(farm, "farm")
        info = tarfile.TarInfo(f"farm/train/{KIWI}/{name}" if name[0] == "." else name)
        archive.addfile(info, io.BytesIO())

    code, result = run("evil.tar", "--max-refused", "1")
    assert code == 4
    assert "unsafe path" in result["error"]["message"]
    assert not (workspace / "data/farm").exists()
    assert not list(workspace.glob("**/evil.jpg"))


def test_archive_with_a_link_always_fails_the_ingest(workspace, farm, run):
    (farm / "train" / KIWI / "link.jpg").symlink_to("/etc/hostname")
    pack(farm, workspace / "farm.tar.gz")

    code, result = run("farm.tar.gz", "--max-refused", "1")
    assert (code, "a link to '/etc/hostname'" in result["error"]["message"]) == (4, True)


def test_nothing_to_ingest_is_an_error(workspace, farm, run):
    (workspace / "empty").mkdir()

    for arguments in (("empty",), ("nowhere",), ("farm", "--classes", "Durian")):
        code, result = run(*arguments)
        assert (code, result["error"]["kind"]) == (4, DataError.__name__)
    assert not (workspace / "data/farm").exists()


def test_damaged_dataset_is_not_added_to(workspace, farm, run):
    run("farm")
    (path,) = (workspace / "data/farm").glob("*.parquet")
    body = bytearray(path.read_bytes())
    body[1000] ^= 1
    path.write_bytes(body)

    code, result = run("farm")
    assert (code, result["error"]["kind"]) == (8, IntegrityError.__name__)
    (workspace / "data/farm/index.json").write_text("{}")
    assert run("farm")[0] == 8


def test_folder_that_is_not_a_dataset_is_not_written_into(workspace, farm, run):
    (workspace / "data/farm").mkdir(parents=True)
    (workspace / "data/farm/thesis.txt").write_text("years of work")

    code, result = run("farm")
    assert (code, "is not a dataset" in result["error"]["message"]) == (4, True)
    assert contents(workspace / "data") == {"farm/thesis.txt": b"years of work"}


def test_schema_with_a_typo_stops_it(workspace, farm, run):
    (workspace / "schema.yaml").write_text("defaults: {balanc: 3}")

    code, result = run("farm", "--schema", "schema.yaml")
    assert (code, result["error"]["kind"]) == (3, ParamsError.__name__)


def test_summary_for_people(workspace, farm, capsys):
    (farm / "train" / KIWI / "text.jpg").write_bytes(b"no")
    (farm / "LICENSE").write_text("MIT")
    assert main(["ingest", "farm", "--dataset", "farm", "--no-push", "--max-refused", "0.1"]) == 0

    printed = capsys.readouterr().out
    assert "added 32 photos in 1 new shard" in printed
    assert "text.jpg: not an image" in printed
    assert "on this machine only" in printed
