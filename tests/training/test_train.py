"""`orchard train`: learns, keeps the best, resumes after a kill, repeats itself, and replaces a candidate only by a complete one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from orchard.cli import main
from orchard.errors import DataError, IntegrityError, OrchardError
from orchard.reporter import Reporter
from tests.training.candidates import COLOURS, rows, write_dataset
from tests.training.test_params import TEXT
from training import params
from training.data.shards import read_index
from training.model.architectures import ARCHITECTURES
from training.model.candidate import read_candidate
from training.model.checkpoint import Checkpoint, TrainingProgress, name_run
from training.model.in_memory import read_photos
from training.model.split import choose_validation
from training.model.train import read_curves, train
from training.workspace import Workspace

SMALL = (
    "data.name=fruits",
    "model.image_size=16",
    "model.cnn.filters=[6, 8]",
    "train.epochs=3",
    "train.batch_size=16",
    "train.validation.share=0.2",
    "train.averaging=0.5",
)
PHOTOS = (*rows(dict.fromkeys(COLOURS, 20), split="train"), *rows(dict.fromkeys(COLOURS, 3), first=100))


def parse(*overrides):
    return params.parse(TEXT, overrides=[*SMALL, *overrides])


def write_workspace(root, photos=PHOTOS, **options):
    write_dataset(root / "data" / "fruits", photos, **options)
    return Workspace(root)


def run(workspace, *overrides):
    return train(parse(*overrides), workspace, Reporter.silent())


def weights(workspace):
    return keras.models.load_model(workspace.candidate / "model.keras").get_weights()


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace in which one uninterrupted run has ended."""
    workspace = write_workspace(tmp_path_factory.mktemp("trained"))
    run(workspace)
    return workspace


def test_candidate_names_its_origin(trained):
    candidate = read_candidate(trained.candidate)
    index = read_index(trained.dataset("fruits"))

    assert candidate.dataset_name == "fruits"
    assert candidate.dataset_digest == index.digest
    assert candidate.params_digest == parse().digest
    assert candidate.classes == tuple(sorted(COLOURS))
    assert candidate.training["params"] == parse().model_dump(mode="json")
    assert candidate.training["epochs_run"] == 3
    assert candidate.training["versions"]["keras"] == keras.__version__
    assert {file.path for file in candidate.files} == {
        "saved_model.pb",
        "assets/classes.txt",
        "assets/photo_rules.json",
        "assets.extra/golden.json",
    }


def test_curves_have_every_epoch_and_the_best_one_is_kept(trained):
    curves = read_curves(trained.candidate)
    document = read_candidate(trained.candidate).training
    best = curves[document["best_epoch"] - 1]

    assert [epoch.epoch for epoch in curves] == [1, 2, 3]
    assert best.val_loss == min(epoch.val_loss for epoch in curves)
    assert curves[-1].learning_rate < curves[0].learning_rate

    photos = read_photos(trained.dataset("fruits"), read_index(trained.dataset("fruits")), "train", 16)
    groups = [(sorted(COLOURS)[label], source) for label, source in zip(photos.labels, photos.sources, strict=True)]
    judged = photos.select(choose_validation(photos.paths, groups, photos.digests, share=0.2, seed=7))
    answers = keras.models.load_model(trained.candidate / "model.keras")(judged.pixels.astype(np.float32))
    right = np.asarray(answers)[np.arange(len(judged)), judged.labels]
    assert -np.log(right).mean() == pytest.approx(best.val_loss, rel=1e-3)


@pytest.mark.parametrize(
    "optimizer",
    ["adam", pytest.param("rmsprop", marks=pytest.mark.long), pytest.param("sgd", marks=pytest.mark.long)],
)
def test_every_optimizer_learns(tmp_path, optimizer):
    workspace = write_workspace(tmp_path)
    rate = {"adam": 0.02, "rmsprop": 0.005, "sgd": 0.1}[optimizer]

    run(workspace, f"train.optimizer.name={optimizer}", f"train.optimizer.learning_rate={rate}", "train.epochs=8")

    curves = read_curves(workspace.candidate)
    assert curves[-1].val_loss < 0.7 * curves[0].val_loss  # of photos without augmentation
    assert max(epoch.val_accuracy for epoch in curves) >= 0.8


