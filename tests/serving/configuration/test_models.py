"""models.config: written files are read back, TF Serving's files are read, and errors have a position."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.models_config import All, ConfigError, Latest, ModelConfig, Specific, parse, render

NUMBERS = st.integers(0, (1 << 63) - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
POLICIES = st.one_of(
    st.just(All()),
    st.integers(1, 1000).map(Latest),
    st.sets(NUMBERS, min_size=1, max_size=4).map(lambda numbers: Specific(tuple(sorted(numbers)))),
)
MODELS = st.lists(
    st.builds(ModelConfig, TEXTS, TEXTS, POLICIES, st.dictionaries(TEXTS, NUMBERS, max_size=3)),
    max_size=4,
    unique_by=lambda model: model.name,
)


@given(MODELS)
def test_what_is_written_is_read_back(models):
    assert list(parse(render(models))) == models


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_read_or_refused_with_a_sentence(text):
    with suppress(ConfigError):
        assert isinstance(parse(text), tuple)


@given(MODELS, st.data())
def test_a_file_cut_anywhere_is_read_whole_or_refused(models, data):
    text = render(models)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    try:
        found = parse(cut)
    except ConfigError:
        return
    assert list(found) in (models, [])  # only white space, or everything, was cut


def test_every_form_of_the_text_format_is_read():
    text = """
    # a comment
    model_config_list: <
      config: { name: 'one' "-more", base_path: "/m/\\x6fne" model_platform: "tensorflow";
        model_version_policy { specific: { versions: [ 1, 0x2 ] versions: 3 } }
        version_labels { key: "stable", value: 1 }
        version_labels: { key: 'canary' value: 2 }
        logging_config { sampling_config { sampling_rate: 0.1 } } }
      config { name: "two" base_path: "/m/two" model_type: TENSORFLOW model_version_policy { latest { num_versions: 0 } } }
    >
    """
    assert parse(text) == (
        ModelConfig("one-more", "/m/one", Specific((1, 2, 3)), {"stable": 1, "canary": 2}),
        ModelConfig("two", "/m/two", Latest(1)),
    )
    assert parse("model_config_list {}") == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("# nothing yet\n", "there is no model_config_list"),
        (
            "model_config_list {\n  config { nam: 3 } }",
            '2:12: Message type "tensorflow.serving.ModelConfig" has no field named "nam"',
        ),
        ("model_config_list {\n config { name: 3 } }", "2:17: ' config { name: 3 } }': Expected string but found: '3'"),
        ("model_config_list { config { name: tensorflow } }", "Expected string but found: 'tensorflow'"),
        ("model_config_list { config { name: 'a' } }", "a config needs a base_path"),
        ("model_config_list { config {", '1:28: Expected "}"'),
        ("model_config_list { config } }", "1:28: "),
        ("model_config_list $ {}", "1:19: 'model_config_list $ {}': Expected \"{\""),
        ("custom_model_config {}", 'has no field named "custom_model_config"'),
        (
            "model_config_list { config { name: 'a' base_path: 'b' model_platform: 'caffe' } }",
            "only tensorflow is served",
        ),
        (
            "model_config_list { config { name: 'a' base_path: 'b' model_version_policy { all {} latest {} } } }",
            "another member of oneof",
        ),
        (
            "model_config_list { config { name: 'a' base_path: 'b' model_version_policy { specific {} } } }",
            "at least one version",
        ),
        ("model_config_list { config { name: 'a' base_path: 'b' version_labels { value: 1 } } }", "needs a key"),
        (
            "model_config_list { config { name: 'a' base_path: 'b' version_labels { key: 'k' value: -1 } } }",
            "value must be an integer",
        ),
        (
            "model_config_list { config { name: 'a' base_path: 'b' } config { name: 'a' base_path: 'c' } }",
            "in the file twice",
        ),
        ("a{" * 40, '1:1: Message type "tensorflow.serving.ModelServerConfig" has no field named "a"'),
        ("a:" + "1" * 5000, 'has no field named "a"'),
    ],
)
def test_a_mistake_is_named_with_its_place(text, place):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert place in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "model_config_list { config { name: 'a' name: 'b' base_path: 'c' } }",
        "model_config_list {} model_config_list {}",
        "model_config_list { config { name: 'a' base_path: 'b' version_labels { key: 'k' value: 1.5 } } }",
        "model_config_list { config { logging_config { custom_logging_config {"
        + "[type.googleapis.com/google.protobuf.Any] {" * 30_000,
    ],
)
def test_what_tf_serving_refuses_is_refused(text):
    with pytest.raises(ConfigError):
        parse(text)


def test_a_mistake_in_a_long_line_is_named_without_the_line():
    with pytest.raises(ConfigError) as caught:
        parse("model_config_list { config { base_path: '" + "x" * 1000 + "' name: 3 } }")

    assert caught.value.message.startswith("1:1050: ")
    assert caught.value.message.endswith("Expected string but found: '3'")
    assert len(caught.value.message) < 400


def test_writing_imports_no_protobuf():
    code = (
        "import sys; from serving.models_config import ModelConfig, render; render([ModelConfig('a', 'b')]); "
        "print('google.protobuf' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
