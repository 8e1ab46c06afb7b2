from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard import layout
from orchard.errors import DataError

SHA = "0" * 64


def test_keys_are_those_of_the_architecture():
    assert layout.dataset_version("fruits", 7) == "datasets/fruits/versions/000007.json"
    assert layout.dataset_current("fruits") == "datasets/fruits/current.json"
    assert layout.run_result("manual__2026-01-02T03:04:05+00:00", "train") == (
        "runs/manual__2026-01-02T03:04:05+00:00/train.json"
    )
    assert layout.blob("fruits", SHA) == f"models/fruits/blobs/sha256/{SHA}"
    assert layout.publish_claim("fruits", SHA) == f"models/fruits/publishes/{SHA}.json"
    assert layout.manifest("fruits", 42) == "models/fruits/versions/000000000042/manifest.json"
    assert layout.card("fruits", 42) == "models/fruits/versions/000000000042/card.html"
    assert layout.card("fruits", 42, ".md") == "models/fruits/versions/000000000042/card.md"
    assert layout.version_report("fruits", 42) == "models/fruits/versions/000000000042/report.json"
    assert layout.version_annotation("fruits", 42, 7) == "models/fruits/versions/000000000042/annotations/000007.json"
    assert layout.channel("fruits", "stable") == "models/fruits/channels/stable.json"
    assert layout.webhook_queue("fruits", "team-chat") == "webhooks/fruits/team-chat/queue.json"
    delivery = layout.webhook_delivery("fruits", "team-chat", "run_failed_0a")
    assert delivery == "webhooks/fruits/team-chat/deliveries/run_failed_0a.json"
    assert layout.receiver_of_delivery_key(delivery) == "team-chat"
    assert layout.receiver_of_delivery_key(layout.webhook_queue("fruits", "team-chat")) is None
    assert layout.history_entry("fruits", 3, "canary", "promote") == (
        "models/fruits/history/000000000003-canary-promote.json"
    )


@given(st.integers(1, 10**12 - 1))
def test_numbers_are_read_back_from_keys(number):
    assert layout.version_of_manifest_key(layout.manifest("m", number)) == number
    assert layout.version_of_card_key(layout.card("m", number)) == number
    assert layout.version_of_card_key(layout.manifest("m", number)) is None
    assert layout.version_of_manifest_key(layout.card("m", number)) is None
    assert layout.version_of_dataset_key(layout.dataset_version("d", number)) == number
    key = layout.version_annotation("m", number, number % 999 + 1)
    assert layout.version_of_annotation_key(key) == number
    assert layout.number_of_annotation_key(key) == number % 999 + 1
    assert layout.version_of_manifest_key(key) is None
    key = layout.history_entry("m", number, "stable", "rollback")
    assert layout.parts_of_history_key(key) == (number, "stable", "rollback")


@given(st.integers(1, 10**12 - 2))
def test_keys_of_versions_sort_as_numbers_do(number):
    assert layout.manifest("m", number) < layout.manifest("m", number + 1)


@pytest.mark.parametrize("key", ["models/m/versions/7/manifest.json", "models/m/versions/000000000007/other", "x"])
def test_other_keys_name_no_version(key):
    assert layout.version_of_manifest_key(key) is None
    assert layout.version_of_dataset_key(key) is None
    assert layout.parts_of_history_key(key) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "A", "a b", "-a", "a-", "a" * 64, "ä", "a\n"])
def test_name_that_could_leave_its_folder_makes_no_key(name):
    for make in (layout.versions, layout.dataset_versions, layout.dataset_current, layout.history):
        with pytest.raises(DataError, match="is not a valid name"):
            make(name)
    with pytest.raises(DataError):
        layout.channel("m", name)


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", "a b", "x" * 201, "a\n"])
def test_run_id_that_could_leave_its_folder_makes_no_key(run_id):
    with pytest.raises(DataError, match="is not a valid run id"):
        layout.run_result(run_id, "train")


@pytest.mark.parametrize("sha256", ["", "0" * 63, "A" * 64, "../" + "0" * 61])
def test_invalid_hash_makes_no_key(sha256):
    with pytest.raises(DataError, match="is not a valid SHA-256"):
        layout.blob("m", sha256)
