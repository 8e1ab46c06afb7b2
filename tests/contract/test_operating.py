"""docs/operating.md names what the programs export: every metric, every field of /status, every state, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchard.signing import create_pair
from serving.server.instruments import _STATES
from serving.server.instruments import Instruments as ServerInstruments
from serving.server.log import Log
from serving.sync.channels import Follower, TrustFile
from serving.sync.instruments import Instruments as SyncInstruments
from serving.sync.page import describe
from serving.sync.reconciler import Plan, Reconciler
from serving.sync.state import Seen

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operating.md").read_text()
NAMED = set(re.findall(r"`((?::tensorflow:|orchard_)[a-z_:]+)`", PAGE))


def test_every_metric_is_on_the_operators_page_and_no_other():
    instruments = SyncInstruments(), ServerInstruments(Log(as_json=False))
    exported = {metric.name for found in instruments for metric in found.registry.metrics}

    assert exported == NAMED


@pytest.fixture
def told(tmp_path, memory):
    """What /status says when there is something to say of everything."""
    trust = TrustFile(create_pair(tmp_path / "keys").public)
    sync = Reconciler(
        Plan(tmp_path, "fruits", "http://127.0.0.1:9"),
        lambda state: Follower(memory, "fruits", trust, {}, poll_s=1),
        trust,
        SyncInstruments(),
        lambda event, **fields: None,
    )
    sync.state.channels["stable"] = Seen(1, 2, "a" * 64, "it is better", "anna")
    sync.state.refuse("b" * 64, 3, "it is worse", final=True)
    sync.problems["fetch"] = "no room"
    sync.follower.problems["store"] = "it does not answer"
    return describe(sync)


def test_every_field_of_the_status_page_is_on_the_operators_page(told):
    column = " ".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    names = {
        *told,
        *told["channels"]["stable"],
        *told["engine"],
        *told["store"],
        *told["problems"],
        *told["refused"][0],
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
