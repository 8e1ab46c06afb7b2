"""What a prune takes, what it leaves, and what it says of both."""

from __future__ import annotations

import json

import pytest

from orchard import layout
from orchard.cli import main
from orchard.errors import ConflictError, DataError, IntegrityError
from orchard.registry import pruning
from orchard.registry.channels import ChangeIntent
from orchard.registry.leases import lease_publish
from orchard.registry.pruning import PruneOptions
from orchard.signing import create_pair, load_key
from tests.orchard.version_fixtures import MODEL, facts, registry_of, saved_model

COUNT = 8


@pytest.fixture
def grown(memory, tmp_path):
    """Eight versions; stable went 1, 2, 5, back to 2; canary is at 4."""
    for number in range(1, COUNT + 1):
        registry_of(memory).publish(saved_model(tmp_path / str(number), number), facts())
    for number in (1, 2, 5):
        registry_of(memory).channel("stable").promote(number, ChangeIntent("anna", f"to {number}"))
    registry_of(memory).channel("stable").rollback(ChangeIntent("anna", "plums"))
    registry_of(memory).channel("canary").promote(4, ChangeIntent("anna", "try"))
    return memory


def whole(store) -> list[int]:
    """The versions whose every byte is there."""
    found = []
    for number in registry_of(store).versions():
        try:
            registry_of(store).verify(registry_of(store).manifest(number))
        except IntegrityError:
            continue
        found.append(number)
    return found


def blobs(store) -> set[str]:
    return {stat.key for stat in store.list(layout.blobs(MODEL))}


def test_new_versions_channels_and_their_ways_back_stay_and_the_rest_goes(grown):
    done = registry_of(grown).prune(PruneOptions(keep=1, delete=True))

    assert whole(grown) == [1, 2, 4, 8]
    assert done.kept == {1: ("stable, 1 back",), 2: ("stable",), 4: ("canary",), 8: ("new",)}
    assert (done.blobs, done.deleted) == (4, True)  # one of the two files of 3, 5, 6, 7: the other is shared
    assert done.size == sum(len(f"graph of {number}") * 3 for number in (3, 5, 6, 7))
    assert registry_of(grown).versions() == list(range(1, COUNT + 1)), "manifests stay"


def test_without_delete_the_blobs_are_reported_and_nothing_is_changed(grown):
    before = [*grown.list("")]

    done = registry_of(grown).prune(PruneOptions(keep=1))

    assert (done.blobs, done.deleted) == (4, False)
    assert [*grown.list("")] == before


def test_a_second_prune_finds_nothing(grown):
    registry_of(grown).prune(PruneOptions(keep=2, delete=True))
    there = blobs(grown)

    done = registry_of(grown).prune(PruneOptions(keep=2, delete=True))

    assert (done.blobs, done.size) == (0, 0)
    assert blobs(grown) == there


def test_rounds_are_bounded_and_add_up(grown, monkeypatch):
    monkeypatch.setattr(pruning, "ROUND", 3)

    done = registry_of(grown).prune(PruneOptions(keep=1, delete=True))

    assert done.blobs == 4
    assert whole(grown) == [1, 2, 4, 8]
    assert json.loads(grown.get(layout.prune_marker(MODEL)).body)["turn"] == 4, (
        "two rounds, each a mark written and taken away"
    )


def test_a_served_version_stays(grown):
    registry_of(grown).prune(PruneOptions(keep=1, served=frozenset({3}), delete=True))

    assert 3 in whole(grown)


def test_a_pruned_version_is_not_promoted_and_comes_back_by_publishing_it(grown, tmp_path):
    registry_of(grown).prune(PruneOptions(keep=1, delete=True))
    with pytest.raises(IntegrityError, match="missing"):
        registry_of(grown).channel("stable").promote(3, ChangeIntent("anna", "the old one"))

    found = registry_of(grown).publish(tmp_path / "3", facts())

    assert (found.version, found.created) == (3, False)
    registry_of(grown).channel("stable").promote(3, ChangeIntent("anna", "the old one"))
    registry_of(grown).prune(PruneOptions(keep=1, delete=True))
    assert 3 in whole(grown)


def test_what_a_killed_publish_sent_stays_until_nobody_publishes(grown):
    sent = "f" * 64
    lease_publish(grown, MODEL, "e" * 64, [sent])
    grown.put(layout.blob(MODEL, sent), b"half a publish")

    done = registry_of(grown).prune(PruneOptions(keep=COUNT, delete=True))
    assert (done.held, done.blobs) == (1, 0)

    done = registry_of(grown).prune(PruneOptions(keep=COUNT, delete=True, unfinished=True))
    assert done.blobs == 1
    assert layout.blob(MODEL, sent) not in blobs(grown)


def test_nothing_is_deleted_when_a_needed_document_is_invalid(grown):
    grown.put(layout.manifest(MODEL, 2), b"{}")
    there = blobs(grown)

    with pytest.raises(IntegrityError):
        registry_of(grown).prune(PruneOptions(keep=1, delete=True))

    assert blobs(grown) == there


def test_a_killed_prune_is_resumed_only_with_the_option(grown):
    grown.put(
        layout.prune_marker(MODEL),
        b'{"doomed":["' + b"a" * 64 + b'"],"format":1,"model":"fruits","turn":1}',
    )
    with pytest.raises(ConflictError, match="or was killed"):
        registry_of(grown).prune(PruneOptions(keep=1, delete=True))

    assert registry_of(grown).prune(PruneOptions(keep=1, delete=True, resume=True)).blobs == 4


def test_none_kept_is_refused(grown):
    with pytest.raises(DataError, match="at least 1"):
        registry_of(grown).prune(PruneOptions(keep=0, delete=True))


def test_the_verb_on_the_real_store(seaweed, workspace, monkeypatch, capsys):
    pair = create_pair(workspace / "keys")
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))
    key = load_key(pair.private)
    for number in (1, 2, 3):
        registry_of(seaweed, key).publish(saved_model(workspace / str(number), number), facts())
    registry_of(seaweed, key).channel("stable").promote(2, ChangeIntent("anna", "why not"))
    count = len(blobs(seaweed))

    assert main(["prune", "--keep", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "kept  why", "2     stable", "3     new", "1 blobs, 0.0 MB, would be deleted (--delete does it)"
    ]  # fmt: skip
    assert main(["prune", "--keep", "1", "--delete", "--json"]) == 0

    result = json.loads(capsys.readouterr().out)
    assert (result["deleted"], result["blobs"]) == (True, 1)
    assert result["kept"] == [{"version": 2, "why": ["stable"]}, {"version": 3, "why": ["new"]}]
    assert len(blobs(seaweed)) == count - 1
    assert main(["prune", "--serving", "http://127.0.0.1:9"]) == 9, "who serves what is not known"
