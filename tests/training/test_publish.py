"""Only an evaluated candidate is published, unchanged, and once."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchard import env_files
from orchard.cli import main
from orchard.dataset import Dataset
from orchard.errors import ConflictError, DataError, GateRefused, IntegrityError, StoreUnavailable
from orchard.gate import GateThresholds
from orchard.registry.channels import ChangeIntent, Channel
from orchard.reporter import Reporter
from orchard.runs import records
from orchard.settings import Settings, load
from orchard.signing import KeyPair, SigningKey, create_pair, load_key
from orchard.store import ObjectStore, open_store
from orchard.store.embedded import EmbeddedStore
from tests.faults.crashing_store import FAULTS, CrashingStore, Fault, Killed
from tests.orchard.version_fixtures import registry_of
from tests.training.candidates import PARAMS_DIGEST, THRESHOLDS, judge, write_workspace
from training.code_version import describe_code
from training.data.shards import read_index
from training.release.gate_candidate import gate
from training.release.publish_candidate import CandidatePublishResult, publish
from training.workspace import Workspace


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return create_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def key(pair: KeyPair) -> SigningKey:
    return load_key(pair.private)


@pytest.fixture(scope="module")
def accepted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a candidate that was evaluated and accepted, with nothing served yet."""
    workspace = write_workspace(tmp_path_factory.mktemp("accepted"))
    judge(workspace)
    gate(workspace, GateThresholds(**THRESHOLDS), None, Reporter.silent())
    return workspace.root


@pytest.fixture
def accepted(accepted_once: Path, tmp_path: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(accepted_once, tmp_path / "accepted")))


def release(
    workspace: Workspace, store: ObjectStore, key: SigningKey, run_id: str | None = None
) -> CandidatePublishResult:
    return publish(workspace, registry_of(store, key), "stable", "tester", run_id)


def other_candidate(root: Path, channel: Channel, **options: Any) -> Workspace:
    workspace = write_workspace(root, taken_for={"Red": "Blue"})
    judge(workspace)
    gate(workspace, GateThresholds(**THRESHOLDS), channel, Reporter.silent(), **options)
    return workspace


def everything(store: ObjectStore) -> list[str]:
    return [stat.key for folder in ("models", "runs") for stat in store.list(folder)]


def test_a_version_has_its_origin_and_its_metrics(accepted: Workspace, memory: ObjectStore, key: SigningKey):
    index = read_index(accepted.dataset("fruits"))
    Dataset(memory, "fruits").commit(index.document, "outs: []\n", parent=None, created_by="tester")

    outcome = release(accepted, memory, key, "nightly")

    assert (outcome.record["version"], outcome.created) == (1, True)
    manifest = registry_of(memory, key).manifest(1)
    assert (manifest.dataset.name, manifest.dataset.version, manifest.dataset.digest) == ("fruits", 1, index.digest)
    assert manifest.classes == ("Blue", "Green", "Red", "Yellow")
    assert manifest.signatures["serving_default"].inputs == {"image_bytes": "string[N]"}
    assert manifest.signatures["serving_default"].outputs == {
        "label": "string[N]",
        "probability": "float32[N]",
        "probabilities": "float32[N,4]",
    }
    assert manifest.signatures["pixels"].inputs == {"image": "float32[N,1,1,3]"}
    assert {"DecodeJpeg", "Softmax"} <= set(manifest.ops)
    assert manifest.params_digest == PARAMS_DIGEST
    assert manifest.code == describe_code()
    assert manifest.metrics["shop.accuracy"] == 1.0
    assert manifest.metrics["turntable.class.Yellow.n"] == 0
    assert manifest.gate.verdict == "accepted"
    assert (manifest.run_id, manifest.created_by) == ("nightly", "tester")
    registry_of(memory).verify(manifest)


def test_data_that_was_never_ingested_into_the_store_has_no_version(
    accepted: Workspace, memory: ObjectStore, key: SigningKey
):
    release(accepted, memory, key)

    assert registry_of(memory, key).manifest(1).dataset.version is None


def test_the_same_bytes_again_are_the_same_version(accepted: Workspace, memory: ObjectStore, key: SigningKey):
    first = release(accepted, memory, key)
    second = release(accepted, memory, key, "another-run")

    assert (second.record["version"], second.created) == (first.record["version"], False)
    assert registry_of(memory).versions() == [1]


def test_the_same_bytes_again_are_the_same_version_when_they_are_served(
    accepted: Workspace, memory: ObjectStore, key: SigningKey
):
    release(accepted, memory, key)
    registry_of(memory, key).channel("stable").promote(1, ChangeIntent("tester", "a test"))

    assert release(accepted, memory, key).record["version"] == 1


