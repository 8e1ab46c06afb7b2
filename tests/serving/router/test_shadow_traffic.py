"""Traffic that the real Envoy mirrors to the shadow: its share, whole bodies, and that no caller ever waits for it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from serving.router.envoy_admin import EnvoyAdmin
from serving.traffic_weights import write_weight
from tests.serving.programs import HttpAnswer, send_request, until
from tests.serving.router.routing import PATH, GrpcUpstream, KeptConnection, Route, Upstream

PREDICT = "/tensorflow.serving.PredictionService/Predict"
NUMBERS = itertools.count()
LARGE = 3 << 20


@pytest.fixture(scope="module")
def shadow() -> Upstream:
    return Upstream()


@pytest.fixture(scope="module")
def silent() -> Iterator[Upstream]:
    """A model server that never answers."""
    server = Upstream()
    server.holding = True
    yield server
    server.release()


@pytest.fixture(scope="module")
def mirrored(upstream: Upstream, shadow: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    """A router whose shadow is a server of its own, and fast enough for every copy."""
    options = ("--shadow-server", f"http://127.0.0.1:{shadow.port}", "--max-shadow-requests", "512")
    with Route(upstream.port, tmp_path_factory.mktemp("mirrored"), *options, "--no-access-log") as running:
        assert running.port
        yield running


def admin(router: Route) -> EnvoyAdmin:
    (folder,) = (router.weights.parent / "tmp").iterdir()
    return EnvoyAdmin(folder / "admin")


def count(router: Route, name: str, cluster: str = "mirror_rest") -> int:
    """A counter of a cluster of Envoy."""
    return int(admin(router).request("GET", f"/stats?filter=^cluster.{cluster}.{name}$").split(": ")[1])


def mirror(router: Route, percent: float) -> None:
    """Mirror a share, and wait until it acts."""
    write_weight(router.weights, percent, "shadow")
    wanted = f"numerator: {round(percent * 100)}\n"

    def acts() -> bool:
        entries = json.loads(admin(router).request("GET", "/runtime"))["entries"]
        return entries.get("mirror.shadow", {}).get("final_value", "").startswith(wanted)

    until(acts, f"the share {percent} acts")


def new_id() -> str:
    return f"request-{next(NUMBERS)}"


def copy_of(shadow: Upstream, request_id: str) -> dict[str, str] | None:
    return next((request for request in shadow.seen if request["x-request-id"] == request_id), None)


def test_the_share_that_is_mirrored_is_the_weight(mirrored):
    mirror(mirrored, 10)
    before, number = count(mirrored, "upstream_rq_total"), 12_000

    with KeptConnection(mirrored.port) as connection:
        statuses = {status for _ in range(number // 50) for status in connection.post_many(50)}

    assert statuses == {200}
    assert abs(100 * (count(mirrored, "upstream_rq_total") - before) / number - 10) <= 1
    assert count(mirrored, "upstream_rq_pending_overflow") == 0


@pytest.mark.parametrize(("size", "canary"), [(2, 0), (LARGE, 0), (LARGE, 100)])
def test_a_copy_is_whole_and_goes_to_the_channel_shadow(mirrored, upstream, shadow, size, canary):
    mirror(mirrored, 100)
    write_weight(mirrored.weights, canary)
    channel = "canary" if canary else "stable"
    until(lambda: mirrored.channel("anna") == channel, "the weight of the canary acts")
    body, name = os.urandom(size), new_id()

    found = mirrored.predict({"x-client": "anna", "x-request-id": name, "content-type": "image/jpeg"}, body)
    copy = until(lambda: copy_of(shadow, name), "the copy has arrived")

    assert (found.status, found.json) == (200, {"channel": channel, "bytes": size})
    assert found.headers["x-orchard-channel"] == channel
    assert (copy["x-orchard-channel"], copy["sha256"]) == ("shadow", hashlib.sha256(body).hexdigest())
    original = copy_of(upstream, name)
    different = {key for key in copy.keys() | original.keys() if copy.get(key) != original.get(key)}
    assert different <= {"x-orchard-channel", "x-envoy-internal", "x-forwarded-for"}


def test_only_predictions_whose_version_is_open_are_mirrored(mirrored, shadow):
    mirror(mirrored, 100)
    until(lambda: mirrored.channel("anna"), "it answers")
    before = count(mirrored, "upstream_rq_total")

    for path in (
        "/v1/models/m/versions/7:predict",
        "/v1/models/m/labels/canary:predict",
        "/v1/models/m:explain",
        "/v2/models/m/versions/7/infer",
        "/healthz",
    ):
        assert send_request(mirrored.port, "POST", path, "{}").status == 200
    for path in ("/v1/models/m", "/v1/models/m/metadata"):
        assert send_request(mirrored.port, "GET", path).status == 200
    assert mirrored.predict({"x-orchard-channel": "canary"}).status == 200
    assert count(mirrored, "upstream_rq_total") == before

    for path in (PATH, PATH + "?top=5", "/v1/models/m:classify", "/v2/models/m/infer"):
        assert send_request(mirrored.port, "POST", path, "{}", {"x-request-id": new_id()}).status == 200
    assert count(mirrored, "upstream_rq_total") == before + 4


def test_without_a_weight_nothing_is_mirrored(mirrored):
    mirror(mirrored, 0)
    before = count(mirrored, "upstream_rq_total")

    assert {mirrored.predict({"x-client": f"client-{number}"}).status for number in range(20)} == {200}

    assert count(mirrored, "upstream_rq_total") == before


@pytest.mark.parametrize("kind", ["dead", "never answers", "never reads"])
def test_a_shadow_that_fails_is_not_felt(kind, upstream, silent, tmp_path):
    """No answer waits for the shadow, because that shadow never answers at all."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as stuck:
        port = {"dead": 9, "never answers": silent.port, "never reads": stuck.getsockname()[1]}[kind]
        with Route(upstream.port, tmp_path, "--shadow-server", f"http://127.0.0.1:{port}", "--no-access-log") as router:
            assert router.port
            mirror(router, 100)

            def send(number: int) -> HttpAnswer:
                return router.predict({"x-client": f"client-{number}"}, b"x" * (LARGE if number % 5 == 0 else 100))

            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(send, range(100)))

            assert {answer.status for answer in answers} == {200}
            assert [answer.json["bytes"] for answer in answers[:6]] == [LARGE, 100, 100, 100, 100, LARGE]
            dropped = count(router, "upstream_rq_pending_overflow") + count(router, "upstream_cx_connect_fail")
            assert dropped > 0, "more copies than --max-shadow-requests are dropped"
            router.child.stop(grace=20)
            assert router.child.wait() == 0, "its end does not wait for the shadow either"


def test_grpc_is_mirrored_too(upstream, tmp_path):
    server, shadow = GrpcUpstream(), GrpcUpstream()
    options = ("--grpc-server", f"127.0.0.1:{server.port}", "--shadow-grpc-server", f"127.0.0.1:{shadow.port}")
    with Route(upstream.port, tmp_path, *options) as router, grpc.insecure_channel(f"127.0.0.1:{router.port}") as there:
        mirror(router, 100)
        predict, metadata = (
            there.unary_unary(PREDICT),
            there.unary_unary(PREDICT.replace("Predict", "GetModelMetadata")),
        )

        assert metadata(b"about", timeout=20) == b"about"
        assert predict(b"x" * LARGE, timeout=20) == b"x" * LARGE
        until(lambda: shadow.channels() == [("shadow", LARGE)], "the copy has arrived")
        shadow.stop()
        assert {predict(b"small", timeout=20) for _ in range(20)} == {b"small"}

    assert server.channels() == [("stable", 5), ("stable", LARGE), *[("stable", 5)] * 20]
    server.stop()
