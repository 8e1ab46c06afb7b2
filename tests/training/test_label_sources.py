"""Label files and the photos that they name: every photo and every row is accounted for, wherever the file is."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.cli import main
from orchard.errors import DataError
from tests import photo_files
from training.data import shards
from training.data.ingest.placement import ClassFolder, IgnoredFile, PhotoPlacement, SourceFile
from training.data.ingest.requested import CountedSources
from training.data.ingest.source_labels import open_labels
from training.data.rejections import RejectedPhoto, RejectionReason

KIWI, LEMON, *_ = photo_files.CLASSES
STRANGE = ["Salt, Pepper", "Crème brûlée", "yes", "null", "007"]


def write(folder, files):
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    return folder


def pack(folder, form, outermost, *, last=""):
    """Pack a folder in a zip or tar, sorted, with the file `last` at the end; return the path."""
    path = folder.with_suffix(f".{form}")
    files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: (p.name == last, p))
    names = [(file, str(file.relative_to(folder.parent if outermost else folder))) for file in files]
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file, name in names:
                archive.write(file, name)
    else:
        with tarfile.open(path, "w") as archive:
            for file, name in names:
                archive.add(file, name)
    return path


def entries_of(*sources, labels=None, split=None, label=None, unsplit=True):
    given = open_labels(labels, sources) if labels else None
    placing = PhotoPlacement(split, label, 1000, unsplit, labels=given)
    return [e for e in CountedSources(sources, None).walk(placing) if not isinstance(e, ClassFolder)]


def placed(entries):
    return {entry.name: (entry.split, entry.label) for entry in entries if isinstance(entry, SourceFile)}


def reasons(entries):
    return {e.path.rpartition("/")[2].rpartition(": ")[2]: e.reason for e in entries if isinstance(e, RejectedPhoto)}


FILES = {"1.jpg": "a", "deep/er/2.jpg": "b", "3.png": "c", "notes.txt": "d", "deep/Thumbs.db": "e"}
ROWS = "file,label\n1.jpg,Kiwi\ndeep/er/2.jpg,Lemon\n3.png,Kiwi\n"


OUTERMOST = ROWS.replace("\n1", "\nphotos/1").replace("deep/", "./photos//deep/").replace("3.png", "photos/3.png")
FORMS = [(form, ROWS) for form in ("folder", "tar", "zip", "tar of the folder", "zip of the folder")]
FORMS += [(form, OUTERMOST) for form in ("folder", "tar of the folder", "zip of the folder")]


@pytest.mark.parametrize(("form", "rows"), FORMS)
def test_rows_name_photos_of_folders_and_archives_with_and_without_the_outermost_folder(tmp_path, form, rows):
    write(tmp_path, {"labels.csv": rows})
    source = write(tmp_path / "photos", FILES)
    if form != "folder":
        source = pack(source, form[:3], "of" in form)

    entries = entries_of(source, labels=tmp_path / "labels.csv")

    assert placed(entries) == {"1.jpg": ("", "Kiwi"), "2.jpg": ("", "Lemon"), "3.png": ("", "Kiwi")}
    assert sum(isinstance(entry, IgnoredFile) for entry in entries) == 2
    assert reasons(entries) == {}


def test_photo_without_a_row_and_row_without_a_photo_are_both_named(tmp_path):
    write(tmp_path, {"labels.csv": "file,label\n1.jpg,Kiwi\ngone.jpg,Kiwi\n3.png,\n"})
    entries = entries_of(write(tmp_path / "photos", FILES), labels=tmp_path / "labels.csv")

    expected = {
        "gone.jpg": RejectionReason.NO_PHOTO,
        "2.jpg": RejectionReason.UNLABELLED,
        "3.png": RejectionReason.UNLABELLED,
    }
    assert reasons(entries) == expected
    assert any(entry.path.endswith("labels.csv, line 3: gone.jpg") for entry in entries)


def test_contradiction_and_invalid_names_of_classes_are_rejected_with_the_reason(tmp_path):
    write(tmp_path, {"labels.csv": "file,label\n1.jpg,Kiwi\n1.jpg,Lemon\n3.png,a/b\ndeep/er/2.jpg,a\u0007b\n"})
    entries = entries_of(write(tmp_path / "photos", FILES), labels=tmp_path / "labels.csv")

    details = {entry.path.rpartition("/")[2]: entry.detail for entry in entries if isinstance(entry, RejectedPhoto)}
    assert "line 2 says class 'Kiwi' and line 3 says class 'Lemon'" in details["1.jpg"]
    assert "'a/b' is not a valid name of a class: it must be the name of a folder, without slashes" in details["3.png"]
    assert "expected up to 120 printable characters" in details["2.jpg"]


def test_row_that_may_be_two_photos_is_an_error(tmp_path):
    write(tmp_path, {"labels.csv": "file,label\n1.jpg,Kiwi\n"})
    for name in ("one", "two"):
        write(tmp_path / name, {"1.jpg": "a"})

    with pytest.raises(DataError, match=r"line 2 names 1.jpg, which may be two photos: .*one/1.jpg and .*two/1.jpg"):
        entries_of(tmp_path / "one", tmp_path / "two", labels=tmp_path / "labels.csv")


def test_rows_of_one_file_are_of_all_sources(tmp_path):
    write(tmp_path, {"labels.csv": "file,label\n1.jpg,Kiwi\n2.jpg,Lemon\n"})
    sources = [write(tmp_path / name, {f"{name}.jpg": "a"}) for name in "12"]

    entries = entries_of(*sources, labels=tmp_path / "labels.csv")
    assert (placed(entries), reasons(entries)) == ({"1.jpg": ("", "Kiwi"), "2.jpg": ("", "Lemon")}, {})


SPLITS = {
    "column": ({"1.jpg": "a", "2.jpg": "b"}, "file,label,split\n1.jpg,Kiwi,val\n2.jpg,Kiwi,train\n"),
    "folder": ({"test/1.jpg": "a", "Training/x/2.jpg": "b"}, "file,label\ntest/1.jpg,Kiwi\nTraining/x/2.jpg,Kiwi\n"),
}


@pytest.mark.parametrize(("files", "rows"), SPLITS.values(), ids=SPLITS)
def test_split_is_that_of_the_row_or_of_a_folder(tmp_path, files, rows):
    write(tmp_path, {"labels.csv": rows})
    source = write(tmp_path / "photos", files)

    assert placed(entries_of(source, labels=tmp_path / "labels.csv")) == {
        "1.jpg": ("test", "Kiwi"),
        "2.jpg": ("train", "Kiwi"),
    }
    assert set(reasons(entries_of(source, labels=tmp_path / "labels.csv", split="train")).values()) == {
        RejectionReason.MISPLACED
    }


def test_photo_without_a_split_needs_an_option(tmp_path):
    write(tmp_path, {"labels.csv": ROWS})
    source = write(tmp_path / "photos", FILES)

    assert placed(entries_of(source, labels=tmp_path / "labels.csv", split="test"))["1.jpg"] == ("test", "Kiwi")
    (detail,) = {
        e.detail for e in entries_of(source, labels=tmp_path / "labels.csv", unsplit=False) if hasattr(e, "detail")
    }
    assert "add a column split; or `--test-share 0.2`" in detail
    source.rename(tmp_path / "val_set")
    (detail,) = {
        e.detail for e in entries_of(tmp_path / "val_set", labels=tmp_path / "labels.csv") if hasattr(e, "detail")
    }
    assert "the folder 'val_set' looks like a split and is none" in detail


METADATA = {
    "metadata.csv": "file_name,label\n0001.jpg,Kiwi\nsub/0002.jpg,007\n",
    "metadata.jsonl": '{"file_name": "0001.jpg", "label": "Kiwi"}\n{"file_name": "sub/0002.jpg", "label": "007"}\n',
}


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_metadata_of_an_image_folder_is_used_without_an_option(tmp_path, name, form):
    files = {f"train/{name}": METADATA[name], "train/0001.jpg": "a", "train/sub/0002.jpg": "b", "test/Kiwi/3.jpg": "c"}
    source = write(tmp_path / "set", files)
    if form != "folder":
        source = pack(source, form, outermost=True)
    if form == "tar":
        with pytest.raises(DataError, match="is behind photos that it labels") as error:
            entries_of(source)
        option = Path(re.search("--labels ([^`]*)`", error.value.hint)[1])
        assert placed(entries_of(source, labels=option))["0001.jpg"] == ("train", "Kiwi")
        with tarfile.open(source, "w") as archive:
            paths = [*(tmp_path / "set").rglob("*")]
            for path in sorted(paths, key=lambda path: (path.is_file(), not path.name.startswith("metadata"))):
                archive.add(path, path.relative_to(tmp_path), recursive=False)

    entries = entries_of(source)

    assert placed(entries) == {"0001.jpg": ("train", "Kiwi"), "0002.jpg": ("train", "007"), "3.jpg": ("test", "Kiwi")}
    assert reasons(entries) == {}
    assert sum(isinstance(entry, IgnoredFile) for entry in entries) == 1


def test_metadata_without_a_photo_two_of_them_and_an_option_that_replaces_it(tmp_path):
    write(tmp_path, {"labels.csv": "file,label\n1.jpg,Lemon\n"})
    source = write(tmp_path / "set", {"1.jpg": "a", "metadata.csv": "file_name,label\n1.jpg,Kiwi\n2.jpg,Kiwi\n"})

    assert reasons(entries_of(source)) == {"2.jpg": RejectionReason.NO_PHOTO}
    assert placed(entries_of(source, labels=tmp_path / "labels.csv")) == {"1.jpg": ("", "Lemon")}
    assert placed(entries_of(source, split="train", label="Plum"))["1.jpg"] == ("train", "Plum")
    write(source, {"metadata.jsonl": METADATA["metadata.jsonl"]})
    with pytest.raises(DataError, match="are both metadata of one folder"):
        entries_of(source)


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
@pytest.mark.parametrize("outermost", [True, False])
def test_label_file_in_the_source_is_found_by_its_path_there(tmp_path, monkeypatch, form, outermost):
    monkeypatch.chdir(tmp_path)
    source = write(tmp_path / "photos", {**FILES, "list/labels.csv": ROWS})
    if form != "folder":
        source = pack(source, form, outermost)

    assert len(placed(entries_of(source, labels=Path("list/labels.csv")))) == 3
    if form == "folder":
        write(source, {"deep/er/labels.csv": "file,label\n2.jpg,Kiwi\n"})
        assert placed(entries_of(source, labels=Path("photos/deep/er/labels.csv"))) == {"2.jpg": ("", "Kiwi")}
    with pytest.raises(DataError, match=r"there is no label file nowhere.csv: neither here nor in "):
        entries_of(source, labels=Path("nowhere.csv"))


def test_damaged_label_file_in_an_archive_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = pack(write(tmp_path / "photos", {**FILES, "labels.csv": ROWS}), "zip", False)
    source.write_bytes(source.read_bytes().replace(b"Lemon", b"Lemom"))

    with pytest.raises(DataError, match=r"label file .*labels.csv cannot be read: the archive is damaged here"):
        entries_of(source, labels=Path("labels.csv"))


def test_data_yaml_of_yolo_is_ignored_and_its_folders_are_the_layout(tmp_path):
    files = {"data.yaml": "names: [Kiwi]\n", "train/Kiwi/1.jpg": "a", "val/Kiwi/2.jpg": "b"}

    entries = entries_of(write(tmp_path / "yolo", files), unsplit=False)
    assert placed(entries) == {"1.jpg": ("train", "Kiwi"), "2.jpg": ("test", "Kiwi")}
    assert [type(entry) for entry in entries].count(IgnoredFile) == 1


PLACES = st.sampled_from(
    ["{name}.jpg", "a/{name}.jpg", "train/{name}.png", "a/b/c/{name}.JPG", "{name}.txt", ".{name}.jpg"]
)
STATES = st.sampled_from(["row", "no row", "no photo", "two rows", "no class", "other class"])


@settings(max_examples=60, deadline=None)
@given(files=st.lists(st.tuples(PLACES, STATES), max_size=12), form=st.sampled_from(["folder", "zip", "tar"]))
def test_every_photo_and_every_row_is_one_entry(tmp_path_factory, files, form):
    folder = tmp_path_factory.mktemp("rows")
    rows, there = ["file,label", "first.jpg,Kiwi"], {"first.jpg": "x"}
    for number, (place, state) in enumerate(files):
        name = place.format(name=number)
        there |= {name: "x"} if state != "no photo" else {}
        labels = {"no row": [], "two rows": ["Kiwi", "Lemon"], "no class": [""], "other class": ["Plum"]}.get(
            state, ["Kiwi"]
        )
        rows += [f"{name},{label}" for label in labels]
    write(folder, {"labels.csv": "\n".join(rows)})
    source = write(folder / "photos", there)
    source = source if form == "folder" else pack(source, form, outermost=False)

    entries = entries_of(source, labels=folder / "labels.csv")
    assert len(entries) == len(there) + sum(state == "no photo" for _, state in files)
    assert len({entry.path for entry in entries}) == len(entries)
    assert len(placed(entries)) == 1 + sum(state in {"row", "other class"} for _, state in files)


@pytest.fixture
def listed(workspace):
    """Eight photos of each of five classes with strange names in one folder; returns the rows of a label file."""
    rows = []
    for place, label in enumerate(STRANGE):
        for number in range(8):
            name = f"photos/{place}-{number}.jpg"
            write(workspace, {name: photo_files.jpeg(number=20 * number + 3 * place, side=40)})
            rows.append((name, label, f"visit {place}-{number // 2}"))
    return rows


def test_classes_with_strange_names_become_a_dataset_and_all_numbers_add_up(workspace, listed, run, capsys):
    lines = [json.dumps({"file": name, "class": label}) for name, label, _ in listed[1:]]
    lines.append(json.dumps({"file": "gone.jpg", "class": "yes"}))
    write(workspace, {"labels.jsonl": "\n".join(lines)})
    options = ("photos", "--labels", "labels.jsonl", "--test-share", "0.25")

    code, result = run(*options)
    assert (code, result["error"]["hint"].split("; ")[1]) == (4, "paths in labels.jsonl are relative to SOURCE")
    code, result = run(*options, "--max-refused", "1")
    assert (code, result["classes"], result["reasons"]) == (0, sorted(STRANGE), {"no label": 1, "no photo": 1})
    assert result["found"] == result["added"] + result["refused"] == 41
    assert main(["ingest", "photos", "--labels", "labels.jsonl", "--label", "a", "--split", "train"]) == 2


def test_groups_stay_together_and_later_photos_of_a_group_join_it(workspace, listed, run):
    def ingest(rows):
        lines = ["file,label,group", *(f'{name},"{label}",{group}' for name, label, group in rows)]
        write(workspace, {"labels.csv": "\n".join(lines)})
        code, result = run("photos", "--labels", "labels.csv", "--test-share", "0.25", "--max-refused", "1")
        groups = {name.rpartition("/")[2]: group for name, _, group in rows}
        splits = {}
        for batch in shards.iterate(workspace / "data" / "farm", columns=["image.path", "split"]):
            for row in batch.to_pylist():
                splits.setdefault(groups[row["image"]["path"]], set()).add(row["split"])
        assert code == 0
        return result, splits

    _, before = ingest(listed[::2])
    result, after = ingest(listed)
    assert all(len(splits) == 1 for splits in after.values())
    assert {group: after[group] for group in before} == before
    assert set(result["counts"]["test"].values()) == {2}
    assert (result["warnings"], result["without_split"]) == ([], 40)


def test_project_of_a_zip_with_a_label_file_knows_both(workspace, listed, capsys, monkeypatch):
    write(workspace, {"labels.csv": "\n".join(["file,label", *(f'{name},"{label}"' for name, label, _ in listed)])})
    pack(workspace / "photos", "zip", outermost=True)

    assert main(["init", "own", "--photos", "photos.zip", "--labels", "labels.csv", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["classes"], document["photos"]) == (sorted(STRANGE), 40)
    assert document["next"][0] == "orchard run"
    settings = (workspace / "own" / ".env").read_text().splitlines()
    assert settings[-2:] == ["ORCHARD_PHOTOS='../photos.zip'", "ORCHARD_LABELS='../labels.csv'"]
    monkeypatch.chdir(workspace / "own")
    for name, value in (setting.split("=", 1) for setting in settings[-2:]):  # tests read no .env
        monkeypatch.setenv(name, value.strip("'"))
    assert main(["ingest", "--no-push", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["photos"] == 40
