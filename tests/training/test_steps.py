"""A run's steps, each in an empty folder of its own: killed, terminated, repeated, refused, raced."""

from __future__ import annotations

import io
import json
import re
import signal
import tarfile
import time

import pytest

from orchard import layout
from orchard.errors import IntegrityError
from orchard.registry.channels import ChangeIntent
from orchard.registry.manifest import PublishMetadata
from orchard.registry.registry import Registry
from orchard.runs import records
from orchard.runs.steps import STEPS, steps_of
from orchard.settings import Settings
from orchard.signing import load_key, load_trusted
from orchard.store import open_store
from tests import photo_files
from tests.orchard.version_fixtures import registry_of
from tests.training.stepping import StepSite, small_params
from training.pipeline import artifacts
from training.pipeline.actions import ACTIONS
from training.pipeline.project_config import ProjectConfig

pytestmark = pytest.mark.timeout(900)

PATIENCE = 120


@pytest.fixture(scope="module")
def site(embedded_store, tmp_path_factory):
    """A store with a dataset in one version."""
    embedded_store.create_bucket("steps")
    environment = {**embedded_store.environment, "ORCHARD_STORE_URL": "s3://steps"}
    settings = Settings(**{name.removeprefix("ORCHARD_").lower(): value for name, value in environment.items()})
    made = StepSite(tmp_path_factory.mktemp("site"), open_store(settings), environment)
    source = photo_files.fill(made.root / "photos", train=16, test=4)
    assert made.run(None, "ingest", str(source)).code == 0
    return made


@pytest.fixture(scope="module")
def trained(site):
    """A run that is trained for a moment and evaluated."""
    site.write_params(small_params(train={"epochs": 2}))
    assert site.step("first", "validate").code == 0
    last = site.step("first", "train")
    assert last.code == 0, last.err
    assert site.step("first", "evaluate").code == 0
    return last


def _start_training(site):
    return site.start("long", "step", "train", "--project", str(site.root / "project"))


def _wait_for_checkpoint(site, etag):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if site.store.exists(key := layout.run_checkpoint("long")) and site.store.head(key).etag != etag:
            return site.store.head(key).etag
        time.sleep(0.05)
    raise AssertionError("no checkpoint came")


def _channel(site):
    return Registry(site.store, "own", load_trusted(site.root / "keys" / "trusted-keys.pem")).channel("stable").read()


def test_a_training_that_is_killed_or_terminated_resumes_in_another_folder(site):
    """It has so many epochs that it is still at work when it is killed, however fast the machine is."""
    site.write_params(small_params(train={"epochs": 10_000, "early_stopping": {"patience": 10_000, "min_delta": 0.0}}))
    assert site.step("long", "validate").code == 0
    killed = _start_training(site)
    etag = _wait_for_checkpoint(site, None)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL

    terminated = _start_training(site)
    _wait_for_checkpoint(site, etag)
    terminated.terminate()
    _, words = terminated.communicate(timeout=PATIENCE)
    assert terminated.returncode == 128 + signal.SIGTERM, words
    went_on, epochs = (
        int(found) for found in re.search(r"resumes after epoch (\d+).*epoch +(\d+) of", words, re.S).groups()
    )
    assert 0 < went_on < epochs
    assert records.ended_step(site.store, "long", "train") is None
    assert records.failure(site.store, "long", "train") is not None


def test_a_step_that_has_ended_is_not_run_again(site, trained):
    again = site.step("first", "train")

    assert (again.code, again.document["before"]) == (0, True)
    assert "photos/s" not in again.err
    assert again.document["files"] == trained.document["files"]


def test_a_step_needs_the_one_before_it_and_a_folder_of_its_own(site, trained):
    early = site.step("second", "evaluate")
    assert (early.code, "`orchard step train`" in early.document["error"]["hint"]) == (4, True)
    assert site.summary()["exit_code"] == 4
    assert "`train` of the run second has not ended" in site.summary()["said"]

    folder = site.root / "busy"
    (folder / "data").mkdir(parents=True)
    refused = site.run("first", "step", "gate", folder=folder)
    assert refused.code == 4
    assert "a folder of its own" in refused.err
    nameless = site.run(None, "step", "validate")
    assert (nameless.code, "ORCHARD_RUN_ID" in nameless.err) == (3, True)