def test_a_refused_model_is_not_published(tmp_path: Path, memory: ObjectStore, key: SigningKey):
    stable = registry_of(memory, key).channel("stable")
    workspace = other_candidate(tmp_path, stable)

    with pytest.raises(GateRefused, match="checks failed: ") as caught:
        release(workspace, memory, key)

    assert str(workspace.gate / "page.html") in caught.value.hint
    assert everything(memory) == []


def test_an_override_and_its_reason_are_in_the_manifest(tmp_path: Path, memory: ObjectStore, key: SigningKey):
    stable = registry_of(memory, key).channel("stable")

    release(other_candidate(tmp_path, stable, override_reason="Red is sold out until May"), memory, key)

    found = registry_of(memory, key).manifest(1).gate
    assert (found.verdict, found.reason) == ("overridden", "Red is sold out until May")


@pytest.mark.parametrize("path", ["artifacts/evaluation/evaluation.json", "artifacts/gate/verdict.json"])
def test_reports_of_another_candidate_are_refused(
    accepted: Workspace, tmp_path: Path, memory: ObjectStore, key: SigningKey, path: str
):
    other = other_candidate(tmp_path / "other", registry_of(memory, key).channel("stable"), override_reason="a test")
    shutil.copy(other.root / path, accepted.root / path)

    with pytest.raises(DataError, match="the candidate is"):
        release(accepted, memory, key)

    assert everything(memory) == []


@pytest.mark.parametrize(
    "path", ["candidate/training.json", "candidate/saved_model", "evaluation/evaluation.json", "gate/verdict.json"]
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(
    accepted: Workspace, memory: ObjectStore, key: SigningKey, path: str
):
    gone = accepted.root / "artifacts" / path
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()

    with pytest.raises(DataError, match=gone.name):
        release(accepted, memory, key)

    assert everything(memory) == []


@pytest.mark.parametrize("path", ["candidate/training.json", "evaluation/evaluation.json", "gate/verdict.json"])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"format":2}', b"[1]", b"\xff", b'{"format":NaN}'])
def test_an_invalid_report_is_an_error(
    accepted: Workspace, memory: ObjectStore, key: SigningKey, path: str, body: bytes
):
    (accepted.root / "artifacts" / path).write_bytes(body)

    with pytest.raises(IntegrityError, match=Path(path).name):
        release(accepted, memory, key)


def test_a_verdict_on_something_served_before_does_not_count(
    accepted: Workspace, tmp_path: Path, memory: ObjectStore, key: SigningKey
):
    stable = registry_of(memory, key).channel("stable")
    release(other_candidate(tmp_path / "other", stable, override_reason="a test"), memory, key)
    stable.promote(1, ChangeIntent("tester", "a test"))

    with pytest.raises(
        DataError, match="compared the candidate with no version, but stable points to version 1"
    ) as caught:
        release(accepted, memory, key)
    assert "orchard gate" in caught.value.hint

    gate(accepted, GateThresholds(**THRESHOLDS), stable, Reporter.silent())
    assert release(accepted, memory, key).record["version"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "Yellow"}, "golden photo 1"),
        ({"probability": 0.5}, "golden photo 1"),
        ({"b64": "no base64"}, "golden photos"),
        ({"probability": "high"}, "golden photos"),
    ],
)
def test_golden_photos_with_other_predictions_stop_it(
    tmp_path: Path, memory: ObjectStore, key: SigningKey, change: dict[str, Any], message: str
):
    workspace = write_workspace(tmp_path)
    path = workspace.candidate / "saved_model" / "assets.extra" / "golden.json"
    golden = json.loads(path.read_text())
    golden["photos"][0] |= change
    path.write_text(json.dumps(golden))
    judge(workspace)
    gate(workspace, GateThresholds(**THRESHOLDS), None, Reporter.silent())

    with pytest.raises(IntegrityError, match=message):
        release(workspace, memory, key)

    assert everything(memory) == []


def test_a_retry_of_a_run_returns_its_record(accepted: Workspace, memory: ObjectStore, key: SigningKey):
    first = release(accepted, memory, key, "nightly")
    shutil.rmtree(accepted.evaluation)  # it is not read

    second = release(accepted, memory, key, "nightly")

    assert second == CandidatePublishResult(first.record, created=False)
    assert records.recorded(memory, "nightly", "publish") == first.record


