"""Forged, replayed, damaged, hostile or wrong versions are never served, and the version before is still served."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

import pytest

from orchard import layout
from orchard.documents import canonical_json, encode
from orchard.registry.channels import ChangeIntent
from orchard.registry.manifest import GateRecord
from orchard.registry.registry import Registry
from orchard.signing import TrustedKeys, create_pair, load_key, sign
from tests.serving.conftest import plain_config, registry, server, zoo  # noqa: F401  fixtures
from tests.serving.model_registry import MODEL
from tests.serving.programs import until


@pytest.fixture
def served(registry):  # noqa: F811
    """A server and a sync with version 1 live."""
    with registry.serve() as server, registry.sync() as sync:  # noqa: F811
        version = registry.release("one")
        until(lambda: sync.served() == version, "version 1 is live")
        yield registry, server, sync


def numbers(server) -> set[int]:  # noqa: F811
    """The versions that the server knows beyond the state START."""
    statuses = server.get(f"/v1/models/{MODEL}").json["model_version_status"]
    return {int(row["version"]) for row in statuses if row["state"] != "START"}


def assert_version_1_is_served(served) -> None:
    _, server, sync = served  # noqa: F811
    assert sync.served() == 1
    assert server.get(f"/v1/models/{MODEL}/labels/stable/metadata").json["model_spec"]["version"] == "1"
    assert sync.get("/readyz").status == 200


BAD = {
    "wrong": "for golden photo",
    "nan": "invalid label or probability",
    "reads": "ReadFile",
    "saves": "SaveV2, which write files",
    "bomb": "bytes of constants",
}


def test_bad_models_are_refused_with_their_reasons(served):
    registry, server, sync = served  # noqa: F811
    for name, reason in BAD.items():
        version = registry.release(name)

        refusal = until(lambda v=version: sync.refusal(v), f"{name} is refused permanently")

        assert reason in refusal["reason"]
        assert refusal["tries"] <= 3
        assert_version_1_is_served(served)
        if name not in ("wrong", "nan"):
            assert version not in numbers(server), "the server knows it"
        until(lambda: sync.status["on_disk"] == [1], "its files are removed")

    good = registry.release("two")
    until(lambda: sync.served() == good, "the next good version is served")


def flip(body: bytes) -> bytes:
    return body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]


def resigned(registry, of: str = "stable", **changes) -> bytes:  # noqa: F811
    """A channel's pointer with other fields and a valid signature."""
    pointer = registry.registry.channel(of).read()
    return canonical_json(sign(encode(replace(pointer, **changes)), registry.key))


def point(registry, version: int, generation: int) -> None:  # noqa: F811
    """Move the stable channel without a check of the blobs."""
    manifest = registry.store.get(layout.manifest(MODEL, version)).body
    sha256 = hashlib.sha256(manifest).hexdigest()
    body = resigned(registry, version=version, generation=generation, manifest_sha256=sha256)
    registry.store.put(layout.channel(MODEL, "stable"), body)


def test_damaged_blobs_are_refused_and_served_after_repair(served):
    registry, server, sync = served  # noqa: F811
    version = registry.publish("two")
    key = registry.blobs(version)["saved_model.pb"]
    intact = registry.store.get(key).body
    cases = {
        "another SHA-256": flip(intact),
        "ends after": intact[:-1],
        "is longer than": intact + bytes(100_000),
        "ends after 0 bytes": b"",
    }
    for generation, (reason, damaged) in enumerate(cases.items(), start=10):
        registry.store.put(key, damaged)
        point(registry, version, generation)
        until(lambda g=generation: sync.status["channels"]["stable"]["generation"] == g, "sync has read it")
        refusal = until(lambda: sync.refusal(version), "it is refused after three tries")
        assert refusal["tries"] == 3
        assert reason in refusal["reason"]
        assert_version_1_is_served(served)
        assert version not in numbers(server)
        assert not list((registry.serving / MODEL).glob(".staging-*"))

    registry.store.put(key, intact)
    point(registry, version, 20)
    until(lambda: sync.served() == version, "repaired and promoted again, it is served")