def test_linear_architecture_is_trained_the_same_way(tmp_path):
    workspace = write_workspace(tmp_path)

    run(workspace, "model.architecture=linear", "train.epochs=1")

    assert [type(layer).__name__ for layer in keras.models.load_model(workspace.candidate / "model.keras").layers] == [
        "InputLayer",
        "Rescaling",
        "Flatten",
        "Dense",
        "Softmax",
    ]


def test_neither_test_photos_nor_the_order_of_shards_reach_the_weights(trained, tmp_path):
    others = [row for row in reversed(PHOTOS) if row.split == "train"] + rows(dict.fromkeys(COLOURS, 2), first=900)

    workspace = write_workspace(tmp_path, others, shards=3)
    run(workspace)

    assert same(weights(workspace), weights(trained))


def test_another_seed_is_another_network(trained, tmp_path):
    workspace = write_workspace(tmp_path)

    run(workspace, "train.seed=8")

    assert not same(weights(workspace), weights(trained))


TRAIN = """
import os, signal, sys
from orchard.reporter import Reporter
from training import params
from training.model.train import train
from training.workspace import Workspace

def note(text):
    print(text)
    if text.startswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

reporter = Reporter()
reporter.note = note
train(params.load(), Workspace(), reporter)
"""
"""Trains; dies when it reports a text that begins with the argument."""


def train_elsewhere(folder, dies_at="never", loaded=None):
    """Train in another process: after a session with one thread, TensorFlow has only one and rounds differently."""
    (folder / "params.yaml").write_text(yaml.safe_dump((loaded or parse()).model_dump(mode="json")))
    command = [sys.executable, "-c", TRAIN, dies_at]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


def test_killed_run_resumes_and_ends_with_the_same_result(tmp_path):
    killed, whole = write_workspace(tmp_path / "killed"), write_workspace(tmp_path / "whole")
    died = train_elsewhere(killed.root, "epoch   2 of 3")  # trained, but its checkpoint is not yet written
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not killed.candidate.exists()

    resumed, at_once = train_elsewhere(killed.root), train_elsewhere(whole.root)

    assert "resumes after epoch 1 of an interrupted run" in resumed.stdout
    assert at_once.returncode == 0, at_once.stderr
    assert same(weights(killed), weights(whole))
    assert files(killed.candidate / "saved_model") == files(whole.candidate / "saved_model")
    figures = [(epoch.loss, epoch.val_loss) for epoch in read_curves(killed.candidate)]
    assert figures == [(epoch.loss, epoch.val_loss) for epoch in read_curves(whole.candidate)]
    assert not list(killed.root.glob(".orchard/checkpoints/*")), "the checkpoint of a run that has ended is gone"


def test_checkpoint_that_is_truncated_or_of_other_shapes_is_ignored(tmp_path):
    checkpoint = Checkpoint(tmp_path, "run")
    checkpoint.save(TrainingProgress([np.arange(6.0).reshape(2, 3), np.array(7)], [np.ones(2)], {"epochs": []}))
    file = tmp_path / "run" / "epoch.npz"

    found = checkpoint.load([(2, 3), ()])
    assert found is not None
    assert same(found.variables, [np.arange(6.0).reshape(2, 3), np.array(7)])
    assert found.figures == {"epochs": []}
    assert checkpoint.load([(2, 3)]) is None
    assert checkpoint.load([(3, 2), ()]) is None

    whole = file.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert checkpoint.load([(2, 3), ()]) is None


def test_run_is_named_only_by_what_its_result_depends_on():
    named = name_run(parse(), "d" * 64)

    assert name_run(parse("gate.class_drop_photos=9"), "d" * 64) == named
    assert name_run(parse("train.epochs=4"), "d" * 64) != named
    assert name_run(parse("model.cnn.dropout=0.3"), "d" * 64) != named
    assert name_run(parse(), "e" * 64) != named


