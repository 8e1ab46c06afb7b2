"""A lying store, a full disk and wrong clocks: serving continues, and so does sync once the fault has ended."""

from __future__ import annotations

import resource
import shutil
from dataclasses import replace

import pytest

from orchard import layout
from orchard.documents import canonical_json, encode
from orchard.signing import sign
from tests.faults.proxy import Fault, proxy
from tests.serving.conftest import registry, zoo  # noqa: F401  fixtures
from tests.serving.model_registry import MODEL
from tests.serving.programs import until


@pytest.fixture
def behind(registry, embedded_store):  # noqa: F811
    """A server, a sync that reaches the store through a proxy, the proxy, and the beginning of request lines; version 1 is live."""
    with proxy(int(embedded_store.endpoint.rsplit(":", 1)[1])) as store, registry.serve() as server:
        direct = registry.environment["ORCHARD_STORE_ENDPOINT"]
        registry.environment["ORCHARD_STORE_ENDPOINT"] = f"http://127.0.0.1:{store.port}"
        bucket = registry.environment["ORCHARD_STORE_URL"].removeprefix("s3://")
        with registry.sync() as sync:
            registry.environment["ORCHARD_STORE_ENDPOINT"] = direct
            one = registry.release("one")
            until(lambda: sync.served() == one, "version 1 is live")
            yield registry, server, sync, store, f"GET /{bucket}/models/{MODEL}/".encode()


ERROR = (
    b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We encountered an internal error</Message></Error>'
)
LIES = {
    "200 with an error's body": (200, ERROR),
    "200 with a page of a proxy": (200, b"<html>502 Bad Gateway</html>"),
    "200 and nothing": (200, b""),
    "an endless error": (500, ERROR),
    "a clock that is wrong": (403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>"),
}


@pytest.mark.parametrize("folder", ["channels/", "versions/", "blobs/"])
def test_false_replies_of_the_store_are_not_trusted(behind, folder):
    registry, server, sync, store, path = behind  # noqa: F811
    begin = path + folder.encode()
    for number, (lie, (status, body)) in enumerate(LIES.items()):
        served = sync.served()
        store.requests.clear()
        store.faults.append(Fault("lie", begin, times=None, status=status, body=body))
        version = release_new(registry, number)

        until(lambda: sum(line.startswith(begin) for line in store.requests) > 2, f"it got the false reply: {lie}")
        until(lambda: sync.status["problems"] or sync.status["refused"], f"sync reports it: {lie}")
        assert sync.served() == served, lie
        answered = server.get(f"/v1/models/{MODEL}/labels/stable/metadata").json["model_spec"]["version"]
        assert answered == str(served), lie

        store.faults.clear()
        registry.promote(1, why=f"back to the first {number}")
        registry.promote(version, why=f"the store answers correctly again {number}")
        until(lambda v=version: sync.served() == v, f"version {version} is live after {lie}")


def test_a_version_whose_bytes_were_wrong_for_a_while_is_served_without_another_promotion(behind):
    registry, _, sync, store, path = behind  # noqa: F811
    store.faults.append(Fault("lie", path + b"blobs/", times=None, status=200, body=ERROR))
    version = release_new(registry, 7)
    refusal = until(lambda: sync.refusal(version), "it is refused for now")
    assert refusal["kind"] == "integrity"

    store.faults.clear()

    until(lambda: sync.served() == version, "it is judged again")
    assert sync.status["refused"] == []


def release_new(registry, number: int) -> int:  # noqa: F811
    """Publish and promote a new version."""
    folder = registry.folder / f"version-{number}"
    shutil.copytree(registry.photos / "two", folder)
    (folder / "fingerprint.pb").write_bytes(b"%d" % number)
    version = registry.publish("two", folder)
    registry.promote(version)
    return version


def test_a_full_disk_keeps_the_served_version_and_takes_the_next_when_there_is_space(registry):  # noqa: F811
    with registry.serve() as server, registry.sync() as sync:
        one = registry.release("one")
        until(lambda: sync.served() == one, "version 1 is live")
        limits = resource.prlimit(sync.child.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(sync.child.pid, resource.RLIMIT_FSIZE, (2000, limits[1]))  # files end after 2,000 bytes

        two = registry.release("two")

        until(lambda: "largest size" in sync.status["problems"].get("sync", ""), "sync reports that it cannot write")
        assert sync.served() == one
        assert sync.get("/healthz").status == sync.get("/readyz").status == 200
        assert server.get(f"/v1/models/{MODEL}/labels/stable/metadata").json["model_spec"]["version"] == str(one)
        assert sync.refusal(two) is None, "the version is not at fault"

        resource.prlimit(sync.child.pid, resource.RLIMIT_FSIZE, limits)
        until(lambda: sync.served() == two, "with space it is served")


def test_times_in_documents_have_no_effect(registry):  # noqa: F811
    """Publishers whose clocks are wrong by years, in both directions."""
    key = layout.channel(MODEL, "stable")
    with registry.serve(), registry.sync() as sync:
        one, two = registry.release("one"), registry.publish("two")
        until(lambda: sync.served() == one, "version 1 is live")
        for generation, (version, year) in enumerate([(two, 9999), (one, 1970), (two, 1999)], start=2):
            pointer = registry.registry.channel("stable").read()
            moved = replace(
                pointer,
                version=version,
                generation=generation,
                manifest_sha256=manifest_sha256(registry, version),
                previous=pointer.version,
                created=f"{year}-01-01T00:00:00.000000+00:00",
            )
            registry.store.put(key, canonical_json(sign(encode(moved), registry.key)))

            until(lambda v=version: sync.served() == v, f"version {version} of the year {year} is live")


def manifest_sha256(registry, version: int) -> str:  # noqa: F811
    return registry.registry.manifest(version).document_sha256
