"""Every file of every source is accounted for, and what was requested and is not there is named."""

from __future__ import annotations

import json
import shlex
import shutil
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.cli import main
from orchard.files import sha256_of
from tests import photo_files
from training.data import shards

KIWI, LEMON, *_ = photo_files.CLASSES


GOOD = {(split, number): photo_files.jpeg(KIWI, number) for split in ("train", "test") for number in range(3)}
PLACES = st.sampled_from(
    [
        "train/{label}/{name}.jpg",
        "Testing/{label}/{name}.JPG",
        "val/{label}/sub/{name}.png",
        "train/{label}/.{name}.jpg",
        "train/@eaDir/{name}.jpg",
        "train/images/{name}.jpg",
        "{label}/{name}.jpg",
        "{name}.txt",
        "train/{label}/{name}.txt",
    ]
)
FILES = st.lists(st.tuples(PLACES, st.sampled_from([KIWI, LEMON, "C#", "Öl, rot"]), st.integers(0, 4)), max_size=14)


@settings(max_examples=15, deadline=None)
@given(files=FILES, packed=st.booleans(), selected=st.booleans())
def test_counts_of_found_taken_ignored_and_refused_files_add_up(
    tmp_path_factory, monkeypatch_class, files, packed, selected
):
    folder = tmp_path_factory.mktemp("accounts")
    monkeypatch_class.chdir(folder)
    written = set()
    for number, (place, label, body) in enumerate([("train/{label}/{name}.jpg", KIWI, 9), *files]):
        path = folder / "farm" / place.format(label=label, name=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo_files.jpeg(KIWI, 20 * body) if body else b"not a photo")
        written.add(path)
    if packed:
        with tarfile.open(folder / "farm.tar", "w") as archive:
            archive.add(folder / "farm", "farm")
    options = ["--classes-from", "classes.txt"] if selected else []
    (folder / "classes.txt").write_text(f"{KIWI}\nC#\n")
    main(["ingest", "farm.tar" if packed else "farm", "--no-push", "--max-refused", "1", "--dataset", "farm", *options])

    report = json.loads((folder / "artifacts/ingest/refused.json").read_text())
    taken, left_out = report["added"] + report["present"], sum(report["left_out"].values())
    assert report["found"] == len(written)
    assert report["found"] == taken + len(report["refused"]) + left_out + report["ignored"]
    assert report["files"] == taken + len(report["refused"])


@pytest.fixture(scope="module")
def monkeypatch_class():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_printed_counts_and_json_are_the_same(workspace, run, capsys):
    farm = photo_files.fill(workspace / "farm")
    (farm / "LICENSE").write_text("MIT")
    (farm / "train" / KIWI / "broken.jpg").write_bytes(b"\xff\xd8")

    code, result = run("farm", "--classes", f"{KIWI},{LEMON}", "--max-refused", "1")
    assert (code, result["found"]) == (0, 34)
    parts = (result["added"], result["present"], result["refused"], sum(result["left_out"].values()), result["ignored"])
    assert parts == (16, 0, 1, 16, 1)
    assert main(["ingest", "farm", "--no-push", "--dataset", "farm", "--classes", KIWI, "--max-refused", "1"]) == 0
    printed = capsys.readouterr().out
    assert "found 34 files: 0 added, 8 in the dataset already, 1 rejected, 24 of classes that were not sel" in printed
    assert "1 ignored" in printed


NAMES = ["C#", "Kiwi #2", "Salt, Pepper", "Crème brûlée", "#1", 'the "best"', "yes", "007"]


def test_class_name_of_any_letters_is_selected_whole(workspace, run):
    photo_files.fill(workspace / "farm", [KIWI, LEMON], train=1, test=1)
    for number, name in enumerate(NAMES):
        (workspace / "farm/train" / name).mkdir()
        (workspace / "farm/train" / name / "1.jpg").write_bytes(photo_files.jpeg(KIWI, 100 + 7 * number))
    quoted = ",".join(f'"{name.replace(chr(34), 2 * chr(34))}"' for name in NAMES)
    (workspace / "names.txt").write_text("\ufeff# a comment\n" + "\n".join(name for name in NAMES if name[0] != "#"))

    code, result = run("farm", "--classes", quoted)
    assert (code, result["classes"], result["not_found"]) == (0, sorted(NAMES), ["no test photo in the dataset"])
    code, result = run("farm", "--classes-from", "names.txt", dataset="file")
    assert (code, result["classes"]) == (0, sorted(set(NAMES) - {"#1"}))


