"""How often the loop ticks, by a clock that only the test moves."""

from __future__ import annotations

import pytest

from orchard.errors import ServerError
from orchard.signing import create_pair
from serving.sync.channel_watcher import ChannelWatcher, TrustedKeysFile
from serving.sync.engine import EngineUnavailable
from serving.sync.reconciler import Reconciler, SyncOptions
from serving.sync.sync_state import SyncState


class CountingEngine:
    """An engine that counts its queries and serves nothing, or does not answer."""

    def __init__(self, error: ServerError | None) -> None:
        self.error, self.queries = error, 0

    def versions(self):
        self.queries += 1
        if self.error:
            raise self.error
        return {}


@pytest.mark.parametrize("engine", [None, CountingEngine(None), CountingEngine(EngineUnavailable("down"))])
def test_while_nothing_is_pending_the_loop_ticks_once_a_second(tmp_path, memory, engine):
    watcher = ChannelWatcher(memory, "fruits", TrustedKeysFile(create_pair(tmp_path / "keys").public), {})
    now = 0.0
    sync = Reconciler(
        SyncOptions(tmp_path, "fruits", None),
        SyncState(1, "fruits"),
        watcher,
        engine,
        lambda event, **fields: None,
        clock=lambda: now,
    )
    ticks = 0
    while now < 60:
        now += sync.tick()
        ticks += 1

    assert 59 <= ticks <= 61
    assert engine is None or 59 <= engine.queries <= 61
    assert sync.status().silent_s == pytest.approx(1.0)
