"""params.yaml: a valid file is read exactly; an invalid one is refused with every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchard import documents
from orchard.errors import ParamsError
from orchard.gate import GateThresholds
from training import params

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "params.yaml").read_text()


def refusal(text=TEXT, overrides=()):
    with pytest.raises(ParamsError) as caught:
        params.parse(text, overrides=overrides)
    assert caught.value.exit_code == 3
    return caught.value.message


def with_sections(**sections):
    return yaml.safe_dump({**yaml.safe_load(TEXT), **sections})


def test_the_checkouts_params_are_valid():
    found = params.load(CHECKOUT / "params.yaml")

    assert found.model_dump(mode="json") == yaml.safe_load(TEXT)


def test_every_problem_is_listed_at_once():
    broken = TEXT.replace("epochs: ", "epoch: ", 1).replace("name: adam", "name: adm").replace("seed: 7", "seed: true")

    lines = refusal(broken).splitlines()

    assert "  train.epoch: no such key; did you mean epochs?" in lines
    assert "  train.epochs: missing" in lines
    assert any(line.startswith("  train.optimizer.name: input should be 'adam', 'rmsprop' or 'sgd'") for line in lines)
    assert any(line.startswith("  train.seed: ") and line.endswith("it is True") for line in lines)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train.epochs=0", "the file: train.epochs is 0, but only a network with pretrained weights"),
        ("train.epochs=-1", "train.epochs"),
        ("train.epochs=3.0", "train.epochs"),
        ("train.batch_size='64'", "train.batch_size"),
        ("train.optimizer.learning_rate=-1", "train.optimizer.learning_rate"),
        ("train.optimizer.learning_rate=.nan", "train.optimizer.learning_rate"),
        ("train.validation.share=1", "train.validation.share"),
        ("model.cnn.dropout=1", "model.cnn.dropout"),
        ("model.cnn.filters=[]", "model.cnn.filters"),
        ("model.cnn.filters=[8, 0]", "model.cnn.filters.1"),
        ("model.architecture=resnet", "model.architecture: expected cnn, linear, mobilenet_v2"),
        ("model.architecture=mobilenet_v3", "model.architecture: "),
        ("model.architecture='package.module:'", "model.architecture"),
        ("model.weights=imagenet", "model: weights is imagenet, but cnn has only random weights"),
        (
            "model.architecture=mobilenet_v2",
            "model: mobilenet_v2 is trained from its own weights only: weights: imagenet",
        ),
        ("model.resize=pad", "model.resize"),
        ("model.coverage=1.0", "model.coverage"),
        ("train.repeat={shop: 0}", "train.repeat.shop"),
        ("data.name=../etc", "data.name"),
        ("train.schedule.warmup_epochs=9999", "train: schedule.warmup_epochs is 9999, more than all"),
        ("model.image_size=12", "model: image_size 12 is too small for"),
        ("train=3", "train"),
    ],
)
def test_impossible_value_is_refused_with_its_place(override, problem):
    assert f"  {problem}" in refusal(overrides=[override])


def test_number_that_yaml_reads_as_text_is_explained():
    message = refusal(overrides=["train.optimizer.learning_rate=2e-3"])

    assert "'2e-3', which YAML reads as text: write 0.002" in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train: [", "params.yaml is not valid YAML, line 1"),
        ("data: {}\ndata: {}\n", "line 2, column 1: the key 'data' is repeated"),
        ("", "params.yaml holds nothing, not sections of keys"),
        ("- data", "params.yaml holds a list, not sections of keys"),
    ],
)
def test_text_that_is_not_params_is_refused_with_its_place(text, problem):
    assert problem in refusal(text)


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(ParamsError, match=r"there is no .*params\.yaml"):
        params.load(tmp_path / "params.yaml")


def test_overrides_change_one_value():
    found = params.parse(TEXT, overrides=["train.epochs=3", "model.cnn.filters=[8, 16]"])

    assert found.train.epochs == 3
    assert found.model.cnn.filters == [8, 16]
    assert found.data == params.parse(TEXT).data


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train..epochs=3", "data.name.first=3"])
def test_override_that_sets_nothing_is_refused(override):
    assert override in refusal(overrides=[override])


def test_digest_is_of_the_values_not_of_the_text():
    same = yaml.safe_dump(yaml.safe_load(TEXT), sort_keys=True)

    assert params.parse(same).digest == params.parse(TEXT).digest
    assert params.parse(TEXT, overrides=["train.seed=8"]).digest != params.parse(TEXT).digest


def test_thresholds_of_the_gate_are_typed():
    gate = {"accuracy": {"shop": 0.9}, "photos": {"shop": 10}, "class_drop": {"shop": 0.1}, "class_drop_photos": 4}

    assert params.parse(with_sections(gate=gate)).gate == GateThresholds(**gate)
    assert params.parse(with_sections(gate={})).gate == GateThresholds()
    assert not params.parse(with_sections(evaluate={})).evaluate.baseline


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        ({"acuracy": {"shop": 0.9}}, "gate.acuracy: no such key; did you mean accuracy?"),
        ({"accuracy": 0.9}, "gate.accuracy"),
        ({"accuracy": {"shop": "0.9"}}, "gate.accuracy.shop"),
        ({"accuracy": {"shop": 93}}, "gate.accuracy.shop: expected a fraction from 0 to 1, not per cent; it is 93"),
        ({"drop": {"shop": -0.1}}, "gate.drop.shop: expected a fraction"),
        ({"drop": {"shop": float("nan")}}, "gate.drop.shop: input should be a finite number"),
        ({"photos": {"shop": 0}}, "gate.photos.shop: input should be greater than or equal to 1"),
        ({"class_drop_photos": 0}, "gate.class_drop_photos: input should be greater than or equal to 1"),
    ],
)
def test_thresholds_with_a_mistake_are_refused(gate, problem):
    assert f"  {problem}" in refusal(with_sections(gate=gate))


def test_typo_in_the_section_evaluate_is_refused():
    message = refusal(with_sections(evaluate={"basline": True}))

    assert "  evaluate.basline: no such key; did you mean baseline?" in message


@pytest.mark.parametrize(
    "gate", [{}, {"accuracy": {"all": 1}, "drop": {"shop": 0.05, "all": 0}}, {"photos": {"all": 5}}]
)
def test_digest_is_of_the_thresholds_as_they_are_written(gate):
    found = params.parse(with_sections(gate=gate, evaluate={}))

    assert documents.canonical_json(found.document["gate"]) == documents.canonical_json(gate)
    assert found.digest == documents.digest({**params.parse(TEXT).document, "gate": gate, "evaluate": {}})


def test_the_names_of_params_are_those_of_the_networks():
    from training.model.architectures import ARCHITECTURES
    from training.model.backbones.named import BACKBONES

    assert set(params.OWN_ARCHITECTURES) == set(ARCHITECTURES)
    assert set(params.BACKBONES) == set(BACKBONES)


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [
        ("mobilenet_v2", "imagenet"),
        ("MobileNetV3Small", "weights/small.weights.h5"),
        ("model:network", "random"),
        ("fruit.networks.small:build", "first.weights.h5"),
    ],
)
def test_networks_of_every_kind_are_named_the_same_way(architecture, weights):
    found = params.parse(TEXT, overrides=[f"model.architecture={architecture}", f"model.weights={weights}"])

    assert (found.model.architecture, found.model.weights) == (architecture, weights)


def test_files_of_before_the_later_keys_stay_valid_and_keep_their_digest():
    document = yaml.safe_load(TEXT)
    for section, names in {
        "model": ("weights", "resize", "coverage"),
        "train": ("sizes", "label_smoothing", "probe", "refit", "distillation"),
    }.items():
        for name in names:
            del document[section][name]
    before = params.parse(yaml.safe_dump(document))

    assert before.model == params.parse(TEXT).model
    assert before.train == params.parse(TEXT).train
    assert "weights" not in before.document["model"]


def test_the_profile_distill_is_the_profile_transfer_with_teachers():
    transfer, distill = (
        params.load(CHECKOUT / "params.yaml", profile=name).document for name in ("transfer", "distill")
    )

    assert len(distill["train"].pop("distillation")["teachers"]) == 3
    del transfer["train"]["distillation"]
    assert distill == transfer


def test_a_linear_probe_needs_no_epoch():
    overrides = ["train.epochs=0", "train.schedule.warmup_epochs=0", "model.architecture=mobilenet_v2"]

    assert params.parse(TEXT, overrides=[*overrides, "model.weights=imagenet"]).train.epochs == 0


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_any_value_is_accepted_or_refused_without_a_crash(value):
    document = yaml.safe_load(TEXT)
    document["train"]["epochs"] = value

    text = yaml.safe_dump(document)
    if type(value) is int and 1 <= value <= 10_000:
        assert params.parse(text).train.epochs == value
    else:
        assert "train.epochs" in refusal(text)


@given(st.text())
def test_any_text_is_refused_with_a_message(text):
    assert refusal(text)
