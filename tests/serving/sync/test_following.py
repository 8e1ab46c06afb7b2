"""A version's way from a channel to a prediction, with real programs and a real store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from orchard.store.ports import is_free
from serving.models_config import parse
from tests.free_ports import free_ports
from tests.serving.model_registry import MODEL
from tests.serving.programs import send_request, until


def once(registry, *options: str) -> tuple[int, dict]:
    """Run `orchard sync --once --json`; returns its exit code and its document."""
    command = [sys.executable, "-m", "orchard", "sync", "--once", "--json", *options]
    process = subprocess.run(command, env=registry.environment, capture_output=True, text=True, check=False)
    return process.returncode, json.loads(process.stdout.splitlines()[-1])


def label(server, channel: str = "stable") -> int | None:
    answer = server.get(f"/v1/models/{MODEL}/labels/{channel}/metadata")
    return int(answer.json["model_spec"]["version"]) if answer.status == 200 else None


def predict(server, registry, where: str = "/labels/stable"):
    import base64

    body = {"instances": [{"b64": base64.b64encode(registry.test_photo()).decode()}]}
    return server.predict(f"{MODEL}{where}", body)


def test_once_returns_when_the_channels_version_is_live(registry):
    with registry.serve() as server:
        version = registry.release("one")

        code, document = once(registry)

        assert (code, document["state"], document["version"]) == (0, "live", version)
        assert label(server) == version
        assert predict(server, registry).json["predictions"][0]["label"] == "Blue"
        begin = server.text
        assert once(registry)[0] == 0  # again: nothing to do
        assert "loaded" not in server.text.removeprefix(begin)


def test_once_without_an_engine_only_downloads(registry):
    version = registry.release("one")

    code, document = once(registry, "--no-engine")

    assert (code, document["state"]) == (0, "downloaded")
    assert sorted(child.name for child in (registry.serving / MODEL).iterdir()) == [".manifests", str(version)]
    (model,) = parse((registry.serving / "models.config").read_text())
    assert (model.policy.versions, dict(model.labels)) == ((version,), {})


def test_once_reports_why_nothing_is_served(registry):
    code, document = once(registry)
    assert (code, document["error"]["kind"]) == (4, "DataError")

    version = registry.release("one")
    registry.environment["ORCHARD_SERVER_URL"] = "http://127.0.0.1:9"
    code, document = once(registry, "--timeout", "1")
    assert (code, document["error"]["kind"]) == (9, "ServerError")
    assert f"version {version} is not live" in document["error"]["message"]

    registry.environment["ORCHARD_STORE_ENDPOINT"] = "http://127.0.0.1:9"
    code, document = once(registry)
    assert (code, document["error"]["kind"]) == (6, "StoreUnavailable")


def test_each_channel_has_its_own_label_and_a_rollback_downloads_nothing(registry):
    with registry.serve() as server, registry.sync() as sync:
        one = registry.release("one")
        until(lambda: label(server) == one, "stable is version 1")
        two = registry.release("two", "canary")
        until(lambda: label(server, "canary") == two, "canary is version 2")
        assert label(server) == one
        registry.promote(two)
        until(lambda: label(server) == two, "stable is version 2")
        until(lambda: sync.served() == two, "sync knows")
        text = sync.get("/metrics").body.decode()
        moved = next(line for line in text.splitlines() if line.startswith("orchard_sync_downloaded_bytes_total{}"))

        registry.rollback(one)

        until(lambda: label(server) == one, "stable is version 1 again")
        assert moved in sync.get("/metrics").body.decode()
        assert label(server, "canary") == two
        until(lambda: sync.served() == one, "sync knows")
        channel = sync.status["channels"]["stable"]
        assert (channel["why"], channel["who"], channel["live"]) == (f"back to {one}", "ben@bench", True)
        assert sync.get("/readyz").status == sync.get("/healthz").status == 200
        assert sync.get("/nothing").status == 404


def test_old_versions_are_removed_except_those_for_a_rollback(registry):
    with registry.serve() as server, registry.sync("--keep", "1") as sync:
        for name in ("one", "two", "three"):
            version = registry.release(name)
            until(lambda v=version: label(server) == v, f"version {version} is live")

        until(lambda: sync.status["on_disk"] == [2, 3], "version 1 is removed")
        assert sorted(child.name for child in (registry.serving / MODEL).iterdir()) == [".manifests", "2", "3"]


def test_a_restart_continues_without_the_store(registry):
    with registry.serve() as server:
        version = registry.release("one")
        with registry.sync() as sync:
            until(lambda: label(server) == version, "it is live")
            until(lambda: sync.get("/readyz").status == 200, "it is ready")
        registry.environment["ORCHARD_STORE_ENDPOINT"] = "http://127.0.0.1:9"
        server.kill()

        with registry.serve() as again, registry.sync() as sync:
            until(lambda: sync.get("/readyz").status == 200, "it is ready without a store")

            assert label(again) == version
            assert predict(again, registry).status == 200
            until(lambda: "store" in sync.status["problems"], "it reports the store")
            assert sync.status["store"]["last_success"] is None


def test_while_the_store_does_not_answer_the_same_version_is_served(registry, embedded_store):
    from tests.faults.proxy import Fault, proxy

    port = int(embedded_store.endpoint.rsplit(":", 1)[1])
    with proxy(port) as store, registry.serve() as server:
        registry.environment["ORCHARD_STORE_ENDPOINT"] = f"http://127.0.0.1:{store.port}"
        one = registry.release("one")
        with registry.sync() as sync:
            until(lambda: label(server) == one, "version 1 is live")
            store.faults.append(Fault("refuse", times=None))
            two = registry.release("two")
            until(lambda: "store" in sync.status["problems"], "sync reports the store")
            assert predict(server, registry).status == 200
            assert sync.get("/readyz").status == 200
            assert float(sync.get("/metrics").body.split(b"orchard_sync_store_age_seconds{} ")[1].split()[0]) > 0

            store.faults.clear()

            until(lambda: label(server) == two, "version 2 is live")


def test_a_connection_that_breaks_in_the_middle_is_tried_again(registry, embedded_store):
    from tests.faults.proxy import Fault, proxy

    port = int(embedded_store.endpoint.rsplit(":", 1)[1])
    with proxy(port) as store, registry.serve() as server:
        version = registry.release("one")
        registry.environment["ORCHARD_STORE_ENDPOINT"] = f"http://127.0.0.1:{store.port}"
        bucket = registry.environment["ORCHARD_STORE_URL"].removeprefix("s3://")
        blob = f"GET /{bucket}/models/{MODEL}/blobs/".encode()
        manifest = f"GET /{bucket}/models/{MODEL}/versions/".encode()
        store.faults += [Fault("cut", blob, 2, 900), Fault("drop", manifest, 1), Fault("cut", manifest, 1, 400)]

        assert once(registry)[0] == 0

        assert label(server) == version
        assert not any(fault.times for fault in store.faults), "not every fault happened"


def test_sigterm_ends_it_at_once(registry):
    registry.release("one")
    registry.environment["ORCHARD_STORE_ENDPOINT"] = "http://127.0.0.1:9"
    with registry.sync() as sync:
        assert sync.port
        os.kill(sync.child.pid, signal.SIGTERM)

        assert sync.child.wait() == 0


def test_sync_and_server_live_and_end_together(registry):
    port = free_ports()
    registry.environment["ORCHARD_SERVER_URL"] = f"http://127.0.0.1:{port}"
    version = registry.release("one")
    with registry.sync("--serve") as sync:
        until(lambda: sync.served() == version, "the version is live")

        os.kill(sync.child.pid, signal.SIGTERM)

        assert sync.child.wait() == 0
        assert "draining signal=SIGTERM" in sync.text
        assert is_free(port)


def write_tokens(registry, token: str):
    """Write a token file for server and sync."""
    path = registry.folder / "tokens"
    path.with_name("tokens.new").write_text(f"# clients\n{token}\n")
    return path.with_name("tokens.new").replace(path)


def live(server, token: str, version: int) -> bool:
    path = f"/v1/models/{MODEL}/labels/stable/metadata"
    answer = server.send_request("GET", path, headers={"Authorization": f"Bearer {token}"})
    return answer.status == 200 and answer.json["model_spec"]["version"] == str(version)


def test_sync_sends_the_token_that_a_server_requires(registry):
    first, second = "first-token-0123456789", "second-token-0123456789"
    tokens = write_tokens(registry, first)
    with registry.serve("--token-file", str(tokens)) as server:
        one = registry.release("one")
        code, document = once(registry, "--timeout", "1")
        assert (code, document["error"]["kind"]) == (9, "ServerError")
        assert "401" in document["error"]["message"]
        assert "--engine-token-file" in document["error"]["hint"]

        with registry.sync("--engine-token-file", str(tokens)) as sync:
            until(lambda: live(server, first, one), "version 1 is live")
            write_tokens(registry, second)
            until(lambda: live(server, second, one), "the server takes the second token")
            two = registry.release("two")
            until(lambda: live(server, second, two), "version 2 is live")
            until(lambda: sync.served() == two, "sync knows")
            assert sync.get("/readyz").status == 200
            assert "golden" not in sync.text
            printed = sync.text + server.text + json.dumps(sync.status)

    assert first not in printed
    assert second not in printed


def test_once_sends_a_token_too(registry):
    tokens = write_tokens(registry, "first-token-0123456789")
    with registry.serve("--token-file", str(tokens)) as server:
        version = registry.release("one")

        assert once(registry, "--engine-token-file", str(tokens))[0] == 0

        assert live(server, "first-token-0123456789", version)


def test_sync_and_its_server_share_the_tokens(registry):
    token, port = "first-token-0123456789", free_ports()
    registry.environment["ORCHARD_SERVER_URL"] = f"http://127.0.0.1:{port}"
    version = registry.release("one")
    with registry.sync("--serve", "--engine-token-file", str(write_tokens(registry, token))) as sync:
        until(lambda: sync.served() == version, "the version is live")

        assert send_request(port, "GET", f"/v1/models/{MODEL}").status == 401
        assert (
            send_request(port, "GET", f"/v1/models/{MODEL}", headers={"Authorization": f"Bearer {token}"}).status == 200
        )


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "not-a-tökén-0123456789"])
def test_a_token_file_without_a_token_is_named(registry, text):
    path = registry.folder / "tokens"
    if text is not None:
        path.write_text(text)

    code, document = once(registry, "--engine-token-file", str(path))

    assert code == 3
    assert str(path) in document["error"]["message"]
    assert "tökén" not in json.dumps(document, ensure_ascii=False)


def test_one_sync_for_a_folder(registry):
    with registry.serve() as server, registry.sync() as sync:
        assert sync.port
        command = [sys.executable, "-m", "orchard", "sync", "--port", "0"]
        process = subprocess.run(command, env=registry.environment, capture_output=True, text=True, check=False)
        assert process.returncode == 7
        assert "another `orchard sync` works on" in process.stderr

        version = registry.release("one")

        assert once(registry) == (
            0,
            {"model": MODEL, "channel": "stable", "version": version, "generation": 1, "state": "live"},
        )
        assert label(server) == version


def test_the_status_pages_port_is_named_when_it_is_taken(registry, server):
    command = [sys.executable, "-m", "orchard", "sync", "--port", str(server.port)]
    process = subprocess.run(command, env=registry.environment, capture_output=True, text=True, check=False)

    assert process.returncode == 9
    assert f"port {server.port} on 127.0.0.1 is taken" in process.stderr


@pytest.mark.parametrize("name", ["ORCHARD_TRUSTED_KEYS_FILE", "ORCHARD_STORE_URL"])
def test_a_missing_setting_is_named(registry, name):
    del registry.environment[name]

    code, document = once(registry)

    assert code == 3
    assert name in document["error"]["message"]


def test_a_problem_is_reported_until_it_is_over(registry):
    version = registry.release("one")
    (port,) = {free_ports()}
    registry.environment["ORCHARD_SERVER_URL"] = f"http://127.0.0.1:{port}"
    with registry.sync() as sync:
        until(lambda: sync.status["on_disk"] == [version], "the version is downloaded")
        until(lambda: "no model server answers" in sync.status["problems"].get("sync", ""), "it reports the server")
        with registry.serve(port=port):
            until(lambda: sync.served() == version, "the version is live")
            until(lambda: sync.status["problems"] == {}, "there are no problems")


def test_before_the_first_promotion_sync_reports_what_it_waits_for(registry):
    with registry.sync() as sync:
        until(lambda: "orchard promote" in sync.status["problems"].get("channels", ""), "its status page says so")

        version = registry.release("one")
        until(lambda: sync.status["on_disk"] == [version], "the version is downloaded")
        assert "channels" not in sync.status["problems"]
        assert sync.text.count(" waiting ") == 1
