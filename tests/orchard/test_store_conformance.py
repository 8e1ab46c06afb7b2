"""What the seam promises, whatever is behind it: the same suite for memory, SeaweedFS, and the protocols of Google and Azure."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchard.errors import ObjectChanged, ObjectExists, ObjectNotFound


@pytest.fixture(params=["memory", "seaweed", "google", "azure", "azurite"])
def store(request):
    return request.getfixturevalue(request.param)


def together(count, function):
    """Call function(i) in `count` threads at the same moment; returns what they returned or raised."""
    barrier = threading.Barrier(count)

    def call(i):
        barrier.wait()
        try:
            return function(i)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 5000], ids=["empty", "one byte", "1.3 MB"])
def test_what_was_put_comes_back(store, body):
    etag = store.put("folder/name with ü and +.bin", body)

    found = store.get("folder/name with ü and +.bin")

    assert (found.body, found.etag) == (body, etag)
    assert b"".join(store.stream("folder/name with ü and +.bin", chunk=100_000)) == body


def test_put_replaces_and_changes_the_etag(store):
    first = store.put("a", b"one")
    second = store.put("a", b"two")

    assert store.get("a").body == b"two"
    assert first != second


def test_large_file_arrives_whole(store, tmp_path):
    body = uuid.uuid4().bytes * (12 << 16)  # 12 MB: several parts
    (tmp_path / "blob").write_bytes(body)

    etag = store.put_file("blobs/large", tmp_path / "blob")

    stat = store.head("blobs/large")
    assert (stat.size, stat.etag) == (len(body), etag)
    assert b"".join(store.stream("blobs/large")) == body


def test_absent_object_is_named(store):
    for send_request in (
        store.get,
        store.head,
        lambda key: list(store.stream(key)),
        lambda key: store.get_if_changed(key, "e"),
    ):
        with pytest.raises(ObjectNotFound, match="no/such"):
            send_request("no/such")
    assert not store.exists("no/such")


def test_unchanged_object_sends_no_body(store):
    etag = store.put("pointer", b"1")

    assert store.get_if_changed("pointer", etag) is None
    assert store.get_if_changed("pointer", None).body == b"1"

    store.put("pointer", b"2")
    assert store.get_if_changed("pointer", etag).body == b"2"


def test_create_never_overwrites(store):
    etag = store.create("once", b"first")

    with pytest.raises(ObjectExists, match="once"):
        store.create("once", b"second")

    found = store.get("once")
    assert (found.body, found.etag) == (b"first", etag)


def test_swap_replaces_only_what_was_read(store):
    first = store.swap("pointer", b"1", None)
    second = store.swap("pointer", b"2", first)

    for stale in (first, None):
        with pytest.raises(ObjectChanged, match="pointer"):
            store.swap("pointer", b"3", stale)
    assert store.get("pointer").body == b"2"
    assert store.head("pointer").etag == second


def test_swap_of_a_removed_object_is_refused(store):
    etag = store.put("pointer", b"1")
    store.delete("pointer")

    with pytest.raises(ObjectChanged):
        store.swap("pointer", b"2", etag)
    assert not store.exists("pointer")


def test_delete_removes_one_object_and_forgives_an_absent_one(store):
    store.put("a/one", b"1")
    store.put("a/two", b"2")

    store.delete("a/one")
    store.delete("a/one")

    assert [stat.key for stat in store.list("a")] == ["a/two"]


def test_list_is_by_folder_in_order_and_can_go_on_after_a_key(store):
    keys = [f"runs/{i:04d}.json" for i in range(1203)]  # more than one page
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, key.encode()), [*keys, "runs-of-others/1", "run"]))

    stats = list(store.list("runs"))

    assert [stat.key for stat in stats] == keys
    assert stats[7].size == len(keys[7])
    assert stats[7].etag == store.head(keys[7]).etag
    assert [stat.key for stat in store.list("runs", after=keys[1000])] == keys[1001:]
    assert [stat.key for stat in store.list("runs", after="runs/0600")] == keys[600:]
    assert list(store.list("no-such-folder")) == []


def test_nested_folders_are_listed_to_the_bottom(store):
    for key in ("m/a/1", "m/b/c/2", "m/z"):
        store.put(key, b"")

    assert [stat.key for stat in store.list("m")] == ["m/a/1", "m/b/c/2", "m/z"]


def test_exactly_one_of_many_creators_wins(store):
    rounds = 20 if store.name == "memory://" else 1  # SeaweedFS lets the losers of a race wait for whole seconds
    for round_ in range(rounds):
        key = f"race/{round_}"
        results = together(16, lambda i, key=key: (i, store.create(key, b"%d" % i)))

        winners = [result for result in results if isinstance(result, tuple)]
        losers = [result for result in results if isinstance(result, ObjectExists)]
        assert (len(winners), len(losers)) == (1, 15)
        found = store.get(key)
        assert (found.body, found.etag) == (b"%d" % winners[0][0], winners[0][1])


def test_no_increment_is_lost(store):
    store.create("counter", b"0")

    def increment(_):
        for _ in range(10):
            while True:
                found = store.get("counter")
                try:
                    store.swap("counter", b"%d" % (int(found.body) + 1), found.etag)
                    break
                except ObjectChanged:
                    continue

    assert together(8, increment) == [None] * 8
    assert store.get("counter").body == b"80"
