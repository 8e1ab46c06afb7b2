"""Tampered objects in the store: flipped, forged, unsigned, moved, replayed."""

from __future__ import annotations

import pytest

from orchard import layout
from orchard.documents import canonical_json, parse
from orchard.errors import IntegrityError
from tests.orchard.version_fixtures import BECAUSE, MODEL, STRANGER, facts, registry_of, resigned, saved_model


@pytest.fixture
def store(memory, tmp_path):
    """Versions 1 and 2, `stable` at 1, then 2."""
    for number in (1, 2):
        registry_of(memory).publish(saved_model(tmp_path / str(number), number), facts())
        registry_of(memory).channel("stable").promote(number, BECAUSE)
    return memory


def document(store, key):
    return parse(store.get(key).body, key)


def test_flipped_byte_in_a_blob_stops_promotion_and_rollback(store):
    shared = registry_of(store).manifest(1).files[-1]
    key = layout.blob(MODEL, shared.sha256)
    body = bytearray(store.get(key).body)
    body[3] ^= 1
    store.put(key, bytes(body))

    with pytest.raises(IntegrityError, match=r"no longer holds saved_model\.pb"):
        registry_of(store).channel("stable").rollback(BECAUSE)
    with pytest.raises(IntegrityError, match="damaged"):
        registry_of(store).channel("canary").promote(1, BECAUSE)

    assert registry_of(store).channel("stable").read().version == 2
    assert registry_of(store).channel("canary").read() is None


@pytest.mark.parametrize("change", [lambda body: body[:-1], lambda body: body + b"x"], ids=["shorter", "longer"])
def test_blob_of_another_size_stops_a_rollback(store, change):
    key = layout.blob(MODEL, registry_of(store).manifest(1).files[-1].sha256)
    store.put(key, change(store.get(key).body))

    with pytest.raises(IntegrityError, match=r"bytes; saved_model\.pb needs"):
        registry_of(store).channel("stable").rollback(BECAUSE)


def test_publishing_again_repairs_a_damaged_blob(store, tmp_path):
    file = registry_of(store).manifest(1).files[-1]
    store.put(layout.blob(MODEL, file.sha256), b"\0" * file.size)

    result = registry_of(store).publish(tmp_path / "1", facts())

    assert (result.version, result.created) == (1, False)
    registry_of(store).verify(registry_of(store).manifest(1))


def forged_manifest(store, change):
    key = layout.manifest(MODEL, 2)
    return key, change(document(store, key))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda doc: canonical_json(doc["payload"]), "is unsigned"),
        (lambda doc: canonical_json({**doc, "signature": None}), "is unsigned"),
        (lambda doc: resigned(doc["payload"], STRANGER), "signed by the unknown key"),
        (
            lambda doc: canonical_json({**doc, "payload": {**doc["payload"], "created_by": "eve"}}),
            "has a wrong signature",
        ),
        (lambda doc: b"{", "is not valid JSON"),
        (lambda doc: resigned({**doc["payload"], "format": 2}), "has format 2"),
        (lambda doc: resigned({**doc["payload"], "surprise": 1}), "surprise"),
        (lambda doc: resigned({**doc["payload"], "params_digest": "f" * 64}), "publish_id that does not match"),
    ],
)
def test_forged_manifest_is_not_trusted(store, change, message):
    key, body = forged_manifest(store, change)
    store.put(key, body)

    with pytest.raises(IntegrityError, match=message):
        registry_of(store).manifest(2)
    with pytest.raises(IntegrityError, match=message):
        registry_of(store).channel("canary").promote(2, BECAUSE)


def test_true_manifest_under_another_number_is_not_trusted(store):
    store.put(layout.manifest(MODEL, 2), store.get(layout.manifest(MODEL, 1)).body)

    with pytest.raises(IntegrityError, match="is the manifest of version 1"):
        registry_of(store).manifest(2)