def test_it_stops_early_without_improvement(tmp_path):
    workspace = write_workspace(tmp_path)

    document = run(
        workspace, "train.epochs=9", "train.early_stopping.patience=2", "train.early_stopping.min_delta=50.0"
    )

    assert (document["epochs_run"], document["best_epoch"]) == (3, 1)


def test_diverging_training_is_reported_and_the_old_candidate_stays(tmp_path, monkeypatch):
    workspace = write_workspace(tmp_path)
    run(workspace, "train.epochs=1")
    before = files(workspace.candidate)
    monkeypatch.setitem(ARCHITECTURES, "linear", lambda image, _: keras.ops.log(-1 - keras.layers.Flatten()(image)))

    with pytest.raises(OrchardError, match="training diverged in epoch 1: the loss is nan") as caught:
        run(workspace, "model.architecture=linear")

    assert "learning_rate" in caught.value.hint
    assert files(workspace.candidate) == before


@pytest.fixture
def cli(workspace, capsys):
    """Run `orchard train`; returns the exit code and the error's document."""
    (workspace / "params.yaml").write_text(yaml.safe_dump(parse().model_dump(mode="json")))

    def call(*options):
        code = main(["train", "--json", *options])
        return code, json.loads(capsys.readouterr().out)

    return call


def test_command_prints_its_result(workspace, cli):
    write_workspace(workspace)

    code, document = cli("--set", "train.epochs=1")

    assert code == 0
    assert document["epochs_run"] == document["best_epoch"] == 1
    assert document["candidate"] == str(Path("artifacts/candidate"))
    assert 0 <= document["val_accuracy"] <= 1
    assert document["parameters"] == 5 * 5 * 3 * 6 + 3 * 3 * 6 * 8 + 2 * (6 + 8) + 8 * 4 + 4
    assert document["peak_rss_bytes"] > 1e8


def test_typo_is_reported_before_anything_is_read(cli):
    code, document = cli("--set", "train.epoch=1")

    assert code == 3
    assert "train.epoch: no such key; did you mean epochs?" in document["error"]["message"]


def test_typo_in_the_gates_section_is_refused_before_training(workspace, cli):
    write_workspace(workspace)
    document = parse().document
    (workspace / "params.yaml").write_text(yaml.safe_dump({**document, "gate": {"acuracy": {"all": 0.9}}}))

    code, found = cli()

    assert code == 3
    assert "gate.acuracy: no such key; did you mean accuracy?" in found["error"]["message"]
    assert not (workspace / "artifacts").exists()


def test_missing_dataset_is_reported_with_the_verbs_that_make_one(workspace, cli):
    code, document = cli()

    assert code == 4
    assert "orchard ingest" in document["error"]["hint"]
    assert "orchard pull" in document["error"]["hint"]
    assert not (workspace / "artifacts").exists()


def test_class_without_training_photos_is_named(tmp_path):
    photos = [row for row in PHOTOS if row.label != "Red" or row.split == "test"]

    with pytest.raises(DataError, match="no training photo of Red"):
        run(write_workspace(tmp_path, photos))


def test_too_few_photos_for_validation_is_reported(tmp_path):
    photos = rows(dict.fromkeys(COLOURS, 1), split="train")

    with pytest.raises(DataError, match="leave no validation photo"):
        run(write_workspace(tmp_path, photos))


def test_photo_that_cannot_be_decoded_is_named(tmp_path):
    bad = rows({"Red": 1}, split="train", first=77)[0]
    bad = type(bad)(b"only text", "Red", "train", "turntable", "77_100.jpg")

    with pytest.raises(DataError, match=r"77_100\.jpg of 'Red' .* cannot be decoded: .*expected a JPEG or PNG photo"):
        run(write_workspace(tmp_path, [*PHOTOS, bad]))


def test_flipped_byte_in_a_shard_is_found(tmp_path):
    workspace = write_workspace(tmp_path)
    shard = sorted(workspace.dataset("fruits").glob("*.parquet"))[0]
    body = bytearray(shard.read_bytes())
    body[len(body) // 2] ^= 1
    shard.write_bytes(body)

    with pytest.raises(IntegrityError, match="is damaged"):
        run(workspace)
    assert not workspace.candidate.exists()