def test_the_first_step_pins_the_dataset_version(site, trained):
    missing = site.step("elsewhere", "validate", "--dataset-version", "7")
    assert (missing.code, "no version 7" in missing.document["error"]["message"]) == (4, True)
    assert records.read(site.store, "first").dataset.version == 1
    other = site.step("first", "ingest", "--day", "2026-11-24")
    assert (other.code, "another kind" in other.document["error"]["message"]) == (7, True)


def test_a_refused_gate_ends_the_run_without_an_error_and_says_why(site, trained):
    site.copy_run("first", "strict", "validate", "train", "evaluate")
    _replace_thresholds(site, "strict", {"photos": {"all": 1000}})

    gate = site.step("strict", "gate", "--skip-code=99", "--force=")
    assert (gate.code, gate.document["outcome"]) == (99, "refused")
    assert "at least 1,000 are needed" in gate.document["reason"] or "1000" in gate.document["reason"]
    assert gate.err.splitlines()[-1] == gate.document["reason"]
    assert site.summary() == {
        "verb": "gate",
        "exit_code": 99,
        "said": gate.document["reason"],
        "links": {"gate": "runs/strict/pages/gate.html"},
    }
    assert b"Refused" in site.store.get("runs/strict/pages/gate.html").body
    assert site.step("strict", "gate").code == 5, "it is not run again, and is still refused"
    assert site.step("strict", "publish", "--skip-code", "99").code == 99
    listed = site.run(None, "runs", "--json").document["runs"]
    assert {run["run_id"]: run["state"] for run in listed}["strict"] == "refused at gate"

    forced = site.step("strict", "gate", "--skip-code=99", "--force=we know these photos")
    assert (forced.code, forced.document["result"]["verdict"]) == (0, "overridden")
    assert records.ended_step(site.store, "strict", "gate").result["reason"] == "we know these photos"


def _replace_thresholds(site, run_id, thresholds):
    """Give a copied run other thresholds for its later steps."""
    folder = site.root / f"thresholds-{run_id}"
    trained = records.ended_step(site.store, run_id, "train")
    artifacts.download(site.store, trained.files, folder, STEPS["train"].outputs)
    (folder / ".orchard/step/params.yaml").write_text(json.dumps(small_params(gate=thresholds)))
    artifact = artifacts.upload(site.store, run_id, "train", folder, STEPS["train"].outputs)
    key = layout.run_step(run_id, "train")
    document = json.loads(site.store.get(key).body)
    document["result"]["files"] = {"key": artifact.key, "sha256": artifact.sha256, "bytes": artifact.bytes}
    site.store.put(key, json.dumps(document).encode())


def test_two_runs_at_once_do_not_disturb_each_other(site, trained):
    """Both are gated before either is published; one is live when the other comes."""
    site.copy_run("first", "slow", "validate", "train", "evaluate")
    assert site.step("first", "gate").code == 0
    site.copy_run("first", "slow", "gate")
    published = site.step("first", "publish")
    assert (published.code, published.document["result"]["version"]) == (0, 1)
    promoted = site.step("first", "promote")
    assert (promoted.code, _channel(site).version) == (0, 1), promoted.err
    assert site.summary()["links"] == {"version": "runs/first/steps/publish.json"}
    assert _channel(site).why == "run first"
    assert site.step("first", "promote").document["before"]

    slow = site.step("slow", "publish")
    assert slow.code == 0, slow.err
    assert "Compared with version 1 on stable" in slow.err, "it was gated again"
    assert registry_of(site.store, model="own").versions() == [1], "the same content is the same version"

    key = load_key(site.root / "keys" / "signing-key.pem")
    _publish_another(site, key)
    late = site.step("slow", "promote", "--skip-code", "99")
    assert (late.code, late.document["outcome"]) == (99, "superseded")
    assert "already points to version 2" in late.document["reason"]
    assert _channel(site).version == 2
    done = site.run(None, "runs", "first", "--json").document["runs"][0]
    assert (done["state"], done["verdict"], done["version"]) == ("done", "accepted", 1)
    assert list(done["steps"]) == list(steps_of("retrain"))
    assert site.run(None, "runs", "nobody").code == 4


