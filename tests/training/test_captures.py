"""`orchard captures`: counted without their photos, exported in the forms of other tools, and never trusted."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from orchard import layout
from orchard.errors import IntegrityError
from orchard.store import ObjectStore
from orchard.store.object_file import ObjectFile
from serving.server.capture.captured_rows import CapturedRow, write_rows
from tests.training.candidates import draw
from training.cli.captures import captures
from training.data.captured_photos import iterate_captures, list_captures, summarise

MODEL = "fruits"
DAYS = ("2026-11-29", "2026-11-30")
ODD = 'Äpfel & "Birnen" <b>'


class CountingStore(ObjectStore):
    """Counts the bytes that are read."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner, self.name = inner, inner.name
        self.read: list[int] = []

    def list(self, prefix, after=None):
        return self.inner.list(prefix, after)

    def read_range(self, key, start, length):
        self.read.append(length)
        return self.inner.read_range(key, start, length)


def row(image=None, day=DAYS[0], **changes):
    time = datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()
    image = draw("Red", 1) if image is None else image
    base = CapturedRow(image, "Red", 0.75, False, 3, "stable", time, "r-1", 0, "c1")
    return replace(base, **changes)


def put(store, rows, day=DAYS[0], clock="120000"):
    body = write_rows(rows)
    key = layout.capture_file(MODEL, day, clock, hashlib.sha256(body).hexdigest())
    store.create(key, body)
    return key


@pytest.fixture
def filled(memory_of_verbs):
    """Five photos of two days: two of one request, one twice, one without a prediction."""
    put(
        memory_of_verbs,
        [row(), row(draw("Blue", 1), label="Blue", unsure=True, photo=1), row(request_id="r-2", client="c2")],
    )
    last = [
        row(draw("Green", 1), DAYS[1], label=ODD, version=4, channel=None),
        row(draw("Green", 2), DAYS[1], label=None, probability=None, unsure=None, version=4, request_id="r-9"),
    ]
    put(memory_of_verbs, last, DAYS[1])
    memory_of_verbs.put(f"{layout.captures('pears')}/{DAYS[0]}/120000-0.parquet", b"another model's")
    return memory_of_verbs


