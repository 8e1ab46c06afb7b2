"""docs/operating.md names every exported metric, every field of /status and every state, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchard.signing import create_pair
from orchard.store import failures
from serving.log import EventLog
from serving.server.server_metrics import _STATES
from serving.server.server_metrics import ServerMetrics as ServerInstruments
from serving.sync.channel_watcher import ChannelWatcher, TrustedKeysFile
from serving.sync.reconciler import Reconciler, SyncOptions
from serving.sync.status_server import describe
from serving.sync.sync_metrics import SyncMetrics as SyncInstruments
from serving.sync.sync_state import ChannelState, SyncState

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operating.md").read_text()
NAMED = set(re.findall(r"`((?::tensorflow:|orchard_)[a-z_:]+)`", PAGE))


def test_every_metric_is_on_the_operators_page_and_no_other():
    instruments = SyncInstruments(), ServerInstruments(EventLog(as_json=False))
    exported = {metric.name for found in instruments for metric in found.registry.metrics}

    assert exported == NAMED


@pytest.fixture
def status(tmp_path, memory):
    """A document of /status in which no field is empty."""
    trust = TrustedKeysFile(create_pair(tmp_path / "keys").public)
    state = SyncState(1, "fruits", channels={"stable": ChannelState(1, 2, "a" * 64, "it is better", "anna")})
    state = state.refuse("b" * 64, 3, "it is worse", final=True, at=1.0)
    follower = ChannelWatcher(memory, "fruits", trust, {})
    sync = Reconciler(
        SyncOptions(tmp_path, "fruits", "http://127.0.0.1:9"), state, follower, None, lambda event, **fields: None
    )
    sync.problems["fetch"] = "no room"
    follower.problems["store"] = "it does not answer"
    follower.advice["store"] = {"code": "ReadTimeout", "fix": "wait"}
    return describe(sync.status())


def test_every_field_of_the_status_page_is_on_the_operators_page(status):
    column = " ".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    names = {
        *status,
        *status["channels"]["stable"],
        *status["engine"],
        *status["store"],
        *status["problems"],
        *status["advice"]["store"],
        *status["refused"][0],
    }

    missing = {name for name in names if not re.search(rf"\b{name}\b", column)}
    assert not missing


def test_every_state_and_reason_is_on_the_operators_page():
    sources = "".join(path.read_text() for path in (ROOT / "serving/sync").glob("*.py"))
    reasons = set(re.findall(r'failures\.add\("(\w+)"\)', sources)) | {
        "store",
        "room",
        "rule",
        "integrity",
        "golden",
        "load",
    }

    for word in (*_STATES, *reasons):
        assert re.search(rf"`{word}`|\| {word} \|", PAGE), word


def test_every_code_of_a_store_that_does_not_answer_is_on_the_operators_page():
    for code in (*failures.CAUSES, "NotS3", "NoToken"):
        assert f"`{code}`" in PAGE, code
