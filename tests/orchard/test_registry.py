from __future__ import annotations

import os

import pytest

from orchard import layout
from orchard.documents import sha256_hex
from orchard.errors import DataError, GateRefused, IntegrityError, SettingsError, StoreError
from orchard.registry.manifest import DatasetRef, GateRecord
from orchard.registry.registry import Registry
from orchard.settings import Settings
from orchard.signing import create_pair
from tests.faults.crashing_store import CrashingStore
from tests.orchard.version_fixtures import BECAUSE, KEY, MODEL, STRANGER, TRUSTED, facts, registry_of, saved_model


@pytest.fixture
def folder(tmp_path):
    return saved_model(tmp_path / "model")


def keys(store):
    return [stat.key for stat in store.list("")]


def test_published_version_is_read_back(memory, folder):
    made = registry_of(memory).publish(folder, facts(run_id="r1"))

    manifest = registry_of(memory).manifest(made.version)
    assert (made.version, made.created, made.publish_id) == (1, True, manifest.publish_id)
    assert [file.path for file in manifest.files] == ["assets/classes.txt", "saved_model.pb"]
    assert manifest.size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert manifest.ops == ("Const", "MatMul")
    assert manifest.run_id == "r1"
    assert manifest.document_sha256 == sha256_hex(memory.get(layout.manifest(MODEL, 1)).body)
    assert registry_of(memory).manifest(1, sha256=manifest.document_sha256) == manifest
    registry_of(memory).verify(manifest)
    for file in manifest.files:
        assert memory.get(layout.blob(MODEL, file.sha256)).body == (folder / file.path).read_bytes()


def test_same_bytes_are_the_same_version_whatever_came_between(memory, folder, tmp_path):
    first = registry_of(memory).publish(folder, facts())
    registry_of(memory).publish(saved_model(tmp_path / "other", 1), facts())

    later = facts(run_id="another", created_by="bert", gate=GateRecord("overridden", "it is fine", "b" * 64))
    again = registry_of(memory).publish(folder, later)

    assert (again.version, again.created) == (first.version, False)
    assert registry_of(memory).versions() == [1, 2]


@pytest.mark.parametrize("change", [{"dataset": DatasetRef("fruits", 2, "c" * 64)}, {"params_digest": "c" * 64}])
def test_same_files_from_other_data_or_params_are_another_version(memory, folder, change):
    registry_of(memory).publish(folder, facts())

    assert registry_of(memory).publish(folder, facts(**change)).version == 2


def test_bytes_that_are_there_are_not_sent_again(memory, folder, tmp_path):
    registry_of(memory).publish(folder, facts())
    store = CrashingStore(memory)

    registry_of(store).publish(saved_model(tmp_path / "other", 1), facts())

    assert sum(call.startswith("put_file") for call in store.calls) == 1


@pytest.mark.parametrize(
    "gate",
    [GateRecord("refused", "shop: 67.7 %", "a" * 64), GateRecord("overridden", " ", "a" * 64)],
    ids=["refused", "no reason"],
)
def test_model_that_the_gate_has_not_let_through_is_not_published(memory, folder, gate):
    with pytest.raises(GateRefused, match=f"the gate's verdict is '{gate.verdict}'"):
        registry_of(memory).publish(folder, facts(gate=gate))

    assert keys(memory) == []


def test_overridden_model_is_published_with_its_reason(memory, folder):
    registry_of(memory).publish(folder, facts(gate=GateRecord("overridden", "the shop asked", "a" * 64)))

    assert registry_of(memory).manifest(1).gate.reason == "the shop asked"


@pytest.mark.parametrize(
    "change",
    [{"metrics": {"shop.accuracy": float("nan")}}, {"classes": (1,)}, {"code": None}, {"metrics": {"a": "b"}}],
)
def test_facts_that_no_reader_would_accept_are_not_published(memory, folder, change):
    with pytest.raises(DataError):
        registry_of(memory).publish(folder, facts(**change))

    assert keys(memory) == []


def test_manifest_that_is_too_large_is_not_published(memory, folder):
    with pytest.raises(DataError, match="at most 1048576"):
        registry_of(memory).publish(folder, facts(classes=tuple("x" * 50 + str(n) for n in range(30_000))))

    assert registry_of(memory).versions() == []


def link(folder):
    (folder / "link").symlink_to(folder / "saved_model.pb")


def linked_folder(folder):
    (folder / "more").symlink_to(folder / "assets", target_is_directory=True)


def pipe(folder):
    os.mkfifo(folder / "pipe")


def clash(folder):
    (folder / "A").write_text("1")
    (folder / "a").write_text("2")


def many(folder):
    for number in range(300):
        (folder / f"f{number}").write_text("x")


