"""Label files: the same photos get the same labels from each format, and what is malformed is named with its place."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchard.errors import DataError
from training.data.ingest import label_files, label_rows
from training.data.ingest.label_files import parse_labels, parse_metadata

CLASSES = [
    "Salt, Pepper",
    "Crème brûlée",
    "a b",
    "yes",
    "null",
    "007",
    "1.0",
    "~",
    'the "best"',
    "#1",
    "=1+1",
    "'",
    "true",
]


def delimited(table, delimiter=","):
    text = io.StringIO(newline="")
    rows = csv.writer(text, delimiter=delimiter)
    rows.writerows([("file", "label"), *table.items()])
    return text.getvalue().encode()


def json_lines(table):
    return b"\n".join(json.dumps({"file_name": path, "label": label}).encode() for path, label in table.items())


def parquet(table):
    sink = io.BytesIO()
    pq.write_table(pa.table({"file_name": [*table], "label": [*table.values()]}), sink)
    return sink.getvalue()


def coco(table):
    names = sorted(set(table.values()))
    document = {
        "info": {"year": 2024},
        "images": [{"id": number, "file_name": path} for number, path in enumerate(table)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": names.index(label)}
            for number, label in enumerate(table.values())
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def task(path, *labels, **more):
    results = [{"type": "choices", "from_name": "choice", "value": {"choices": [label]}} for label in labels]
    return {"id": 1, "data": {"image": path}, "annotations": [{"result": results, "was_cancelled": False, **more}]}


def label_studio(table):
    return json.dumps([task(path, label) for path, label in table.items()]).encode()


FORMATS = {
    "CSV": delimited,
    "TSV": lambda table: delimited(table, "\t"),
    "CSV with semicolons": lambda table: delimited(table, ";"),
    "JSON Lines": json_lines,
    "Parquet": parquet,
    "COCO": coco,
    "Label Studio": label_studio,
}


def labels_of(body, name="labels"):
    return {row.path: row.label for row in parse_labels(body, name)}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_strange_names_of_classes_survive_each_format(form, bom):
    table = {f"photos/{number} é.jpg": label for number, label in enumerate(CLASSES)}
    body = FORMATS[form](table)

    assert labels_of(body if form == "Parquet" else bom + body) == table


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=12)
PATHS = TEXT.filter(lambda text: text.strip() == text and text not in {".", ".."}).map(
    lambda text: label_rows.clean_path("p/" + text.replace("/", "_"))
)
TABLES = st.dictionaries(PATHS, TEXT.filter(lambda text: text.strip() == text), min_size=1, max_size=8)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=60, deadline=None)
@given(table=TABLES)
def test_round_trip_of_any_table_gives_the_same_labels(form, table):
    assert labels_of(FORMATS[form](table)) == table


SEEDS = [make({"a.jpg": "Kiwi", "b.jpg": "Lemon"}) for make in FORMATS.values()]


def changed(change):
    """A good file with a piece of it replaced."""
    body, at, piece = change
    at %= len(body)
    return body[:at] + piece + body[at + 1 :]


KEYS = st.sampled_from(
    ["images", "annotations", "categories", "data", "image", "id", "file", "label", "result", "value"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.tuples(st.sampled_from(SEEDS), st.integers(0, 5000), st.binary(max_size=6)).map(changed),
    VALUES.map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=400, deadline=None)
@given(body=BODIES)
@example(body=b"[" * 200_000)
@example(body=b'{"a":' * 200_000)
@example(body=b'{"file": "1.jpg", "label": "\\ud800"}')
@example(body=b'{"images": 1, "annotations": [], "categories": []}')
def test_any_bytes_are_a_table_or_an_error_that_names_the_file(body):
    for read in (parse_labels, parse_metadata):
        problem = ""
        try:
            read(body, "labels.xyz")
        except DataError as error:
            problem = str(error)
        assert not problem or "labels.xyz" in problem


WRONG = {
    "no header": (b"1.jpg,Kiwi\n", r"line 1: no column for the file \(file, path.*it has '1.jpg', 'Kiwi'"),
    "no class": (b"file,colour\n1.jpg,red\n", r"line 1: no column for the label .*it has 'file', 'colour'"),
    "two of a kind": (b"file,path,label\n", "line 1: the columns 'file', 'path' are all for the file"),
    "short line": (b"file,label\n1.jpg,Kiwi\n2.jpg\n", "line 3: 1 values, and the header has 2 columns"),
    "unquoted comma": (b"file,label\n1.jpg,Salt, Pepper\n", "line 2: 3 values.*needs quotation marks"),
    "open quote": (b'file,label\n1.jpg,"Kiwi\n2.jpg,Kiwi\n', "line 2: unexpected end of data"),
    "absolute": (b"file,label\n/home/me/1.jpg,Kiwi\n", "line 2: the path '/home/me/1.jpg' is absolute"),
    "absolute on Windows": (b"file,label\nC:\\1.jpg,Kiwi\n", "line 2: the path .* is absolute"),
    "parent": (b"file,label\na/../../1.jpg,Kiwi\n", "line 2: the path .* leads out of the source"),
    "no path": (b"file,label\n ,Kiwi\n", "line 2: ' ?' is not the path of a photo"),
    "unknown split": (b"file,label,split\n1.jpg,Kiwi,later\n", "line 2: 'later' is not a split: expected one of train"),
    "Latin-1": ("file,label\n1.jpg,Crème\n".encode("latin-1"), "line 2: the byte 0xe8 at position 19 is not UTF-8"),
    "UTF-16": ("file,label\n".encode("utf-16"), "a text in UTF-16: expected UTF-8"),
    "empty": (b" \n", "is empty"),
    "header alone": (b"file,label\n", "names no photo"),
    "line of JSON": (b'{"file": "1.jpg", "label": "Kiwi"}\n{"file": "2.jpg", "label": }\n', "line 2: "),
    "list in lines of JSON": (b'{"file": "1.jpg", "label": "Kiwi"}\n[1]\n', "line 2: expected an object"),
    "JSON with two names": (b'{"file": "1.jpg", "label": "a", "label": "b"}\n{}', "labels.txt.*same name twice"),
    "class that is true": (b'{"file": "1.jpg", "label": true}', "line 1: True is neither a text nor a whole number"),
    "broken JSON": (b'[\n{"data": {},\n', "line 3: it is not valid JSON"),
    "other JSON": (b'{"shapes": []}', "JSON of an unknown kind: an object with 'shapes'"),
    "other list": (b'[{"image": "1.jpg", "choice": "a"}]', "a list of objects with 'image', 'choice'"),
    "COCO with a foreign image": (
        b'{"images": [], "categories": [{"id": 1, "name": "a"}], "annotations": [{"image_id": 7, "category_id": 1}]}',
        "annotation 1: image_id '7' is not in images",
    ),
    "COCO with an id twice": (
        b'{"categories": [], "annotations": [], "images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}',
        "record 2 of images: the id '1' is there twice",
    ),
    "COCO without a path": (b'{"categories": [], "annotations": [], "images": [{"id": 1}]}', "image 1: it has no 'file_name'"),
    "task without a photo": (
        b'[{"data": {"a": "1", "b": "2"}, "annotations": []}]',
        "task 1: expected 'image' in its data, or a single text; it has 'a', 'b'",
    ),
    "task with its photo inside": (b'[{"data": {"image": "data:x"}, "annotations": []}]', "task 1: its photo is in the label"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "message"), WRONG.values(), ids=WRONG)
def test_malformed_file_is_an_error_with_its_place(body, message):
    with pytest.raises(DataError, match=message) as error:
        parse_labels(body, "labels.txt")
    assert "labels.txt" in str(error.value)


def test_what_is_no_label_file_lists_what_was_looked_for():
    with pytest.raises(DataError) as error:
        parse_labels(b'{"shapes": []}', "labels.txt")
    assert all(name in error.value.hint for name in ("CSV", "JSON Lines", "Parquet", "COCO", "Label Studio"))


def test_sizes_are_bounded(monkeypatch):
    monkeypatch.setattr(label_files, "MAX_BYTES", 100)
    monkeypatch.setattr(label_rows, "MAX_ROWS", 3)

    with pytest.raises(DataError, match="is larger than 100 bytes"):
        parse_labels(bytes(101), "labels.csv")
    with pytest.raises(DataError, match="has more than 3 rows"):
        parse_labels(b"file,label\n" + b"".join(b"%d,a\n" % number for number in range(4)), "labels.csv")
    monkeypatch.setattr(label_files, "MAX_BYTES", 10_000)
    with pytest.raises(DataError, match="a value has 5000 letters"):
        parse_labels(b"file,label\n1.jpg," + b"x" * 5000, "labels.csv")


def row_of(body, path="1.jpg"):
    return next(row for row in parse_labels(body, "labels") if row.path == path)


def test_split_source_and_group_are_read_and_other_columns_are_not():
    row = row_of(b"Path,who,Class,Split,source,group\n./1.jpg,me,Kiwi,Validation,phone,visit 3\n")

    assert (row.label, row.split, row.source, row.group, row.problem) == ("Kiwi", "test", "phone", "visit 3", "")


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ("Lemon,train", "class 'Kiwi' and line 3 says class 'Lemon'"),
        ("Kiwi,test", "split 'train' and line 3 says split 'test'"),
    ],
)
def test_photo_with_two_labels_has_a_problem_that_names_both_places(second, says):
    row = row_of(f"file,label,split\n1.jpg,Kiwi,train\n./1.jpg,{second}\n".encode())

    assert row.problem == f"labels, line 2 says {says}: correct one of them"
    assert row_of(b"file,label\n1.jpg,Kiwi\n1.jpg,Kiwi\n").problem == ""


def test_coco_photo_has_one_category_or_a_problem_or_none():
    document = json.loads(coco({"1.jpg": "a", "2.jpg": "b", "3.jpg": "a"}))
    document["annotations"] = [
        {"image_id": image, "category_id": category} for image, category in ((0, 0), (0, 0), (1, 0), (1, 1))
    ]
    body = json.dumps(document).encode()

    assert row_of(body).label == "a"
    assert row_of(body, "2.jpg").problem == "labels, image 2 has annotations of 2 categories ('a', 'b'): expected one"
    assert (row_of(body, "3.jpg").label, row_of(body, "3.jpg").problem) == ("", "")


def test_choices_of_annotators_that_agree_are_one_class_and_cancelled_ones_do_not_count():
    both = task("1.jpg", "a")
    both["annotations"] += [*task("", "a")["annotations"], *task("", "b", was_cancelled=True)["annotations"]]
    two = task("2.jpg", "a")
    two["annotations"] += task("", "b")["annotations"]
    body = json.dumps([both, two, task("3.jpg"), {"data": {"photo": "4.jpg"}, "annotations": []}]).encode()

    assert (row_of(body).label, row_of(body).problem) == ("a", "")
    assert row_of(body, "2.jpg").problem == "labels, task 2 has several choices ('a', 'b'): expected one"
    assert row_of(body, "3.jpg").label == row_of(body, "4.jpg").label == ""


ADDRESSES = {
    "/data/upload/3/0a1b2c3d-my%20photo.jpg": "my photo.jpg",
    "/data/local-files/?d=site/day%201/a.jpg": "day 1/a.jpg",
    "s3://bucket/photos/a.jpg": "photos/a.jpg",
    "https://example.com/photos/a.jpg?X-Amz-Date=1": "a.jpg",
    "photos/a#1.jpg": "a#1.jpg",
}


@pytest.mark.parametrize(("address", "path"), ADDRESSES.items())
def test_address_of_label_studio_means_the_photo_at_its_end(address, path):
    table = parse_labels(json.dumps([task(address, "a"), task("/data/upload/1/other.jpg", "b")]).encode(), "labels")

    assert table.find([path]).label == "a"


def test_ends_of_two_addresses_that_are_alike_are_never_chosen_between():
    table = parse_labels(json.dumps([task("s3://x/a/1.jpg", "a"), task("s3://x/b/1.jpg", "b")]).encode(), "labels")

    assert table.find(["b/1.jpg"]).label == "b"
    with pytest.raises(DataError, match=r"labels, task 1 and task 2 both may mean the photo 1\.jpg"):
        table.find(["1.jpg"])


def test_numbers_of_classes_have_the_names_that_the_file_gives_them():
    features = {"info": {"features": {"label": {"names": ["Kiwi", "yes"], "_type": "ClassLabel"}}}}
    table = pa.table({"file_name": ["1.jpg", "2.jpg"], "label": [1, 0]}, metadata={"huggingface": json.dumps(features)})
    sink = io.BytesIO()
    pq.write_table(table, sink)

    assert labels_of(sink.getvalue()) == {"1.jpg": "yes", "2.jpg": "Kiwi"}
    assert labels_of(parquet({"1.jpg": 7})) == {"1.jpg": "7"}


@pytest.mark.parametrize(
    "body", [b"", b"file,label\n1.jpg,a\n", b'file_name,text\n1.jpg,"a kiwi"\n', b"\xff\xfe\0", b"{", b"PAR1"]
)
def test_metadata_without_file_names_and_labels_is_for_something_else(body):
    assert parse_metadata(body, "metadata.csv") is None
