"""Notes and tags of versions: signed, append-only, never lost, and never part of the manifest."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from orchard import layout
from orchard.errors import DataError, IntegrityError, StoreUnavailable
from orchard.registry import annotations
from orchard.registry.annotations import MAX_TEXT, Annotations
from orchard.registry.channels import ChangeIntent
from orchard.registry.pruning import PruneOptions
from tests.faults.crashing_store import FAULTS, CrashingStore, Killed
from tests.faults.interleaving import run_interleaved
from tests.orchard.version_fixtures import MODEL, STRANGER, facts, registry_of, resigned, saved_model

ANNA, BERT = ChangeIntent("anna", ""), ChangeIntent("bert", "it is his")


@pytest.fixture
def store(memory, tmp_path):
    """Versions 1 and 2."""
    for number in (1, 2):
        registry_of(memory).publish(saved_model(tmp_path / str(number), number), facts())
    return memory


def of(store, version=1):
    return Annotations(registry_of(store), version)


def texts(store, version=1):
    return [(record.number, record.kind, record.text) for record in of(store, version).read()]


def test_records_are_kept_in_order_with_who_when_and_why_and_the_manifest_stays(store):
    body = store.get(layout.manifest(MODEL, 1)).body

    of(store).add_note("  takes plums for grapes\nin the shade ", ANNA)
    of(store).add_tag("reviewed", BERT)
    change = of(store).remove_tag("reviewed", BERT)

    assert texts(store) == [
        (1, "note", "takes plums for grapes\nin the shade"),
        (2, "tag", "reviewed"),
        (3, "untag", "reviewed"),
    ]
    first, second, _ = of(store).read()
    assert (first.who, first.why, second.who, second.why) == ("anna", None, "bert", "it is his")
    assert first.manifest_sha256 == registry_of(store).manifest(1).document_sha256
    assert (change.tags, texts(store, 2)) == ((), [])
    assert store.get(layout.manifest(MODEL, 1)).body == body
    assert registry_of(store).versions() == [1, 2]


def test_the_same_again_changes_nothing(store):
    run = ChangeIntent("airflow", "", "nightly-7")
    for change, args in (
        ("add_note", ("good", ANNA)),
        ("add_note", ("nightly", run)),
        ("add_tag", ("best", run)),
        ("remove_tag", ("best", ANNA)),
    ):
        assert getattr(of(store), change)(*args).written is not None
        assert getattr(of(store), change)(*args).written is None
    assert len(texts(store)) == 4
    assert of(store).add_tag("best", run).written is None, "a step of a run makes its change once"
    assert of(store).add_tag("best", ANNA).tags == ("best",)
    assert of(store).add_note("good", BERT).written is not None
    assert of(store).add_note("nightly", ChangeIntent("airflow", "", "nightly-8")).written is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a text"),
        (" \n", "needs a text"),
        ("a" * (MAX_TEXT + 1), "4001 characters; at most 4000"),
        ("red \x1b[31mred", r"the character \\x1b"),
        ("a\x00b", r"the character \\x00"),
        ("gnp.\u202eexe", r"the character \\u202e"),
        ("a\rb", r"the character \\r"),
    ],
)
def test_a_note_that_breaks_a_rule_is_refused_with_the_reason(store, text, words):
    with pytest.raises(DataError, match=words):
        of(store).add_note(text, ANNA)
    assert texts(store) == []


@pytest.mark.parametrize("name", ["", "a" * 64, "two words", "a,b", "a\tb", "a\u200bb", "stable", "latest", "7"])
def test_a_tag_that_breaks_a_rule_is_refused(store, name):
    with pytest.raises(DataError, match="tag"):
        of(store).add_tag(name, ANNA)
    assert texts(store) == []


def test_a_tag_may_be_of_any_language_and_have_a_value(store):
    for name in ("prêt", "data=v3", "本番"):
        of(store).add_tag(name, ANNA)
    assert of(store).add_tag("pre\u0302t", ANNA).tags == ("data=v3", "prêt", "本番"), "composed and decomposed are one"


def test_what_is_not_there_is_named(store):
    of(store).add_tag("best", ANNA)

    with pytest.raises(DataError, match="no tag 'bets'") as caught:
        of(store).remove_tag("bets", ANNA)
    assert caught.value.hint == "its tags: best"
    with pytest.raises(DataError, match="no version 9") as caught:
        of(store, 9).add_note("x", ANNA)
    assert "it has 1 to 2" in caught.value.hint


def test_records_of_one_version_are_bounded(store, monkeypatch):
    monkeypatch.setattr(annotations, "MAX_RECORDS", 2)
    of(store).add_note("one", ANNA)
    of(store).add_note("two", ANNA)

    with pytest.raises(DataError, match="no more are kept"):
        of(store).add_note("three", ANNA)
    assert of(store).add_note("two", ANNA).written is None


def test_a_forged_lost_or_moved_record_is_noticed(store):
    for text in ("one", "two", "three"):
        of(store).add_note(text, ANNA)
    keys = [layout.version_annotation(MODEL, 1, number) for number in (1, 2, 3)]
    bodies = [store.get(key).body for key in keys]

    store.put(keys[1], resigned({"text": "forged"}, STRANGER))
    with pytest.raises(IntegrityError, match="unknown key"):
        of(store).read()
    store.put(keys[1], bodies[0])
    with pytest.raises(IntegrityError, match="is the record 1 of version 1"):
        of(store).read()
    store.delete(keys[1])
    with pytest.raises(IntegrityError, match="lack number 2"):
        of(store).read()
    store.put(keys[1], bodies[1])
    assert len(texts(store)) == 3


def test_a_pruned_version_keeps_its_notes_and_tags(store):
    of(store).add_note("the first one", ANNA)
    of(store).add_tag("baseline", ANNA)

    pruned = registry_of(store).prune(PruneOptions(keep=1, delete=True))

    assert pruned.blobs == 1
    with pytest.raises(IntegrityError, match="is damaged"):
        registry_of(store).verify(registry_of(store).manifest(1))
    assert texts(store) == [(1, "note", "the first one"), (2, "tag", "baseline")]
    assert of(store).add_note("pruned", ANNA).written is not None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_change_survives_a_fault_at_every_call(store, fault):
    of(store).add_note("before", ANNA)
    counting = CrashingStore(store)
    of(counting, 2).add_note("counting", ANNA)
    for at in range(len(counting.calls) + 1):
        with contextlib.suppress(Killed, StoreUnavailable):
            of(CrashingStore(store, at, fault)).add_note("after", ANNA)
        of(store).add_note("after", ANNA)  # the same command again

        assert texts(store) == [(1, "note", "before"), (2, "note", "after")], f"{fault} at call {at}"
        store.delete(layout.version_annotation(MODEL, 1, 2))


def test_two_writers_lose_nothing_in_any_order(tmp_path):
    from orchard.settings import Settings
    from orchard.store import open_store

    for before, between in itertools.product(range(4), range(4)):
        store = open_store(Settings(store_url="memory://"))
        registry_of(store).publish(saved_model(tmp_path / "model"), facts())

        one, two = run_interleaved(
            store,
            lambda actor: of(actor).add_note("first", ANNA),
            lambda actor: of(actor).add_tag("second", BERT),
            before,
            between,
        )

        assert (one.error, two.error) == (None, None)
        assert sorted(text for _, _, text in texts(store)) == ["first", "second"], (before, between)
        assert {record.text for record in one.result.records} <= {"first", "second"}


def test_two_writers_of_the_same_tag_write_it_once(tmp_path):
    from orchard.settings import Settings
    from orchard.store import open_store

    for before, between in itertools.product(range(4), range(4)):
        store = open_store(Settings(store_url="memory://"))
        registry_of(store).publish(saved_model(tmp_path / "model"), facts())

        one, two = run_interleaved(
            store, lambda actor: of(actor).add_tag("best", ANNA), lambda actor: of(actor).add_tag("best", BERT),
            before, between,
        )  # fmt: skip

        assert (one.error, two.error) == (None, None)
        assert len(texts(store)) == 1, (before, between)