def test_what_was_requested_and_is_not_there_is_named(workspace, run, capsys):
    photo_files.fill(workspace / "farm")
    (workspace / "empty").mkdir()

    code, result = run("farm", "empty", "--classes", f"{KIWI},{LEMON.upper()},Salt, Pepper", dataset="a")
    assert code == 0
    assert result["not_found"] == [
        f"no photo of the class {LEMON.upper()!r} of --classes; did you mean {LEMON!r}?",
        "no photo of the class 'Pepper' of --classes",
        "no photo of the class 'Salt' of --classes",
        "no photo in empty",
    ]
    assert main(["ingest", "farm/train", "--no-push", "--dataset", "b", "--classes", f"{KIWI},Durian"]) == 0
    printed = capsys.readouterr().out
    assert "not found: no photo of the class 'Durian' of --classes" in printed
    assert "not found: no test photo in the dataset" in printed
    code, result = run("farm", "--classes", "Durian", dataset="c")
    assert (code, "no photo of the class 'Durian'" in result["error"]["message"]) == (4, True)
    code, result = run("farm", "nowhere", dataset="d")
    assert (code, "there is no source nowhere" in result["error"]["message"]) == (4, True)


@pytest.mark.parametrize("share", ["0", "1"])
@pytest.mark.parametrize("to", [f"train/{LEMON}", f"test/{LEMON}", f"test/{KIWI}"])
def test_label_is_repaired_by_the_steps_of_the_message(workspace, run, share, to):
    farm = photo_files.fill(workspace / "farm")
    assert run("farm")[0] == 0
    wrong = shards.read_index(workspace / "data/farm").digest
    shutil.move(farm / "train" / KIWI / "0_100.jpg", farm / to / "moved.jpg")

    code, result = run("farm", "--max-refused", share)
    advice = result["error"]["hint"] if code else result["advice"]
    assert (code, "1 of these photos in another class" in advice) == (0 if share == "1" else 4, True)
    assert shards.read_index(workspace / "data/farm").digest == wrong

    command = shlex.split(advice.split("`orchard ", 1)[1].split("`")[0])
    same_split = to.startswith("train")
    assert command[:2] == (["data", "relabel"] if same_split else ["ingest", "farm"])
    assert main([*command, "--no-push"]) == 0
    repaired = workspace / "data" / ("farm" if same_split else "farm-2")
    rows = [row for batch in shards.iterate(repaired) for row in batch.to_pylist()]
    digest = sha256_of(farm / to / "moved.jpg")
    (moved,) = [row for row in rows if row["sha256"] == digest]
    assert (moved["split"], moved["label"], len(rows)) == (*to.split("/"), 32)
    assert ("orchard train --set data.name=farm-2" in advice) != same_split


def layouts(root):
    def place(*names):
        for name in names:
            for number in range(40):
                path = root / name.format(number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(photo_files.jpeg(KIWI, number))

    return place


CAUSES = {
    "no splits": (["Kiwi/{}.jpg", "Lemon/{}.jpg"], "the folder 'farm' holds folders of classes and is not a split"),
    "other splits": (["Part A/Kiwi/{}.jpg", "Part A/Lime/{}.jpg"], "the folder 'Part A' holds folders of classes"),
    "no classes": (["images/train/{}.jpg"], "it is in images/train itself, and no folder names its class"),
    "detection": (["train/images/{}.jpg", "train/labels/{}.txt"], "the layout of object detection"),
    "too deep": (["train/fruit/Kiwi/{}.jpg", "train/fruit/Lime/{}.jpg"], "in train/fruit/…: move the folders"),
    "flat": (["{}.jpg"], "no folder names its split, and at most one its class"),
}


@pytest.mark.parametrize(("places", "cause"), CAUSES.values(), ids=CAUSES)
@pytest.mark.parametrize("packed", [False, True])
def test_one_cause_of_many_rejections_is_one_sentence(workspace, run, places, cause, packed):
    layouts(workspace / "farm")(*places)
    if packed:
        with tarfile.open(workspace / "farm.tar", "w") as archive:
            archive.add(workspace / "farm", "farm")

    code, result = run("farm.tar" if packed else "farm")
    lines = result["error"]["message"].splitlines()
    assert (code, len(lines)) == (4, 2)
    assert cause in lines[1]
    assert "the first is" in lines[1]
    assert "--max-refused" not in result["error"]["hint"]


def test_testing_and_eval_are_splits(workspace, run):
    photo_files.fill(workspace / "farm", splits=("Training", "Testing"))
    assert run("farm")[1]["counts"]["test"][KIWI] == 2


@pytest.mark.parametrize(
    ("name", "begin", "kind"),
    [
        ("photos.7z", b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
        ("photos.tar.gz", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("photos.tar", b"<!DOCTYPE html>", "a web page"),
    ],
)
def test_source_that_is_no_archive_is_named_as_what_it_is(workspace, run, name, begin, kind):
    (workspace / name).write_bytes(begin + bytes(100))
    code, result = run(name)
    assert (code, kind in result["error"]["message"]) == (4, True)
