"""The gate compares a candidate with its thresholds and with the served version on the same photos, with reasons."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchard import layout
from orchard.cli import main
from orchard.errors import DataError, IntegrityError
from orchard.gate import GateThresholds
from orchard.registry.channels import ChangeIntent, Channel
from orchard.reporter import Reporter
from orchard.signing import SigningKey, create_pair, load_key
from orchard.store import ObjectStore
from tests.orchard.version_fixtures import registry_of
from tests.training.candidates import COLOURS, PHOTOS, THRESHOLDS, judge, rows, write_params, write_workspace
from training.release.gate_candidate import GateResult, gate
from training.release.publish_candidate import publish
from training.workspace import Workspace

MORE = [*PHOTOS, *rows({"Blue": 2, "Red": 2}, first=300)]
"""The photos of a later dataset version."""


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return load_key(create_pair(tmp_path_factory.mktemp("keys")).private)


@pytest.fixture
def channel(memory: ObjectStore, key: SigningKey) -> Channel:
    return registry_of(memory, key).channel("stable")


def decide(
    workspace: Workspace, channel: Channel | None, thresholds: dict[str, Any] = THRESHOLDS, **options: Any
) -> GateResult:
    return gate(workspace, GateThresholds(**thresholds), channel, Reporter.silent(), **options)


def serve(root: Path, channel: Channel, key: SigningKey, **candidate: Any) -> int:
    """Evaluate, publish and promote a candidate: the served version from then on."""
    workspace = write_workspace(root, **candidate)
    judge(workspace)
    decide(workspace, channel, override_reason="a test needs it served")
    version = int(publish(workspace, channel.registry, "stable", "tester").record["version"])
    channel.promote(version, ChangeIntent("tester", "served in a test"))
    return version


def judged(root: Path, **candidate: Any) -> Workspace:
    workspace = write_workspace(root, **candidate)
    judge(workspace)
    return workspace


def failed(found: GateResult) -> set[str]:
    return {check.name for check in found.verdict.failed}


def test_a_good_candidate_is_accepted_and_the_page_says_so(tmp_path: Path, channel: Channel):
    workspace = judged(tmp_path)

    found = decide(workspace, channel)

    assert found.verdict.verdict == "accepted"
    assert json.loads((workspace.gate / "verdict.json").read_text()) == json.loads(json.dumps(found.document))
    page = (workspace.gate / "page.html").read_text()
    assert "Accepted: it may be published" in page
    assert "has none yet" in page


def test_without_a_store_the_verdict_states_that_nothing_was_compared(tmp_path: Path):
    workspace = judged(tmp_path)

    found = decide(workspace, None)

    assert found.verdict.verdict == "accepted"
    assert "no object store is set" in found.comparison["sentence"]
    assert "no object store is set" in (workspace.gate / "page.html").read_text()


def test_a_worse_model_is_refused_with_the_reason(tmp_path: Path, channel: Channel, key: SigningKey):
    serve(tmp_path / "served", channel, key)
    workspace = judged(tmp_path / "worse", taken_for={"Green": "Blue"})
    bars = {"drop": {"turntable": 0.01}, "class_drop": {"turntable": 0.1}}

    found = decide(workspace, channel, bars)

    assert found.verdict.verdict == "refused"
    assert failed(found) == {"turntable.drop", "turntable.class_drop.Green"}
    page = (workspace.gate / "page.html").read_text()
    assert "Refused: it may not be published" in page
    for check in found.verdict.failed:
        assert check.sentence in page
    assert "12 of 18 right" in page
    assert "the served version 18" in page
    assert re.search(r"Green, turntable: 0 of 6 right .*, the served version 6 ", found.verdict.reason)


def test_what_was_recorded_on_the_same_photos_is_not_measured_again(tmp_path: Path, channel: Channel, key: SigningKey):
    serve(tmp_path / "served", channel, key, taken_for={"Red": "Blue"})
    for stat in list(channel.registry.store.list("models/fruits/blobs")):
        channel.registry.store.delete(stat.key)  # so that the served model cannot be loaded
    workspace = judged(tmp_path / "better")

    found = decide(workspace, channel)

    assert found.verdict.verdict == "accepted"
    assert (found.comparison["how"], found.comparison["version"]) == ("recorded", 1)
    row = '<tr><th scope="row">Red <span class="soft">turntable 6</span></th><td class="number">6</td><td class="number">0</td>'
    assert row in (workspace.gate / "page.html").read_text()


def test_on_other_photos_the_served_model_predicts_again(tmp_path: Path, channel: Channel, key: SigningKey):
    serve(tmp_path / "served", channel, key, taken_for={"Green": "Red"})
    workspace = judged(tmp_path / "later", photos=MORE, taken_for={"Green": "Blue", "Red": "Blue"})

    found = decide(workspace, channel, {"drop": {"turntable": 0.01}})

    assert found.comparison["how"] == "measured"
    (check,) = found.verdict.checks
    assert check.sentence.startswith("All classes, turntable: 8 of 22 right")
    assert "the served version 16 " in check.sentence  # all of Blue and Red, none of Green
    assert found.verdict.verdict == "refused"


def test_recorded_and_measured_figures_are_the_same(tmp_path: Path, channel: Channel, key: SigningKey):
    from training.evaluation.manifest_metrics import restore_evaluation
    from training.release.served_model import _measure

    serve(tmp_path / "served", channel, key, taken_for={"Red": "Blue"}, sure=3)
    manifest = channel.registry.manifest(1)
    digest = manifest.dataset.digest

    recorded = restore_evaluation(manifest, digest)

    assert recorded is not None
    assert recorded["slices"] == _measure(channel, manifest, tmp_path / "served" / "data" / "fruits", digest)
    assert restore_evaluation(manifest, "0" * 64) is None


def test_a_served_model_that_knows_fewer_classes_is_wrong_about_the_others(
    tmp_path: Path, channel: Channel, key: SigningKey
):
    few = [row for row in PHOTOS if row.label in {"Blue", "Red"}]
    serve(tmp_path / "served", channel, key, photos=few, classes=("Blue", "Red"))
    workspace = judged(tmp_path / "all")

    found = decide(workspace, channel, {"drop": {"turntable": 0.0}, "class_drop": {"turntable": 0.0}})

    assert found.comparison["how"] == "measured"
    assert found.verdict.verdict == "accepted"
    sentence = next(c.sentence for c in found.verdict.checks if c.name == "turntable.class_drop.Green")
    assert "the served version 0 " in sentence


@pytest.mark.parametrize("what", ["flipped", "missing", "longer"])
def test_a_damaged_served_model_is_an_error_and_does_not_pass(
    tmp_path: Path, channel: Channel, key: SigningKey, what: str
):
    serve(tmp_path / "served", channel, key)
    workspace = judged(tmp_path / "later", photos=MORE)
    stat = next(iter(channel.registry.store.list("models/fruits/blobs")))
    body = channel.registry.store.get(stat.key).body
    if what == "missing":
        channel.registry.store.delete(stat.key)
    else:
        channel.registry.store.put(stat.key, body + b"x" if what == "longer" else bytes([body[0] ^ 1]) + body[1:])

    with pytest.raises(IntegrityError, match=stat.key):
        decide(workspace, channel)

    assert not (workspace.gate / "verdict.json").exists()


def test_a_pointer_without_a_trusted_signature_is_an_error(tmp_path: Path, channel: Channel, key: SigningKey):
    serve(tmp_path / "served", channel, key)
    stranger = load_key(create_pair(tmp_path / "stranger").private)
    workspace = judged(tmp_path / "later")

    with pytest.raises(IntegrityError, match="unknown key"):
        decide(workspace, registry_of(channel.registry.store, stranger).channel("stable"))


def test_a_manifest_that_was_swapped_for_another_is_an_error(tmp_path: Path, channel: Channel, key: SigningKey):
    serve(tmp_path / "served", channel, key)
    serve(tmp_path / "next", channel, key, taken_for={"Red": "Blue"})
    body = channel.registry.store.get(layout.manifest("fruits", 1)).body
    channel.registry.store.put(layout.manifest("fruits", 2), body)

    with pytest.raises(IntegrityError, match="not the manifest"):
        decide(judged(tmp_path / "later"), channel)


def test_an_override_is_kept_with_its_reason(tmp_path: Path, channel: Channel):
    workspace = judged(tmp_path, taken_for={"Red": "Blue"})

    found = decide(workspace, channel, override_reason="  Red is sold out until May  ")

    assert found.verdict.verdict == "overridden"
    assert found.verdict.reason == "Red is sold out until May"
    assert failed(found) >= {"turntable.accuracy", "shop.accuracy"}
    assert "Red is sold out until May" in (workspace.gate / "page.html").read_text()
    assert json.loads((workspace.gate / "verdict.json").read_text())["reason"] == "Red is sold out until May"


@pytest.mark.parametrize("reason", ["", "   "])
def test_an_override_without_a_reason_is_invalid(tmp_path: Path, channel: Channel, reason: str):
    with pytest.raises(DataError, match="written reason"):
        decide(judged(tmp_path, taken_for={"Red": "Blue"}), channel, override_reason=reason)


@pytest.mark.parametrize(
    "change",
    [
        lambda slices: slices.pop("shop"),
        lambda slices: slices["shop"].update(accuracy=None),
        lambda slices: slices["shop"].update(accuracy=0.99),
        lambda slices: slices["shop"].update(correct=8),
    ],
)
def test_figures_that_are_missing_or_contradict_each_other_fail(tmp_path: Path, change: Any):
    workspace = judged(tmp_path, taken_for={"Red": "Blue"})
    path = workspace.evaluation / "evaluation.json"
    document = json.loads(path.read_text())
    change(document["slices"])
    path.write_text(json.dumps(document))

    found = decide(workspace, None, {"accuracy": {"shop": 0.1}})

    assert found.verdict.verdict == "refused"
    assert "no valid figure" in found.verdict.reason


def test_an_evaluation_without_classes_is_invalid(tmp_path: Path):
    workspace = judged(tmp_path)
    path = workspace.evaluation / "evaluation.json"
    document = json.loads(path.read_text())
    del document["slices"]["shop"]["classes"]
    path.write_text(json.dumps(document))

    with pytest.raises(IntegrityError, match=r"evaluation\.json"):
        decide(workspace, None)


def test_a_threshold_for_missing_photos_fails(tmp_path: Path):
    workspace = judged(tmp_path, photos=rows(dict.fromkeys(COLOURS, 3)))

    assert failed(decide(workspace, None)) == {"shop.accuracy"}


def test_an_evaluation_of_another_model_is_refused(tmp_path: Path, channel: Channel):
    workspace = judged(tmp_path)
    (workspace.candidate / "saved_model" / "assets" / "note.txt").write_text("changed after it was judged")

    with pytest.raises(DataError, match="the evaluation is of the model"):
        decide(workspace, channel)


def test_a_simpler_model_must_not_be_better(tmp_path: Path):
    workspace = write_workspace(tmp_path, taken_for={"Red": "Blue"})
    judge(workspace, baseline=True)

    found = decide(workspace, None, {"accuracy": {"turntable": 0.5}})

    assert found.verdict.verdict == "refused"
    assert failed(found) == {"turntable.baseline", "shop.baseline"}
    assert found.verdict.reason.startswith("2 of 3 checks failed: A simpler model")
    assert (
        decide(workspace, None, {"accuracy": {"turntable": 0.5}}, override_reason="so").verdict.verdict == "overridden"
    )


def test_exit_code_5_comes_with_one_document_and_its_checks(workspace: Path, capsys: pytest.CaptureFixture[str]):
    judged(workspace, taken_for={"Red": "Blue"})

    assert main(["gate", "--json"]) == 5

    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "refused"
    assert {check["name"] for check in found["checks"] if check["passed"] is False} >= {"turntable.accuracy"}
    assert Path(found["page"]).is_file()


def test_the_text_output_is_in_sentences(workspace: Path, capsys: pytest.CaptureFixture[str]):
    judged(workspace, taken_for={"Red": "Blue"})

    assert main(["gate"]) == 5

    printed = capsys.readouterr()
    assert re.search(
        r"^✗ Red, turntable: 0(\.0)? % \(0\.0–39\.1\) of 6 right, the threshold is 80 %$", printed.out, re.MULTILINE
    )
    assert "artifacts/gate/page.html says why" in printed.err


def test_a_store_that_is_set_and_down_is_never_skipped(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    judged(workspace)
    pair = create_pair(workspace / "keys")
    (workspace / "credentials").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("ORCHARD_STORE_URL", "s3://orchard")
    monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens there
    monkeypatch.setenv("ORCHARD_STORE_CREDENTIALS_FILE", str(workspace / "credentials"))
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))

    assert main(["gate", "--json"]) == 6

    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "StoreUnavailable"
    assert not (workspace / "artifacts" / "gate").exists()


def test_a_store_without_keys_to_trust_is_a_setting_that_is_missing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    judged(workspace)
    monkeypatch.setenv("ORCHARD_STORE_URL", "memory://")

    assert main(["gate"]) == 3

    assert "ORCHARD_TRUSTED_KEYS_FILE" in capsys.readouterr().err


def test_thresholds_with_a_typo_are_named(workspace: Path, capsys: pytest.CaptureFixture[str]):
    judged(workspace)
    write_params(workspace, gate={"acuracy": {"shop": 0.5}})

    assert main(["gate"]) == 3

    assert "acuracy" in capsys.readouterr().err