def _publish_another(site, key):
    """Publish and promote somebody else's version."""
    manifest = registry_of(site.store, key, "own").manifest(1)
    folder = site.root / "another"
    for file in manifest.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(site.store.get(layout.blob("own", file.sha256)).body)
    (folder / "assets" / "note.txt").write_text("other bytes")
    metadata = PublishMetadata(
        signatures=manifest.signatures,
        ops=manifest.ops,
        classes=manifest.classes,
        dataset=manifest.dataset,
        params_digest=manifest.params_digest,
        code=manifest.code,
        metrics=manifest.metrics,
        gate=manifest.gate,
        created_by="somebody",
        run_id="other",
    )
    done = registry_of(site.store, key, "own").publish(folder, metadata)
    registry_of(site.store, key, "own").channel("stable").promote(
        done.version, ChangeIntent("somebody", "quicker", "other")
    )


def test_a_file_that_is_not_an_output_of_the_step_is_not_unpacked(tmp_path):
    for name, kind in (
        ("../evil", tarfile.REGTYPE),
        ("/etc/evil", tarfile.REGTYPE),
        ("artifacts/gate/link", tarfile.SYMTYPE),
        ("data/own/x", tarfile.REGTYPE),
    ):
        body = io.BytesIO()
        with tarfile.open(fileobj=body, mode="w") as archive:
            item = tarfile.TarInfo(name)
            item.type = kind
            item.linkname = "/etc/passwd"
            archive.addfile(item)
        body.seek(0)
        (tmp_path / "artifacts" / "gate").mkdir(parents=True, exist_ok=True)
        (tmp_path / "artifacts" / "gate" / "verdict.json").write_text("mine")
        with pytest.raises(IntegrityError, match="not an output of the step"):
            artifacts.unpack(body, tmp_path, ("artifacts/gate",), "artifact")
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["verdict.json"]
    with pytest.raises(IntegrityError, match="not a valid archive"):
        artifacts.unpack(io.BytesIO(b"x" * 2000), tmp_path, ("artifacts/gate",), "artifact")


def test_a_damaged_artifact_is_refused_and_the_same_files_make_the_same_one(memory, tmp_path):
    (tmp_path / "a" / "artifacts").mkdir(parents=True)
    (tmp_path / "a" / "artifacts" / "x").write_text("1")
    first = artifacts.upload(memory, "run", "gate", tmp_path / "a", ("artifacts", "nothing"))
    (tmp_path / "a" / "artifacts" / "x").touch()
    assert artifacts.upload(memory, "run", "gate", tmp_path / "a", ("artifacts",)) == first
    assert artifacts.upload(memory, "run", "gate", tmp_path / "a", ("nothing",)) is None

    memory.put(first.key, memory.get(first.key).body.replace(b"1", b"2"))
    with pytest.raises(IntegrityError, match="another SHA-256"):
        artifacts.download(memory, first, tmp_path / "b", ("artifacts",))
    memory.delete(first.key)
    with pytest.raises(IntegrityError, match="expired"):
        artifacts.download(memory, first, tmp_path / "b", ("artifacts",))


def test_every_step_of_the_table_has_its_action():
    assert list(ACTIONS) == list(STEPS)


def test_a_profile_is_merged_into_the_parameters(tmp_path):
    (tmp_path / "params.yaml").write_text("model: {a: 1, b: {c: 2}}\ntrain: {epochs: 30}\n")
    (tmp_path / "params.night.yaml").write_text("train: {epochs: 3}\nmodel: {b: {c: 5}}\n")
    project = ProjectConfig((tmp_path,))

    assert project.params("full").splitlines()[0] == "model:"
    assert "epochs: 3\n" in project.params("night")
    assert "c: 5" in project.params("night")
    with pytest.raises(Exception, match=r"params\.day\.yaml") as error:
        project.params("day")
    assert "night" in error.value.hint