def test_forged_and_replayed_pointers_are_not_trusted(served, tmp_path):
    registry, _, sync = served  # noqa: F811
    key = layout.channel(MODEL, "stable")
    first = registry.store.get(key).body
    two = registry.release("two")
    until(lambda: sync.served() == two, "version 2 is live")
    trusted = registry.store.get(key).body
    stranger = load_key(create_pair(tmp_path / "stranger").private)
    document = json.loads(trusted)
    forgeries = {
        "an older pointer was put back": first,
        "signed by the unknown key": canonical_json(
            sign({**document["payload"], "generation": 9, "version": 1}, stranger)
        ),
        "wrong signature": canonical_json(
            {**document, "payload": {**document["payload"], "generation": 9, "version": 1}}
        ),
        "is unsigned": canonical_json(document["payload"]),
        "is not valid JSON": b"\xff{",
        "has two pointers of generation": resigned(registry, version=1, manifest_sha256="0" * 64),
        "is the pointer of channel 'canary'": resigned(registry, generation=9, channel="canary"),
    }
    for reason, body in forgeries.items():
        registry.store.put(key, body)
        until(lambda r=reason: r in sync.status["problems"].get("stable", ""), reason)
        assert sync.served() == two
        assert sync.status["channels"]["stable"]["generation"] == 2

    registry.store.delete(key)
    until(lambda: "is missing" in sync.status["problems"].get("stable", ""), "the missing pointer is reported")
    assert sync.served() == two

    registry.store.put(key, trusted)
    until(lambda: "stable" not in sync.status["problems"], "the valid one is trusted again")


def test_a_replay_is_not_trusted_after_a_restart(registry):  # noqa: F811
    key = layout.channel(MODEL, "stable")
    with registry.serve() as server:  # noqa: F811
        with registry.sync() as sync:
            one = registry.release("one")
            first = registry.store.get(key).body
            two = registry.release("two")
            until(lambda: sync.served() == two, "version 2 is live")
        registry.store.put(key, first)

        with registry.sync() as sync:
            until(lambda: "an older pointer" in sync.status["problems"].get("stable", ""), "the replay is reported")
            until(lambda: sync.served() == two, "version 2 is still served")
        assert one not in {
            int(row["version"]) for row in server.get(f"/v1/models/{MODEL}").json["model_version_status"]
        }


def test_a_key_added_after_the_promotion_is_used_without_a_restart(served, tmp_path):
    registry, _, sync = served  # noqa: F811
    pair = create_pair(tmp_path / "second")
    key = load_key(pair.private)
    both = TrustedKeys({**registry.key.trusted.keys, **key.trusted.keys})
    publisher = Registry(registry.store, MODEL, both, key)
    version = publisher.publish(registry.photos / "two", registry.facts("two")).version
    publisher.channel("stable").promote(version, ChangeIntent("ben@bench", "signed with the new key"))
    until(lambda: "unknown key" in sync.status["problems"].get("stable", ""), "sync does not trust it")
    assert_version_1_is_served(served)

    with registry.trust.path.open("ab") as file:
        file.write(pair.public.read_bytes())

    until(lambda: sync.served() == version, "with the key it is served")
    assert sync.status["problems"] == {}


def test_forged_manifests_are_not_trusted(served, tmp_path):
    registry, server, sync = served  # noqa: F811
    stranger = load_key(create_pair(tmp_path / "stranger").private)
    true_body = registry.store.get(layout.manifest(MODEL, 1)).body
    payload = json.loads(true_body)["payload"]
    bad_path = [{**payload["files"][0], "path": "../../escape"}, *payload["files"][1:]]
    huge = [{**payload["files"][0], "size": 1 << 40}, *payload["files"][1:]]
    cases = [
        ("unknown key", lambda p, n: sign({**p, "version": n}, stranger)),
        ("unsigned", lambda p, n: {**p, "version": n}),
        ("another SHA-256", None),
        ("'../../escape'", lambda p, n: sign({**p, "version": n, "files": bad_path}, registry.key)),
        ("at most", lambda p, n: sign({**p, "version": n, "files": huge}, registry.key)),
        ("manifest of version 1", lambda p, n: sign(p, registry.key)),
        ("'MatchingFiles'".strip("'"), lambda p, n: sign({**p, "version": n, "ops": ["MatchingFiles"]}, registry.key)),
        ("gate's verdict is 'refused'", lambda p, n: sign(
            {**p, "version": n, "gate": {"verdict": "refused", "reason": "worse", "sha256": "a" * 64}}, registry.key)),
    ]  # fmt: skip
    for offset, (reason, forge) in enumerate(cases):
        number = 100 + offset
        body = true_body if forge is None else canonical_json(forge(payload, number))
        registry.store.put(layout.manifest(MODEL, number), body)
        sha256 = "0" * 64 if forge is None else hashlib.sha256(body).hexdigest()
        registry.store.put(
            layout.channel(MODEL, "stable"),
            resigned(registry, version=number, generation=number, manifest_sha256=sha256),
        )
        refusal = until(lambda n=number: sync.refusal(n), f"version {number} is refused: {reason}")
        assert reason in refusal["reason"], refusal
        assert_version_1_is_served(served)
        assert number not in numbers(server)
    assert not (registry.folder / "escape").exists()


