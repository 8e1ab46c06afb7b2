"""`orchard store check` on stores that ignore conditions, do not answer, or know no key."""

from __future__ import annotations

import json

import pytest

from orchard.cli import main
from orchard.store.access_check import check_access
from tests.faults.crashing_store import CrashingStore
from tests.orchard.answering_store import ACCESS, SECRET, answer_all, error_document


class IgnoresNoneMatch(CrashingStore):
    """As S3 stores that ignore If-None-Match."""

    def create(self, key, body, kind=None):
        return self.inner.put(key, body)


class IgnoresMatch(CrashingStore):
    """As S3 stores that ignore If-Match."""

    def swap(self, key, body, etag):
        return self.inner.put(key, body)


class RefusesMatch(CrashingStore):
    """As S3 stores that know no If-Match and refuse every write with it."""

    def swap(self, key, body, etag):
        return self.inner.swap(key, body, "another")


@pytest.mark.parametrize(
    ("kind", "check", "sentence"),
    [
        (IgnoresNoneMatch, "If-None-Match: *", "put-if-absent is ignored"),
        (IgnoresMatch, "If-Match", "compare-and-swap is ignored"),
        (RefusesMatch, "If-Match", "did not swap an object that nobody had changed"),
    ],
)
def test_a_store_that_ignores_conditions_fails_in_the_row_of_the_condition(memory, kind, check, sentence):
    results = list(check_access(kind(memory), "fruits", "fruits", ["publisher"]))

    (failed,) = (item for item in results if item.outcome != "ok")
    assert (failed.check, failed.where) == (check, "models/fruits")
    assert sentence in failed.reason
    assert "use a store with working conditional writes" in failed.remedy


def test_a_store_that_honours_all_of_it_keeps_one_object(memory):
    results = list(check_access(memory, "fruits", "pears", ["ingest", "sync"]))
    again = list(check_access(memory, "fruits", "pears", ["ingest", "sync"]))

    assert {item.outcome for item in results} == {"ok"}
    assert again == results
    assert [stat.key for stat in memory.list("datasets")] == ["datasets/pears/_probes/00.json"]
    assert [stat.key for folder in ("dvc", "runs", "models", "incoming") for stat in memory.list(folder)] == []


def test_a_reader_needs_no_conditions(memory):
    results = list(check_access(memory, "fruits", "fruits", ["sync"]))

    assert [item.check for item in results] == ["answers", "list", "get"]


@pytest.fixture
def credentials(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
    return path


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, error_document("InvalidAccessKeyId"), "does not know the access key"),
        (404, error_document("NoSuchBucket"), "is the bucket there"),
        (200, b"<html>log in</html>", "not of the store's console"),
    ],
)
def test_one_row_says_why_a_store_cannot_be_used_at_all(credentials, monkeypatch, capsys, status, body, words):
    with answer_all(status=status, body=body) as there:
        if status == 200:
            there.headers = {"content-type": "text/html"}
        for name, value in {
            "URL": "s3://bucket",
            "ENDPOINT": f"http://127.0.0.1:{there.port}",
            "CREDENTIALS_FILE": str(credentials),
        }.items():
            monkeypatch.setenv(f"ORCHARD_STORE_{name}", value)

        assert main(["store", "check", "--json"]) == 6
        document = json.loads(capsys.readouterr().out)
        assert main(["store", "check", "--for", "sync"]) == 6
        text = capsys.readouterr().out

    first, *others = document["checks"]
    assert document["passed"] is False
    assert (first["check"], first["outcome"]) == ("answers", "failed")
    assert words in first["remedy"]
    assert {item["outcome"] for item in others} == {"not checked"}
    assert words in text
    assert text.splitlines()[-1].endswith("0 of 3 checks passed")
