"""The commands of the pages, typed line by line into new terminals: first the tutorial, then each other page in what it made."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping

import pytest

from tests import drawn_photos
from tests.contract.command_coverage import READ_PAGES, is_read
from tests.contract.documented_commands import read_commands
from tests.contract.terminals import ROOT, PageReader, reading

pytestmark = pytest.mark.timeout(1200)

TUTORIAL = READ_PAGES[0]
PATH = 'export PATH="$PWD/.venv/bin:$PATH"'
RUNS_ON = {"orchard store run": r"Ctrl-C stops it", "orchard sync --serve": r"label moved"}
"""Commands that run until Ctrl-C, and what they print once they work."""

LABEL = "Red Round"
"""A class of the drawn photos."""

CHANGES: Mapping[str, Mapping[str, str]] = {
    TUTORIAL: {
        r"^orchard synthetic synthetic$": "orchard synthetic synthetic --classes 3 --photos 240",
        r"train\.epochs=10": "train.epochs=1",
        r"models/fruits": "models/synthetic",
        r"^PHOTO=photo\.jpg$": "PHOTO=$(ls synthetic/Test/*/* | head -n 1)",
        r"readyz": "readyz/synthetic",
    },
    "docs/operating.md": {r"\b7\b": "2", r"\b6\b": "1"},
    "data/README.md": {
        r"\.\./shared/data/fruits\.tar\.gz \.\./shared/data/shop\.tar\.gz": "synthetic",
        r"Kiwi": f"'{LABEL}'",
        r"^orchard synthetic .*": r"\g<0> --classes 2 --photos 40",
    },
}
"""What is typed instead of a page's words: regular expressions, for photos that a test draws and for its registry's numbers."""


def read(reader: PageReader, page: str, changes: Mapping[str, str]) -> str:
    """Type what a page says, each block into its terminal; return what the page's own terminal printed."""
    own = reader.open(page)
    if page != TUTORIAL:  # which says it; other pages suppose it
        own.run(PATH)
    for command in read_commands(page, (ROOT / page).read_text()):
        if not is_read(command) or (command.place == "table" and command.text in reader.typed):
            continue  # of tables, what no page has said before
        reader.typed.add(command.text)
        terminal = reader.terminal(command.terminal) if command.terminal else own
        text = reader.words_for(command, changes)
        try:
            if command.text in RUNS_ON:
                terminal.start(text, RUNS_ON[command.text])
            else:
                terminal.run(text)
        except AssertionError as error:
            raise AssertionError(f"{command}\n{error}") from None
    return own.printed


def _photos_of_the_data_page(reader: PageReader) -> dict[str, str]:
    """Make the folders and lists that data/README.md names; return the digests that replace the page's."""
    drawn = drawn_photos.fill(reader.checkout / "drawn", "arrows", 9)
    up, right = drawn / "up", drawn / "right"
    for split, numbers in {"train": slice(0, 4), "test": slice(4, 6)}.items():
        for folder in (up, right):
            (reader.home / "photos" / split / folder.name).mkdir(parents=True)
            for photo in sorted(folder.iterdir())[numbers]:
                shutil.copy(photo, reader.home / "photos" / split / folder.name)
    for folder in (up, right):
        shutil.copytree(folder, reader.home / "loose" / folder.name)
    shutil.copytree(drawn / "down", reader.checkout / "new/2024-05-01" / LABEL)
    shutil.copy(min((drawn / "left").iterdir()), reader.checkout / "kiwi.jpg")
    labelled = sorted((drawn / "left").iterdir())[1:]
    with zipfile.ZipFile(reader.checkout / "photos.zip", "w") as archive:
        for photo in labelled:
            archive.write(photo, photo.name)
    rows = [["file", "label"], *([photo.name, "up"] for photo in labelled)]
    stored = [
        hashlib.sha256(photo.read_bytes()).hexdigest()
        for photo in sorted(reader.checkout.glob("synthetic/Training/*/*.jpg"))
    ]
    for name, table in {"labels.csv": rows, "corrections.csv": [["sha256", "label"], [stored[-1], LABEL]]}.items():
        with (reader.checkout / name).open("w", newline="") as file:
            csv.writer(file).writerows(table)
    return {"3fa9c1d2(?= --label)": stored[0][:12], "3fa9c1d2": stored[1][:12]}


def _settings_of_two_stores(reader: PageReader) -> dict[str, str]:
    """Write the file that `orchard use staging` needs."""
    (reader.checkout / ".env.staging").write_text("ORCHARD_CHANNEL=canary\n")
    return {}


PREPARE: Mapping[str, Callable[[PageReader], dict[str, str]]] = {
    "data/README.md": _photos_of_the_data_page,
    "docs/reference/settings.md": _settings_of_two_stores,
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader who has typed the whole tutorial, and whose store and server run."""
    with reading(tmp_path_factory.mktemp("reader")) as one:
        one.tutorial = read(one, TUTORIAL, CHANGES[TUTORIAL])
        yield one


def test_tutorial_works_line_by_line(reader):
    printed = reader.tutorial

    assert "nothing new: the dataset has 240 of these photos already" in printed
    assert "Data and pipelines are up to date" in printed, "the committed candidate is back before it is published"
    assert "Stage 'train' is cached" in printed
    assert re.search(r"train\.epochs +2 +1 ", printed), "the table of the experiment"
    assert "diff not supported" not in printed, "the committed candidate has its figures"
    assert "version 1 of synthetic has this content already" in printed
    assert "stable of synthetic: version 1 → version 2" in printed
    assert "stable of synthetic: version 2 → version 1" in printed


@pytest.mark.parametrize("page", READ_PAGES[1:])
def test_commands_of_the_page_work_line_by_line(reader, page):
    prepared = PREPARE[page](reader) if page in PREPARE else {}

    printed = read(reader, page, {**CHANGES.get(page, {}), **prepared})

    assert not re.search(r"Traceback|^error:", printed, re.M)