def test_a_version_without_an_accepted_gate_needs_a_written_reason(served):
    registry, _, sync = served  # noqa: F811
    overridden = GateRecord("overridden", "the shop's photos were mislabelled", "a" * 64)

    version = registry.release("two", gate=overridden)

    until(lambda: sync.served() == version, "an overridden verdict is served")


def test_a_model_that_differs_from_its_manifest_is_refused(registry):  # noqa: F811
    metadata = registry.facts("one")
    with registry.serve(), registry.sync() as sync:
        for changes, reason in (
            ({"ops": tuple(op for op in metadata.ops if op != "MatMul")}, "its manifest does not name: MatMul"),
            ({"classes": ("A", "B", "C", "D")}, "has other classes"),
            ({"signatures": {"serving_default": metadata.signatures["serving_default"]}}, "the signatures pixels"),
        ):
            folder = registry.folder / f"copy-{len(str(changes))}"
            shutil.copytree(registry.photos / "one", folder)
            (folder / "fingerprint.pb").write_bytes(str(changes).encode())  # other content makes another version
            version = registry.publish("one", folder, **changes)
            registry.promote(version)
            refusal = until(lambda v=version: sync.refusal(v), "it is refused")
            assert reason in refusal["reason"]


def test_files_that_no_engine_needs_are_refused_before_the_download(registry):  # noqa: F811
    with registry.serve(), registry.sync() as sync:
        for path in ("custom_ops.so", "assets.extra/run.py", "keras_metadata.pb", "saved_model.pbtxt"):
            folder = registry.folder / path.replace("/", "-")
            shutil.copytree(registry.photos / "one", folder)
            (folder / path).write_bytes(b"x" * 100)
            version = registry.publish("one", folder)
            registry.promote(version)

            refusal = until(lambda v=version: sync.refusal(v), "it is refused")

            assert repr(path) in refusal["reason"]
        assert b"orchard_sync_downloaded_bytes_total{}" not in sync.get("/metrics").body


def test_a_version_that_does_not_fit_is_downloaded_when_there_is_space(registry):  # noqa: F811
    folder = registry.folder / "fat"
    shutil.copytree(registry.photos / "two", folder)
    (folder / "assets" / "ballast").write_bytes(b"\0" * (3 << 20))
    with registry.serve(), registry.sync("--max-version", "2") as sync:
        one = registry.release("one")
        until(lambda: sync.served() == one, "version 1 is live")
        fat = registry.publish("two", folder)
        registry.promote(fat)

        refusal = until(lambda: sync.refusal(fat), "it is refused")

        assert "the limit for one version is 2097152" in refusal["reason"]
        assert sync.served() == one
    with registry.serve(), registry.sync("--max-total", "2") as sync:
        registry.rollback(one)
        registry.promote(fat)
        until(lambda: "of the quota of 2097152 are used" in sync.status["problems"].get("sync", ""), "no space")
        assert sync.refusal(fat) is None
    with registry.serve(), registry.sync() as sync:
        until(lambda: sync.served() == fat, "with space it is served")


def test_files_that_were_changed_on_disk_are_not_served_after_a_restart(registry):  # noqa: F811
    with registry.serve():
        with registry.sync() as sync:
            one = registry.release("one")
            until(lambda: sync.served() == one, "version 1 is live")
        path = registry.serving / MODEL / str(one) / "saved_model.pb"
        path.write_bytes(flip(path.read_bytes()))

        with registry.sync() as sync:
            original = (registry.photos / "one" / "saved_model.pb").read_bytes()
            until(lambda: path.exists() and path.read_bytes() == original, "it was downloaded again")
            until(lambda: sync.served() == one, "and is served")
            assert "set aside version=1" in sync.text
