"""The weight of the channel canary: given to a version, changed, ended; and the documents of before there were weights."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import count

import pytest

from orchard import layout
from orchard.cli import main
from orchard.cli.canary import canary
from orchard.cli.registry import history, promote
from orchard.cli.shadow import shadow
from orchard.documents import encode
from orchard.errors import DataError, IntegrityError
from orchard.registry.channel_weights import end_weights, set_weight
from orchard.registry.channels import ChangeIntent
from orchard.registry.manifest import GateRecord
from orchard.registry.pointers import encode_pointer, is_weight
from orchard.signing import create_pair, load_key
from tests.faults.crashing_store import CrashingStore, Killed
from tests.orchard.version_fixtures import BECAUSE, MODEL, facts, registry_of, resigned, saved_model


@pytest.fixture
def store(memory, tmp_path):
    """Versions 1 to 3; stable is 1."""
    for number in (1, 2, 3):
        registry_of(memory).publish(saved_model(tmp_path / str(number), number), facts())
    registry_of(memory).channel("stable").promote(1, BECAUSE)
    return memory


def weigh(store, percent, version=None, intent=BECAUSE, **options):
    return set_weight(registry_of(store), "canary", percent, intent, version=version, **options)


def changes(store, channel="canary"):
    return [(entry.version, entry.weight) for entry in registry_of(store).channel(channel).history()]


def test_a_weight_is_given_to_a_version_and_changed_without_naming_it_again(store):
    assert weigh(store, 10, 2).changed
    assert weigh(store, 12.5).changed
    assert weigh(store, 0).changed

    assert changes(store) == [(2, 10.0), (2, 12.5), (2, 0.0)]
    assert changes(store, "stable") == [(1, None)]


def test_the_same_again_changes_nothing(store):
    first = weigh(store, 10, 2)

    again = weigh(store, 10, 2, ChangeIntent("bert", "again"))

    assert (again.changed, again.pointer) == (False, first.pointer)
    assert weigh(store, 10).changed is False


def test_a_step_of_a_run_changes_the_weight_once_however_often_it_is_retried(store):
    step = ChangeIntent("airflow", "ramp", "run-7")
    weigh(store, 10, 2, step)
    weigh(store, 50, intent=BECAUSE)

    assert weigh(store, 10, 2, step).changed is False
    assert changes(store) == [(2, 10.0), (2, 50.0)]


def test_a_change_that_was_killed_anywhere_is_completed_by_the_same_command(store):
    for at in count():
        crashing = CrashingStore(store, at, "killed after")
        try:
            weigh(crashing, at, 2)
        except Killed:
            weigh(store, at, 2)
        else:
            break

    assert at > 5
    assert changes(store) == [(2, float(weight)) for weight in range(at + 1)]


def test_another_version_begins_without_a_weight(store):
    canary_channel = registry_of(store).channel("canary")
    weigh(store, 10, 2)

    canary_channel.promote(2, BECAUSE, again=True)
    canary_channel.promote(3, BECAUSE)

    assert changes(store) == [(2, 10.0), (2, 10.0), (3, None)]


def test_a_rollback_takes_the_weight_away(store):
    weigh(store, 5, 2)
    weigh(store, 20, 3)
    canary_channel = registry_of(store).channel("canary")

    assert canary_channel.rollback(ChangeIntent("bert", "bad")).changed
    assert canary_channel.rollback(ChangeIntent("bert", "bad")).changed is False

    assert changes(store)[-1] == (2, None)


def test_the_first_canary_cannot_be_rolled_back_but_its_traffic_taken(store):
    weigh(store, 5, 2)

    with pytest.raises(DataError) as caught:
        registry_of(store).channel("canary").rollback(BECAUSE)

    assert "orchard canary 0" in caught.value.hint


def test_a_promotion_of_its_version_ends_the_canary(store):
    weigh(store, 50, 2)

    assert end_weights(registry_of(store), 3, BECAUSE) == []
    assert [change.changed for change in end_weights(registry_of(store), 2, BECAUSE)] == [True]
    assert end_weights(registry_of(store), 2, BECAUSE) == []

    assert changes(store) == [(2, 50.0), (2, None)]


def test_a_canary_needs_a_version_and_a_verdict(store, tmp_path):
    with pytest.raises(DataError, match="points to no version yet"):
        weigh(store, 10)
    with pytest.raises(DataError, match="version 9"):
        weigh(store, 10, 9)
    gate = GateRecord("overridden", "we know", "a" * 64)
    registry_of(store).publish(saved_model(tmp_path / "4", 4), facts(gate=gate))
    assert weigh(store, 10, 4).pointer.verdict == "overridden"


@pytest.mark.parametrize("percent", [-0.01, 100.01, 0.001, 33.333, float("nan"), float("inf")])
def test_what_is_no_weight_is_refused(store, percent):
    assert not is_weight(percent)
    with pytest.raises(DataError, match="is not a weight"):
        weigh(store, percent, 2)
    assert changes(store) == []


def test_every_hundredth_of_a_percent_is_a_weight():
    assert all(is_weight(step / 100) for step in range(10_001))


def test_without_a_weight_the_document_is_the_one_of_before(store):
    """A reader that knows no weight reads every pointer that has none; one with a weight it refuses, as any new field."""
    before = registry_of(store).channel("stable").read()
    payload = json.loads(store.get(layout.channel(MODEL, "stable")).body)["payload"]
    assert "weight" not in payload
    assert payload == {name: value for name, value in encode(before).items() if name != "weight"}

    weigh(store, 10, 2)
    payload = json.loads(store.get(layout.channel(MODEL, "canary")).body)["payload"]
    assert payload["weight"] == 10.0


@pytest.mark.parametrize("forged", [101, -1, 0.001, "10", True])
def test_a_signed_pointer_with_another_weight_is_not_trusted(store, forged):
    weigh(store, 10, 2)
    pointer = registry_of(store).channel("canary").read()
    key = layout.channel(MODEL, "canary")
    document = {**encode_pointer(replace(pointer, generation=2)), "weight": forged}
    store.put(key, resigned(document))

    with pytest.raises(IntegrityError):
        registry_of(store).channel("canary").read()


@pytest.fixture
def typed(seaweed, workspace, monkeypatch, capsys):
    """The verbs as somebody types them, with versions 1 and 2 published."""
    pair = create_pair(workspace / "keys")
    monkeypatch.setenv("ORCHARD_SIGNING_KEY_FILE", str(pair.private))
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))
    monkeypatch.setenv("ORCHARD_ACTOR", "anna@bench")
    for number in (1, 2):
        registry_of(seaweed, load_key(pair.private)).publish(saved_model(workspace / str(number), number), facts())

    def run(*words):
        verbs = {"canary": canary, "promote": promote, "history": history, "shadow": shadow}
        code = main(list(words[1:]), verbs[words[0]])  # they work before `make setup` has registered the new one, too
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_the_verbs_canary_promote_and_history(typed):
    assert typed("promote", "1", "--why", "first")[0] == 0
    assert typed("canary", "10", "--why", "try")[:1] == (4,), "no version was named"
    code, out, _ = typed("canary", "2.5%", "latest", "--why", "try it")
    assert code == 0
    assert out == (
        "canary of fruits: 2.5 % of the traffic to version 2 (generation 1)\n"
        "next: orchard promote 2, or orchard rollback --channel canary\n"
    )
    code, out, _ = typed("canary", "2.5", "--why", "try it")
    assert out == "canary of fruits: already 2.5 % of the traffic to version 2 (generation 1)\n"
    code, out, _ = typed("canary", "50", "--why", "fine", "--json")
    assert (json.loads(out)["weight"], json.loads(out)["changed"]) == (50.0, True)

    code, _, err = typed("promote", "2", "--why", "no complaints")
    assert (code, "version 2 has no weight any more" in err) == (0, True)
    code, _, err = typed("promote", "2", "--why", "no complaints")
    assert (code, "weight" in err) == (0, False)

    rows = [line.split() for line in typed("history", "--channel", "canary")[1].splitlines()]
    weights = [" ".join(row[6:8]).replace("- accepted", "-") for row in rows[1:]]
    assert (rows[0][4], weights) == ("weight", ["2.5 %", "50 %", "-"])
    assert os.environ["ORCHARD_ACTOR"] in rows[1]


def test_the_verb_shadow_and_its_way_to_stable(typed):
    assert typed("promote", "1", "--why", "first")[0] == 0
    code, _, err = typed("shadow", "10", "--why", "try")
    assert (code, "`orchard shadow 10 latest --why …`" in err) == (4, True)
    code, out, _ = typed("shadow", "10", "latest", "--why", "try it")
    assert (code, out) == (
        0,
        "shadow of fruits: 10 % of the traffic mirrored to version 2 (generation 1)\n"
        "next: orchard canary 1 shadow --why …, or orchard shadow 0 --why …\n",
    )
    code, out, _ = typed("shadow", "100", "--why", "fine", "--json")
    assert [json.loads(out)[key] for key in ("channel", "weight", "changed")] == ["shadow", 100.0, True]
    assert typed("canary", "1", "shadow", "--why", "no errors")[0] == 0

    _, _, err = typed("promote", "shadow", "--why", "no complaints")
    for channel in ("canary", "shadow"):
        assert f"{channel} of fruits: version 2 has no weight any more" in err
    rows = [line.split() for line in typed("history", "--channel", "shadow")[1].splitlines()]
    assert [" ".join(row[6:8]).replace("- accepted", "-") for row in rows[1:]] == ["10 %", "100 %", "-"]


def test_other_channels_have_no_weight(store):
    with pytest.raises(DataError, match="the channel 'stable' has no weight; canary and shadow have one"):
        set_weight(registry_of(store), "stable", 10, BECAUSE, version=2)


def test_a_deployment_without_a_canary_gets_none_by_a_weight(store):
    registry = replace(registry_of(store), channels=("stable",))

    with pytest.raises(DataError, match="'canary' is not a channel of 'fruits'; expected one of stable"):
        set_weight(registry, "canary", 10, BECAUSE, version=2)
    assert end_weights(registry, 2, BECAUSE) == []


@pytest.mark.parametrize("weight", ["101", "-1", "ten", "0.001", "nan"])
def test_the_verb_refuses_what_is_no_weight(typed, weight):
    code, _, err = typed("canary", "--why", "x", "--", weight, "1")

    assert (code, "is not a weight: expected 0 to 100 percent" in err) == (2, True)
