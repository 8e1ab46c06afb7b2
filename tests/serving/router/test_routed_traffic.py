"""Traffic through the real Envoy: shares, sticky clients, changes of the weight under load."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable

import pytest

from serving.traffic_weights import write_weight
from tests.serving.programs import until
from tests.serving.router.routing import KeptConnection, Route

CLIENTS = [f"client-{number}" for number in range(300)]


def weigh(router: Route, percent: float) -> None:
    """Set the weight and wait until it acts: the canary has more or fewer of some clients than before."""
    with KeptConnection(router.port) as connection:
        before = canaries(connection, CLIENTS[:40])
        assert write_weight(router.weights, percent)
        until(lambda: canaries(connection, CLIENTS[:40]) != before, f"the weight {percent} acts")


def canaries(connection: KeptConnection, clients: Iterable[str] = CLIENTS) -> set[str]:
    return {client for client in clients if connection.is_canary(client)}


def test_clients_stay_and_a_greater_weight_only_adds_clients(router):
    with KeptConnection(router.port) as connection:
        found = [canaries(connection)]
        for percent in (10, 30, 60, 100):
            weigh(router, percent)
            found.append(canaries(connection))
            assert canaries(connection) == found[-1], "every client stays"

    assert all(fewer < more for fewer, more in itertools.pairwise(found))
    assert (found[0], found[-1]) == (set(), set(CLIENTS))


@pytest.mark.parametrize("percent", [12.5])
def test_the_share_is_the_weight(router, percent):
    weigh(router, percent)
    count = 4000

    with KeptConnection(router.port) as connection:
        found = sum(connection.is_canary(f"somebody-{number}") for number in range(count))

    assert abs(100 * found / count - percent) <= 1


def test_fifteen_changes_under_load_lose_no_request(router):
    stop, answers = threading.Event(), [0, 0]
    failed: list[str] = []

    def send(position: int) -> None:
        try:
            with KeptConnection(router.port) as connection:
                while not stop.is_set():
                    status, body = connection.post(f"x-client: {position}-{answers[position]}")
                    answers[position] += 1
                    if status != 200:
                        failed.append(f"{status} {body!r}")
        except OSError as error:
            failed.append(repr(error))

    threads = [threading.Thread(target=send, args=(position,)) for position in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(15):
            percent, channel = (100, "canary") if number % 2 == 0 else (0, "stable")
            write_weight(router.weights, percent)
            until(lambda channel=channel: router.channel("anna") == channel, f"the weight {percent} acts")
            goal = sum(answers) + 60
            until(lambda goal=goal: sum(answers) > goal or failed, "requests are answered")
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert failed == []
    assert sum(answers) > 15 * 60


def test_a_client_without_a_name_gets_a_cookie_and_stays_by_it(router):
    weigh(router, 50)
    found = router.predict({})
    cookie = found.headers["set-cookie"].split(";")[0]

    assert cookie.startswith("orchard-client=")
    assert {"httponly", "path=/", "samesite=lax"} <= set(
        found.headers["set-cookie"].lower().replace(" ", "").split(";")
    )
    channels = {router.predict({"cookie": cookie}).json["channel"] for _ in range(20)}
    assert channels == {found.json["channel"]}
    assert "set-cookie" not in router.predict({"cookie": cookie}).headers
    assert "set-cookie" not in router.predict({"x-client": "anna"}).headers


@pytest.mark.parametrize("channel", ["canary", "stable", "shadow", "no-such"])
def test_a_caller_may_choose_the_channel(router, channel):
    found = router.predict({"x-orchard-channel": channel, "x-client": "anna"})

    assert (found.json["channel"], found.headers["x-orchard-channel"]) == (channel, channel)


def test_the_answer_has_its_channel(router):
    assert router.predict({"x-client": "anna"}).headers["x-orchard-channel"] == "stable"
    weigh(router, 100)
    assert router.predict({"x-client": "anna"}).headers["x-orchard-channel"] == "canary"