def call(*arguments):
    result = CliRunner().invoke(captures, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_show_counts_by_day_version_and_label(filled):
    document = json.loads(call("show", "--json").stdout)

    assert (document["model"], document["photos"], document["unsure"], document["unsure_share"]) == (MODEL, 5, 1, 0.25)
    days = [
        {name: day[name] for name in ("day", "photos", "requests", "clients", "unsure")} for day in document["days"]
    ]
    assert days == [
        {"day": DAYS[0], "photos": 3, "requests": 2, "clients": 2, "unsure": 1},
        {"day": DAYS[1], "photos": 2, "requests": 2, "clients": 1, "unsure": 0},
    ]
    assert sum(day["bytes"] for day in document["days"]) == sum(
        stat.size for stat in filled.list(layout.captures(MODEL))
    )
    assert [(item["version"], item["channel"], item["photos"]) for item in document["versions"]] == [
        (3, "stable", 3), (4, None, 1), (4, "stable", 1),
    ]  # fmt: skip
    assert {item["label"]: item["photos"] for item in document["labels"]} == {"Red": 2, "Blue": 1, ODD: 1, None: 1}

    text = call("show", "--day", DAYS[0]).stdout
    assert "3 photos of fruits" in text
    assert "33.3 %" in text
    assert DAYS[1] not in text


def test_show_says_how_to_begin_where_nothing_is(memory_of_verbs):
    assert "orchard serve --capture 10" in call("show").stdout
    assert json.loads(call("show", "--json").stdout)["days"] == []


def test_counting_reads_the_end_of_a_file_alone(memory):
    counting = CountingStore(memory)
    put(memory, [row(bytes(number) + draw("Red", number) * 200) for number in range(1, 9)])
    (stat,) = list_captures(counting, MODEL)
    assert summarise(counting, [stat]).all.photos == 8

    assert sum(counting.read) < 0.1 * stat.size
    assert len(counting.read) == 1


@pytest.mark.parametrize(("form", "folder"), [("folder", "photos"), ("label-studio", "photos"), ("fiftyone", "data")])
def test_every_form_has_the_photos_and_a_table(filled, workspace, form, folder):
    document = json.loads(call("export", "out dir", "--format", form, "--json").stdout)

    assert (document["rows"], document["photos"]) == (5, 4)
    with (workspace / "out dir" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [item["label"] for item in rows] == ["Red", "Blue", "Red", ODD, ""]
    assert rows[0]["photo"] == rows[2]["photo"]
    assert (rows[1]["unsure"], rows[1]["probability"], rows[3]["channel"]) == ("true", "0.75", "")
    assert datetime.fromisoformat(rows[0]["time"]) == datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert {path.parent.name for path in (workspace / "out dir").glob("*/*.jpg")} == {folder}
    assert (workspace / "out dir" / rows[0]["photo"]).read_bytes() == draw("Red", 1)
    assert len(list((workspace / "out dir" / folder).iterdir())) == 4


def test_label_studio_gets_tasks_and_a_configuration(filled, workspace):
    call("export", "out dir", "--format", "label-studio")
    tasks = json.loads((workspace / "out dir" / "tasks.json").read_text("utf-8"))
    labels = ElementTree.parse(workspace / "out dir" / "labels.xml").getroot()  # noqa: S314  our own file

    (choices,) = labels.iter("Choices")
    (image,) = labels.iter("Image")
    assert [item.get("value") for item in choices] == ["Blue", "Red", ODD]
    assert (choices.get("toName"), image.get("value")) == (image.get("name"), "$image")
    for task in tasks:
        where = task["data"]["image"].removeprefix("/data/local-files/?d=out%20dir/")
        assert (workspace / "out dir" / where).is_file()
    (prediction,) = tasks[0]["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("3", 0.75)
    (result,) = prediction["result"]
    assert (result["from_name"], result["to_name"]) == (choices.get("name"), image.get("name"))
    assert (result["type"], result["value"]) == ("choices", {"choices": ["Red"]})
    assert tasks[-1]["predictions"] == []


def test_fiftyone_gets_labels_with_confidence(filled, workspace):
    call("export", "out", "--format", "fiftyone")
    labels = json.loads((workspace / "out" / "labels.json").read_text("utf-8"))["labels"]

    stems = {path.stem for path in (workspace / "out" / "data").iterdir()}
    assert labels.keys() < stems
    red = labels[hashlib.sha256(draw("Red", 1)).hexdigest()[:16]]
    assert red == {
        "label": "Red",
        "confidence": 0.75,
        "attributes": {"version": 3, "channel": "stable", "unsure": False},
    }


def test_only_unsure_photos_of_a_day(filled, workspace):
    assert json.loads(call("export", "out", "--unsure", "--json").stdout)["photos"] == 1
    assert json.loads(call("export", "other", "--unsure", "--day", DAYS[1], "--json").stdout)["photos"] == 0


def test_a_folder_with_files_is_left_alone(filled, workspace):
    (workspace / "out").mkdir()
    (workspace / "out" / "mine").touch()
    from orchard.errors import DataError

    with pytest.raises(DataError, match="is not empty"):
        call("export", "out")
    assert [path.name for path in (workspace / "out").iterdir()] == ["mine"]
    with pytest.raises(DataError, match="not a valid day"):
        call("show", "--day", "../2026")


def table(**changes):
    good = pq.read_table(io.BytesIO(write_rows([row()])))
    columns = {name: good.column(name) for name in good.column_names}
    return pa.table({name: column for name, column in {**columns, **changes}.items() if column is not None})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no Parquet at all",
        write_rows([row()])[:-20],
        table(client=None),
        table(label=pa.array([1])),
        table(image=pa.array(["../../a.jpg"])),
        table(version=pa.array([1.5])),
    ],
)
def test_a_file_of_another_form_is_named(memory, body):
    if isinstance(body, pa.Table):
        written = io.BytesIO()
        pq.write_table(body, written)
        body = written.getvalue()
    key = f"{layout.captures(MODEL)}/{DAYS[0]}/120000-{'0' * 16}.parquet"
    memory.put(key, body)

    for read in (lambda files: summarise(memory, files), lambda files: list(iterate_captures(memory, files))):
        with pytest.raises(IntegrityError, match=f"{key} is not a file of captured photos"):
            read(list_captures(memory, MODEL))


def test_names_of_files_come_from_the_photos_and_not_from_the_file(memory, workspace):
    image = pa.array([{"bytes": draw("Red", 1), "path": "../../evil.jpg"}])
    written = io.BytesIO()
    pq.write_table(table(image=image), written)
    memory.put(f"{layout.captures(MODEL)}/{DAYS[0]}/120000-{'0' * 16}.parquet", written.getvalue())
    (photo,) = iterate_captures(memory, list_captures(memory, MODEL))
    assert photo.name == hashlib.sha256(draw("Red", 1)).hexdigest()[:16] + ".jpg"


def test_an_object_is_read_as_a_file(seaweed):
    body = bytes(range(256)) * 1000
    seaweed.put("capture/fruits/big", body)
    (stat,) = seaweed.list("capture")
    file = ObjectFile(seaweed, stat)

    assert file.read() == body
    assert file.seek(-10, io.SEEK_END) == len(body) - 10
    assert (file.read(100), file.read(1)) == (body[-10:], b"")
    file.seek(1000)
    assert (file.read(7), file.tell()) == (body[1000:1007], 1007)
