"""A project's files are this program's own parameters, rules and pipeline, changed for photos of anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from orchard.overrides import merge_params
from training import params
from training.data import schema
from training.project.photo_survey import PhotoSurvey
from training.project.project_files import NETWORK, params_text, pipeline_text, project_files, schema_text
from training.project.yaml_lines import YamlValue, change, keep, read

ROOT = Path(__file__).resolve().parents[2]
STRANGE = ["yes", "null", "007", "a, b", "a: b", "# a", "- a", "é à", "'", "1e3", "~", "2024-01-01", "{a}", "!x"]


def survey(classes=("left", "right"), photos=50, sides=((640, 480),), splits=("",)):
    counts = {(split, label): photos for split in splits for label in classes}
    return PhotoSurvey(Path("photos"), counts, tuple(sides), (), None)


def parsed(name):
    return yaml.safe_load((ROOT / name).read_text())


def test_parameters_are_those_of_the_checkout_with_the_profile_for_photos():
    expected = merge_params(parsed("params.yaml"), parsed("params.photos.yaml"))
    expected["data"]["name"] = "signs"
    expected["train"]["repeat"] = {}

    text = params_text("signs", survey())

    assert yaml.safe_load(text) == expected
    assert params.parse(text).data.name == "signs"
    assert list(yaml.safe_load(text)) == list(expected)


def test_every_comment_of_the_parameters_is_kept_or_replaced():
    text = params_text("signs", survey())

    assert "# the smallest accuracy\n" in text
    assert "# true: predictions are the mean over a photo and its mirror image" in text
    bare = [path for path, value in read(text).items() if value.text and not value.comment]
    assert bare == [("model", "architecture"), ("train", "validation", "share")]  # theirs are above or in the section


@pytest.mark.parametrize("sides", [((640, 480),), ((8, 8), (16, 8))])
def test_nothing_speaks_of_this_projects_own_photos(sides):
    found = survey(sides=sides)
    files = [params_text("signs", found, network=True), schema_text("signs", found), pipeline_text(network=True)]

    assert not re.search(r"fruit|turntable|shop|workshop|orchard/|training/", "".join(files), re.IGNORECASE)


def test_gate_and_repeat_name_no_source():
    document = yaml.safe_load(params_text("signs", survey()))

    assert {name for section in document["gate"].values() for name in section} == {"all"}
    assert document["train"]["repeat"] == {}


def test_small_photos_have_a_small_network():
    small = survey(sides=[(8, 8), (16, 8)])

    assert yaml.safe_load(params_text("digits", small))["model"]["image_size"] == 32
    assert yaml.safe_load(schema_text("digits", small))["defaults"]["side"]["min"] == 4


def test_schema_lists_the_classes_with_any_name(tmp_path):
    (tmp_path / "schema.yaml").write_text(schema_text("own", survey(STRANGE)))

    rules = schema.load(tmp_path / "schema.yaml").rules("own")

    assert rules.known == tuple(sorted(STRANGE))
    assert (rules.side, rules.photos, rules.balance) == (schema.SideLimits(), schema.MinimumCounts(), 20)


def test_schema_without_a_list_is_the_defaults(tmp_path):
    (tmp_path / "schema.yaml").write_text(schema_text("own", survey(), listed=False))

    assert schema.load(tmp_path / "schema.yaml") == schema.Schema()


def test_schema_allows_what_few_and_uneven_photos_have(tmp_path):
    found = PhotoSurvey(Path("photos"), {("", "a"): 500, ("", "b"): 4}, ((64, 64),), (), None)
    (tmp_path / "schema.yaml").write_text(schema_text("own", found))

    rules = schema.load(tmp_path / "schema.yaml").rules("own")

    assert rules.photos.train == 3
    assert rules.balance >= 400 / 3


def test_pipeline_is_the_checkouts_and_depends_on_the_installed_version_instead_of_its_code():
    own, ours = yaml.safe_load(pipeline_text(network=True)), parsed("dvc.yaml")

    assert own["plots"] == ours["plots"]
    for name, stage in ours["stages"].items():
        code = [path for path in stage["deps"] if path.endswith((".py", ".html"))]
        expected = [path for path in stage["deps"] if path not in code] + ["model.py"] * (name == "train")
        assert own["stages"][name] == stage | {"deps": [*expected, "requirements.txt"]}
        assert code


def test_network_of_its_own_is_named_written_and_watched():
    files = project_files("signs", survey(), network=True, listed=True)

    assert params.parse(files["params.yaml"]).model.architecture == NETWORK
    assert f"def {NETWORK.partition(':')[2]}(" in files["model.py"]
    assert "model.py" not in project_files("signs", survey(), network=False, listed=True)


def test_image_of_a_project_is_the_training_image_of_this_version():
    images = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "images.env").read_text(), re.MULTILINE))
    lines = project_files("signs", survey(), network=False, listed=True)["Dockerfile"].splitlines()

    assert lines[:2] == [f"ARG TRAINING_IMAGE={images['TRAINING_IMAGE']}", "FROM ${TRAINING_IMAGE}"]
    assert len(lines) == 4


TEXT = """# head: not a key
a: # section
  # above b
  b: 1 # one
  c: {x: 1}

d:
  e: [1, 2] # two
  f: text
"""


def test_values_change_and_comments_stay():
    changed = change(
        TEXT, {("a", "b"): YamlValue("2"), ("d", "e"): YamlValue("\n    - 7", "now"), ("d",): YamlValue("", "new")}
    )

    edits = {"b: 1 #": "b: 2 #", "e: [1, 2] # two": "e: # now\n    - 7", "\nd:": "\nd: # new"}
    expected = TEXT
    for old, new in edits.items():
        expected = expected.replace(old, new)
    assert changed == expected
    assert change(TEXT, {}) == TEXT


def test_keys_are_left_out_with_what_is_below_them():
    assert yaml.safe_load(keep(TEXT, lambda path: path != ("a",))) == {"d": {"e": [1, 2], "f": "text"}}
    assert keep(TEXT, lambda path: path != ("d", "e")) == TEXT.replace("  e: [1, 2] # two\n", "")