def test_one_run_publishes_one_thing(accepted: Workspace, tmp_path: Path, memory: ObjectStore, key: SigningKey):
    stable = registry_of(memory, key).channel("stable")
    release(accepted, memory, key, "nightly")
    other = other_candidate(tmp_path / "other", stable, override_reason="a test")

    with pytest.raises(ConflictError, match="nightly"):
        release(other, memory, key, "nightly")

    assert registry_of(memory).versions() == [1]


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_happens_in_the_middle_the_next_try_makes_one_version(
    accepted: Workspace, key: SigningKey, fault: Fault
):
    def empty() -> ObjectStore:
        return open_store(Settings(store_url="memory://"))

    counted = CrashingStore(empty())
    release(accepted, counted, key, "nightly")
    writes = [n for n, call in enumerate(counted.calls) if call.split(" ")[0] in {"put_file", "create", "swap"}]
    assert len(writes) >= 6

    for number in writes:
        store = empty()
        with suppress(Killed, StoreUnavailable):
            release(accepted, CrashingStore(store, number, fault), key, "nightly")
        outcome = release(accepted, store, key, "nightly")

        assert outcome.record["version"] == 1
        assert registry_of(store).versions() == [1]
        assert records.recorded(store, "nightly", "publish") == outcome.record
        registry_of(store, key).verify(registry_of(store, key).manifest(1))


class Killing(CrashingStore):
    """Kills the real server just before one call; later requests get no answer."""

    def __init__(self, inner: ObjectStore, server: EmbeddedStore, before: str) -> None:
        super().__init__(inner)
        self.server, self.before = server, before

    def _do(self, name: str, call: Any) -> Any:
        if name.startswith(self.before):
            self.server.stop()
        return super()._do(name, call)


def test_a_store_that_is_stopped_in_the_middle_of_a_publish_loses_nothing(
    accepted: Workspace, tmp_path: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
):
    def opened(server: EmbeddedStore) -> ObjectStore:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return open_store(load())

    with EmbeddedStore(tmp_path / "store") as server:
        dying = Killing(opened(server), server, "create models/fruits/versions/")
        with pytest.raises(StoreUnavailable):
            release(accepted, dying, key, "nightly")
    with EmbeddedStore(tmp_path / "store") as server:
        store = opened(server)
        assert registry_of(store).versions() == []

        assert release(accepted, store, key, "nightly").record["version"] == 1

        registry_of(store, key).verify(registry_of(store, key).manifest(1))


@pytest.mark.parametrize("kind", ["public", "empty", "missing", "stranger"])
def test_an_invalid_signing_key_is_named_before_anything_is_written(
    accepted: Workspace,
    pair: KeyPair,
    seaweed_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
):
    monkeypatch.chdir(accepted.root)
    path = accepted.root / "key.pem"
    if kind == "stranger":
        path = create_pair(accepted.root / "stranger").private
    elif kind != "missing":
        path.write_bytes(pair.public.read_bytes() if kind == "public" else b"")
    keys = {"ORCHARD_SIGNING_KEY_FILE": str(path), "ORCHARD_TRUSTED_KEYS_FILE": str(pair.public)}
    for name, value in {**seaweed_environment, **keys}.items():
        monkeypatch.setenv(name, value)

    assert main(["publish"]) == 3

    assert str(path) in capsys.readouterr().err


def test_the_three_verbs_lead_to_a_version_in_a_real_store(
    workspace: Path,
    pair: KeyPair,
    seaweed: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    write_workspace(workspace)
    monkeypatch.setenv("ORCHARD_SIGNING_KEY_FILE", str(pair.private))
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))
    monkeypatch.setenv("ORCHARD_ACTOR", "ada")

    assert [main([verb, "--json"]) for verb in ("evaluate", "gate", "publish")] == [0, 0, 0]
    output = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (output["version"], output["created"]) == (1, True)
    assert main(["promote", "latest", "--why", "a test", "--json"]) == 0
    shutil.rmtree(workspace / "artifacts")
    write_workspace(workspace, taken_for={"Red": "Blue"})
    assert [main([verb]) for verb in ("evaluate", "gate", "publish")] == [0, 5, 5]

    assert "Compared with version 1 on stable" in capsys.readouterr().out
    manifest = registry_of(seaweed, load_key(pair.private)).manifest(1)
    assert manifest.created_by == "ada"
    assert registry_of(seaweed).versions() == [1]


def test_a_change_in_the_store_that_is_in_use_names_it(
    accepted: Workspace,
    pair: KeyPair,
    seaweed_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(accepted.root)
    monkeypatch.delenv(env_files.VARIABLE)
    keys = {"ORCHARD_SIGNING_KEY_FILE": str(pair.private), "ORCHARD_TRUSTED_KEYS_FILE": str(pair.public)}
    lines = [f"{name}={value}" for name, value in {**seaweed_environment, **keys}.items()]
    Path(".env.staging").write_text("\n".join(lines))

    try:
        assert [main(words) for words in (["use", "staging"], ["publish"], ["promote", "1", "--why", "x"])] == [0, 0, 0]
    finally:
        env_files.apply(env_files.EnvFiles(), (), ())

    out = capsys.readouterr().out
    assert f"version 1 of fruits in staging, {seaweed_environment['ORCHARD_STORE_URL']} at " in out
    assert "stable of fruits in staging: nothing → version 1 (generation 1)" in out
