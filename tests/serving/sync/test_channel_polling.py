"""How often sync polls the store: counted at the store, over a clock that only the test moves."""

from __future__ import annotations

import pytest

from orchard import layout, settings
from orchard.documents import canonical_json, encode
from orchard.registry.pointers import ChannelPointer
from orchard.signing import create_pair, load_key, sign
from orchard.store import open_store
from serving.sync.channel_watcher import FAR_POLL_S, NEAR_POLL_S, ChannelWatcher, TrustedKeysFile, default_poll_s
from tests.faults.proxy import Fault, proxy


@pytest.fixture
def counted(seaweed, embedded_store, tmp_path):
    """A function that promotes a version, the proxy that counts requests, and a function that makes a watcher."""
    pair = create_pair(tmp_path / "keys")
    key, trust = load_key(pair.private), TrustedKeysFile(pair.public)

    def promote(version: int) -> None:
        pointer = ChannelPointer(
            1, "fruits", "stable", version, version, "a" * 64, "promote", None, "anna", "", "accepted", None, None, ""
        )
        seaweed.put(layout.channel("fruits", "stable"), canonical_json(sign(encode(pointer), key)))

    with proxy(int(embedded_store.endpoint.rsplit(":", 1)[1])) as store:
        direct = settings.load()
        proxied = open_store(direct.model_copy(update={"store_endpoint": f"http://127.0.0.1:{store.port}"}))
        yield promote, store, lambda poll_s: ChannelWatcher(proxied, "fruits", trust, {}, poll_s=poll_s)


def run(watcher: ChannelWatcher, seconds: float) -> list[float]:
    """Poll for so many seconds of the test's clock; returns the waits."""
    waits: list[float] = []
    while sum(waits) < seconds:
        waits.append(watcher.poll())
    return waits


@pytest.mark.parametrize(("poll_s", "seconds", "most"), [(60, 3600, 100), (5, 600, 180)])
def test_polls_are_rare_while_nothing_changes_and_frequent_after_a_change(counted, poll_s, seconds, most):
    promote, store, make = counted
    watcher = make(poll_s)
    promote(1)

    waits = run(watcher, seconds)

    assert len(store.requests) == watcher.requests == 3 * len(waits)
    assert seconds / poll_s * 0.8 < len(waits) < most
    assert watcher.pointers["stable"].version == 1
    assert waits[0] <= NEAR_POLL_S * 1.25
    assert max(waits) <= poll_s * 1.25

    promote(2)
    waits = [watcher.poll() for _ in range(4)]

    assert watcher.pointers["stable"].version == 2
    assert max(waits) < 1, "polls are not frequent after a change"
    store.faults.append(Fault("lie", times=None, status=403))
    assert max(run(watcher, seconds)[5:]) <= max(poll_s, 10) * 1.25
    assert "store" in watcher.problems


def test_on_a_near_store_every_wait_is_the_shortest(counted):
    promote, _, make = counted
    promote(1)

    waits = run(make(NEAR_POLL_S), 20)

    assert max(waits) <= NEAR_POLL_S * 1.25


@pytest.mark.parametrize(
    ("endpoint", "poll_s"),
    [
        ("http://127.0.0.1:8333", NEAR_POLL_S),
        ("http://localhost:8333", NEAR_POLL_S),
        ("http://[::1]:8333", NEAR_POLL_S),
        ("http://orchard-store:8333", NEAR_POLL_S),
        ("http://orchard-store.orchard.svc:8333", NEAR_POLL_S),
        ("http://orchard-store.orchard.svc.cluster.local:8333", NEAR_POLL_S),
        ("http://10.96.3.4:8333", NEAR_POLL_S),
        ("http://192.168.1.5", NEAR_POLL_S),
        (None, FAR_POLL_S),
        ("https://s3.eu-central-1.amazonaws.com", FAR_POLL_S),
        ("https://storage.example.org", FAR_POLL_S),
        ("https://svc.example.org", FAR_POLL_S),
        ("https://8.8.8.8", FAR_POLL_S),
    ],
)
def test_the_default_is_short_where_requests_cost_nothing(endpoint, poll_s):
    assert default_poll_s(endpoint) == poll_s
    assert NEAR_POLL_S <= 0.5


def test_the_longest_poll_is_a_minute():
    from click.testing import CliRunner

    from serving.cli.sync import sync

    result = CliRunner().invoke(sync, ["--poll", "61"])

    assert result.exit_code == 2
    assert "0.02<=x<=60" in result.output
    assert CliRunner().invoke(sync, ["--poll", "60", "--serve", "--once"]).output.count("--poll") == 0
