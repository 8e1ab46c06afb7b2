"""`orchard data croissant`: what Croissant 1.0 requires is there, every reference leads somewhere, every file has its bytes.

The reference library, mlcroissant 1.1.1, read all photos of such a document. It is no dependency of the tests: it brings
thirty packages.
"""

from __future__ import annotations

import json

import pytest

from orchard.cli import main
from orchard.dataset import Dataset
from orchard.files import sha256_of
from tests import photo_files
from training.data import shards
from training.data.ingest import shard_writer

CARD = """
cards:
  own:
    purpose: tells apart fruit
    sources: {farm: {title: Farm, by: A. Farmer, licence: MIT, content: fruit on white}}
"""


@pytest.fixture
def own(workspace, memory_of_verbs, monkeypatch):
    """A dataset of several shards that has a version in the store."""
    monkeypatch.setenv("ORCHARD_DATASET", "own")
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 30_000)
    photo_files.fill(workspace / "farm")
    assert main(["ingest", "farm", "--no-push"]) == 0
    index = shards.read_index(workspace / "data" / "own")
    Dataset(memory_of_verbs, "own").commit(index.document, "", parent=None, created_by="me")
    return index


def write(workspace, capsys, *options):
    capsys.readouterr()
    assert main(["data", "croissant", *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    return result, json.loads((workspace / result["path"]).read_text())


def references(node):
    """Every ``{"@id": …}`` that is a reference and no definition."""
    if isinstance(node, dict):
        if set(node) == {"@id"}:
            yield node["@id"]
        for key, value in node.items():
            if key not in ("@context", "data"):
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_document_has_what_the_standard_requires_and_names_the_bytes_of_every_shard(workspace, own, capsys):
    (workspace / "data/schema.yaml").write_text(CARD)

    result, document = write(workspace, capsys, "--url", "https://example.com/own")

    assert result["not_stated"] == []
    assert (document["@type"], document["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    assert (document["name"], document["license"], document["creator"]["name"]) == ("own", "MIT", "A. Farmer")
    assert document["version"] == f"1.0.0+{own.digest[:12]}"
    assert document["datePublished"]
    assert "32 photos of 4 classes" in document["description"]
    *files, whole = document["distribution"]
    assert len(files) == len(own.shards) > 2
    for file in files:
        assert file["@type"] == "cr:FileObject"
        assert sha256_of(workspace / "data" / file["contentUrl"]) == file["sha256"]
        assert {"@id", "name", "encodingFormat"} <= set(file)
    listed = {f"own/{path.name}" for path in (workspace / "data").glob(whole["includes"])}
    assert (whole["@type"], listed) == ("cr:FileSet", {file["contentUrl"] for file in files})


def test_records_have_every_column_and_references_lead_somewhere(workspace, own, capsys):
    _, document = write(workspace, capsys)

    fields = [field for records in document["recordSet"] for field in records["field"]]
    names = [node["@id"] for node in (*document["distribution"], *document["recordSet"], *fields)]
    assert len(set(names)) == len(names)
    assert set(references(document)) <= set(names)
    photos = {records["@id"]: records for records in document["recordSet"]}["photos"]
    columns = {field["source"]["extract"]["column"] for field in photos["field"]}
    assert columns == set(shards.COLUMNS)
    assert all(field["dataType"] for field in fields)
    classes = next(records for records in document["recordSet"] if records["@id"] == "classes")
    assert [row["classes/name"] for row in classes["data"]] == list(own.classes)


def test_what_is_not_stated_is_named_and_the_same_dataset_gives_the_same_bytes(workspace, own, capsys):
    result, _ = write(workspace, capsys, "--no-store")
    body = (workspace / result["path"]).read_bytes()

    assert result["not_stated"] == ["license", "url", "creator", "datePublished"]
    assert result["version"].startswith("0.0.0+")
    assert write(workspace, capsys, "--no-store")[0] == result
    assert (workspace / result["path"]).read_bytes() == body
    assert sorted(path.name for path in (workspace / "data/own").iterdir()) == sorted(
        ["index.json", *(shard.path for shard in own.shards)]
    )
    assert main(["data", "croissant"]) == 0
    assert "cards.own in data/schema.yaml has licences" in capsys.readouterr().out