def test_manifest_with_another_digest_than_the_pointers_is_not_trusted(store):
    pointer = registry_of(store).channel("stable").read()
    payload = document(store, layout.manifest(MODEL, 2))["payload"]
    store.put(layout.manifest(MODEL, 2), resigned({**payload, "created_by": "bert"}))

    with pytest.raises(IntegrityError, match="not the manifest that the channel points to"):
        registry_of(store).manifest(2, sha256=pointer.manifest_sha256)


def test_forged_manifest_only_costs_a_number(store, tmp_path):
    store.put(layout.manifest(MODEL, 3), b"garbage")

    result = registry_of(store).publish(saved_model(tmp_path / "3", 3), facts())

    assert (result.version, result.created) == (4, True)


def test_forged_manifest_with_the_same_content_is_not_a_success(store, tmp_path):
    folder = saved_model(tmp_path / "3", 3)
    published = registry_of(store).publish(folder, facts())
    payload = document(store, layout.manifest(MODEL, published.version))["payload"]
    store.put(layout.manifest(MODEL, published.version), resigned({**payload, "classes": ["Bomb"]}, STRANGER))

    with pytest.raises(IntegrityError, match="signed by the unknown key"):
        registry_of(store).publish(folder, facts())


def test_older_pointer_put_back_is_detected_by_every_reader(store):
    key = layout.channel(MODEL, "stable")
    old = store.get(layout.history_entry(MODEL, 1, "stable", "promote")).body
    store.put(key, old)

    with pytest.raises(IntegrityError, match="an older pointer was put back"):
        registry_of(store).channel("stable").read(seen=2)
    with pytest.raises(IntegrityError, match="an older pointer was put back"):
        registry_of(store).channel("stable").promote(1, BECAUSE)
    with pytest.raises(IntegrityError, match="an older pointer was put back"):
        registry_of(store).channel("stable").history()


def test_deleted_pointer_is_detected(store):
    store.delete(layout.channel(MODEL, "stable"))

    with pytest.raises(IntegrityError, match="is missing, but its history reaches generation 2"):
        registry_of(store).channel("stable").promote(1, BECAUSE)


def test_pointer_of_another_channel_is_not_trusted(store):
    store.put(layout.channel(MODEL, "canary"), store.get(layout.channel(MODEL, "stable")).body)

    with pytest.raises(IntegrityError, match="is the pointer of channel 'stable'"):
        registry_of(store).channel("canary").read()


def test_manifest_is_not_a_valid_pointer(store):
    store.put(layout.channel(MODEL, "stable"), store.get(layout.manifest(MODEL, 2)).body)

    with pytest.raises(IntegrityError, match="is invalid"):
        registry_of(store).channel("stable").read()


@pytest.mark.parametrize("change", ["deleted", "exchanged", "forged"])
def test_changed_history_is_detected(store, change):
    registry_of(store).channel("stable").promote(1, BECAUSE)
    keys = [layout.history_entry(MODEL, generation, "stable", "promote") for generation in (1, 2)]
    if change == "deleted":
        store.delete(keys[0])
    elif change == "exchanged":
        store.put(keys[0], store.get(keys[1]).body)
    else:
        store.put(keys[0], resigned(document(store, keys[0])["payload"], STRANGER))

    with pytest.raises(IntegrityError, match=r"history|unknown key"):
        registry_of(store).channel("stable").history()


def test_claim_that_points_elsewhere_is_detected(store, tmp_path):
    folder = saved_model(tmp_path / "3", 3)
    published = registry_of(store).publish(folder, facts())
    key = layout.publish_claim(MODEL, published.publish_id)

    store.put(key, canonical_json({**document(store, key), "version": 1}))
    with pytest.raises(IntegrityError, match="names version 1, which has other content"):
        registry_of(store).publish(folder, facts())

    store.put(key, canonical_json({**document(store, key), "version": None, "after": 9}))
    with pytest.raises(IntegrityError, match="follows version 9, which does not exist"):
        registry_of(store).publish(folder, facts())