def no_graph(folder):
    (folder / "saved_model.pb").unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (link, "is a link or a special file"),
        (linked_folder, "is a link or a special file"),
        (pipe, "is a link or a special file"),
        (clash, "clashes with"),
        (many, "expected 1 to 256"),
        (no_graph, r"it has no saved_model\.pb"),
    ],
)
def test_folder_that_breaks_a_rule_is_not_published(memory, folder, spoil, sentence):
    spoil(folder)

    with pytest.raises((DataError, IntegrityError), match=sentence):
        registry_of(memory).publish(folder, facts())

    assert keys(memory) == []


def test_file_that_changes_during_the_upload_is_noticed(memory, folder):
    class Slow(CrashingStore):
        def put_file(self, key, path):
            path.write_bytes(b"trained further")
            return super().put_file(key, path)

    with pytest.raises(IntegrityError, match=r"after the upload, .* bytes; .* needs"):
        registry_of(Slow(memory)).publish(folder, facts())

    assert registry_of(memory).versions() == []


def test_version_that_is_not_there_is_named(memory):
    with pytest.raises(DataError, match="'fruits' has no version 3"):
        registry_of(memory).manifest(3)


def test_another_publishers_key_must_be_trusted(memory, folder):
    registry_of(memory, STRANGER).publish(folder, facts())

    with pytest.raises(IntegrityError, match="unknown key"):
        registry_of(memory).publish(folder, facts())
    both = type(TRUSTED)({**TRUSTED.keys, **STRANGER.trusted.keys})
    assert Registry(memory, MODEL, both, KEY).publish(folder, facts()).created is False


def test_registry_without_a_signing_key_reads_and_writes_nothing(memory, folder):
    registry_of(memory).publish(folder, facts())
    reader = Registry(memory, MODEL, TRUSTED)
    before = keys(memory)

    for change in (
        lambda: reader.publish(folder, facts()),
        lambda: reader.channel("stable").promote(1, BECAUSE),
        lambda: reader.channel("stable").rollback(BECAUSE, to=1),
    ):
        with pytest.raises(SettingsError, match="has no signing key"):
            change()
    assert (reader.versions(), keys(memory)) == ([1], before)


def test_opened_registry_signs_with_a_key_that_its_readers_trust(tmp_path):
    ours, theirs = create_pair(tmp_path / "ours"), create_pair(tmp_path / "theirs")
    store = {"store_url": "memory://", "model": "plums"}

    alone = Registry.open(Settings(**store, signing_key_file=ours.private), sign=True)
    reader = Registry.open(Settings(**store, trusted_keys_file=theirs.public, signing_key_file=ours.private))

    assert (alone.model, set(alone.trusted.keys)) == ("plums", {alone.signing_key().key_id})
    assert (reader.key, len(reader.trusted.keys)) == (None, 1)
    with pytest.raises(SettingsError, match=f"signs as {ours.key_id}, which .* does not trust"):
        Registry.open(Settings(**store, trusted_keys_file=theirs.public, signing_key_file=ours.private), sign=True)
    with pytest.raises(SettingsError, match="ORCHARD_TRUSTED_KEYS_FILE"):
        Registry.open(Settings(**store))
    with pytest.raises(SettingsError, match="ORCHARD_SIGNING_KEY_FILE"):
        Registry.open(Settings(**store, trusted_keys_file=theirs.public), sign=True)


class NoCreate(CrashingStore):
    """As S3 stores that ignore If-None-Match."""

    def create(self, key, body, kind=None):
        return self.inner.put(key, body)


class NoSwap(CrashingStore):
    """As S3 stores that ignore If-Match."""

    def swap(self, key, body, etag):
        return self.inner.put(key, body)


class NeverSwaps(CrashingStore):
    """As S3 stores that know no If-Match and refuse it."""

    def swap(self, key, body, etag):
        return self.inner.swap(key, body, "another")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [(NoCreate, "put-if-absent is ignored"), (NoSwap, "compare-and-swap is ignored"), (NeverSwaps, "did not swap")],
)
def test_nothing_is_published_to_a_store_that_does_not_keep_its_word(memory, folder, kind, sentence):
    with pytest.raises(StoreError, match=sentence):
        registry_of(kind(memory)).publish(folder, facts())

    assert all("/probes/" in key for key in keys(memory))


def test_versions_after_a_number_are_listed(seaweed, tmp_path):
    for number in range(4):
        registry_of(seaweed).publish(saved_model(tmp_path / str(number), number), facts())

    assert registry_of(seaweed).versions() == [1, 2, 3, 4]
    assert registry_of(seaweed).versions(after=2) == [3, 4]
    assert registry_of(seaweed, model="other").versions() == []
