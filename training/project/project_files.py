"""The texts of a new project's files. Parameters, rules and pipeline are this program's own, changed for any photos."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from orchard import __version__
from orchard.env_files import line
from orchard.errors import DISTRIBUTION, OrchardError
from training.project.photo_survey import PhotoSurvey
from training.project.project_readme import seen_from, seen_labels
from training.project.yaml_lines import KeyPath, YamlValue, change, keep, read

__all__ = ["NETWORK", "env_text", "params_text", "pipeline_text", "project_files", "schema_text"]

NETWORK = "model:network"
"""`model.architecture` of a project with a network of its own, and where it is."""

HERE = Path(__file__).parent
SMALL = 32
"""Pixels: smaller photos have a network of this size."""

_CODE = re.compile(r"      # code, written by `make docs`:\n(?:      - [^\n]*\n)*")
_DEFAULT_RULES = re.compile(r"^defaults:\n(?:  .*\n)+", re.MULTILINE)
_REQUIREMENTS = "requirements.txt"

PIPELINE_HEAD = """# The pipeline from a dataset to a judged candidate, for `dvc repro`: what has not changed does not run again.
# `orchard ingest`, `gate`, `publish` and `promote` touch the store, and are no stages.
"""
SCHEMA_HEAD = """# The rules for the photos. `orchard ingest` checks photos against them, `orchard validate` checks the whole dataset.
# A typo is an error.
format: 1

"""
SCHEMA_TAIL = """
# What the model card says about the data, for example:
# cards:
#   {name}:
#     purpose: tells apart …
#     sources: {{SOURCE: {{title: …, by: …, licence: CC-BY-4.0, content: …}}}}
#     limits: [a sentence on what these photos cannot measure]
"""
GITIGNORE = """# what programs make on this machine: the embedded store with its keys, checkpoints, environments
.orchard/
.venv/
.env
.env.*
__pycache__/
# what the pipeline makes; DVC tracks it, the store keeps it
/artifacts/
# (by file: DVC reads the pattern /data/*/ as all of data/ and would not see data/*.dvc)
/data/*/*.parquet
/data/*/index.json
/data/.staging*
"""
ENV = """# Settings of this machine, which git ignores: `orchard settings` lists them all. A relative path begins in this folder.
"""
DOCKERFILE = """ARG TRAINING_IMAGE=orchard-training:{version}
FROM ${{TRAINING_IMAGE}}
COPY params.yaml *.py /opt/orchard/project/
COPY data/schema.yaml /opt/orchard/project/data/schema.yaml
"""
DOCKERIGNORE = """# What the image is built from, and nothing else: no photos and no keys.
*
!params.yaml
!*.py
!data/schema.yaml
"""
REQUIREMENTS = f"""# The stages of dvc.yaml depend on this file: after an upgrade, write the new version here and they run again.
# {DISTRIBUTION} is not on the package index: install its wheel, then what it needs.
{DISTRIBUTION}[training,serving,store]=={{version}}
"""


def _default(name: str) -> str:
    """Return a file of this program, which is in the wheel too."""
    try:
        return (HERE / "defaults" / name).read_text(encoding="utf-8")
    except OSError as error:
        raise OrchardError(
            f"this installation lacks a part of Orchard: {error}",
            hint="install Orchard again",
        ) from error


def params_text(name: str, photos: PhotoSurvey, *, network: bool = False) -> str:
    """Return params.yaml: this program's own, with the profile `photos` and its comments in it.

    Args:
        name: of the dataset and the model.
        photos: what was found.
        network: whether the project has a network of its own.
    """
    profile = read(_default("params.photos.yaml"))
    own: dict[KeyPath, YamlValue] = {
        ("data", "name"): YamlValue(
            name,
            "the dataset, data/<name>/, and the model: verbs in this folder read it here, unless ORCHARD_* say otherwise",
        ),
        ("train", "repeat"): YamlValue("{}", "for example {phone: 3}; `orchard validate` shows the sources"),
    }
    if max(min(side) for side in photos.decoded) < SMALL:
        own["model", "image_size"] = YamlValue(str(SMALL), profile["model", "image_size"].comment)
    if network:
        own["model", "architecture"] = YamlValue(NETWORK)
    text = keep(_default("params.yaml"), lambda path: path[0] != "gate" or path in profile)
    return change(text, {**profile, **own}).replace("docs/training.md", "Orchard's docs/training.md")


def schema_text(name: str, photos: PhotoSurvey, *, listed: bool = True) -> str:
    """Return data/schema.yaml: the default rules, with the classes of the photos and room for what they are.

    Args:
        name: of the dataset.
        photos: what was found.
        listed: list the classes, so that another one is an error; else any class is allowed.
    """
    defaults = _DEFAULT_RULES.search(_default("schema.yaml"))
    assert defaults is not None  # noqa: S101  # a test reads it
    return SCHEMA_HEAD + change(defaults[0], _rules(photos, listed)) + SCHEMA_TAIL.format(name=name)


def _rules(photos: PhotoSurvey, listed: bool) -> dict[KeyPath, YamlValue]:
    rules: dict[KeyPath, YamlValue] = {}
    if listed:
        names = yaml.safe_dump(list(photos.classes), allow_unicode=True, width=1000, default_flow_style=False)
        block = "".join(f"\n    {line}" for line in names.splitlines())
        rules["defaults", "classes"] = YamlValue(block, "another class is an error; `any` allows all")
    now = read(_default("schema.yaml"))
    limits = yaml.safe_load(now["defaults", "side"].text)
    shortest, longest = min(map(min, photos.decoded)), max(map(max, photos.decoded))
    least = limits["min"] if shortest >= limits["min"] else max(1, shortest // 2)
    most = max(limits["max"], 2 * longest)
    seen = f"pixels; the {len(photos.decoded)} photos that `orchard init` decoded have {shortest} to {longest}"
    rules["defaults", "side"] = YamlValue(f"{{min: {least}, max: {most}}}", seen)
    fewest = yaml.safe_load(now["defaults", "photos"].text)
    train, test = (min(photos.expected(split).values()) for split in ("train", "test"))
    wanted = f"{{train: {min(fewest['train'], train)}, test: {min(fewest['test'], test)}}}"
    rules["defaults", "photos"] = YamlValue(wanted)
    counts = [number for number in photos.expected("train").values() if number]
    if counts and max(counts) > float(now["defaults", "balance"].text) * min(counts):
        rules["defaults", "balance"] = YamlValue(str(-(-max(counts) // min(counts))))
    return rules


def pipeline_text(*, network: bool = False) -> str:
    """Return dvc.yaml: this program's pipeline, whose stages depend on the installed version instead of its code."""
    text = _CODE.sub(
        f"      - {_REQUIREMENTS} # another version of Orchard runs the stage again\n", _default("pipeline.yaml")
    )
    text = PIPELINE_HEAD + text[text.index("stages:\n") :]
    if network:
        train, rest = text.index("\n  train:\n"), f"      - {_REQUIREMENTS}"
        place = text.index(rest, train)
        text = f"{text[:place]}      - model.py\n{text[place:]}"
    return text


def env_text(photos: PhotoSurvey, folder: Path) -> str:
    """Return `.env`, which is this machine's: where the photos are, and their label file, as the project's folder sees them."""
    labels = line("ORCHARD_LABELS", seen_labels(photos, folder)) if photos.labels else ""
    return ENV + line("ORCHARD_PHOTOS", seen_from(photos.source, folder)) + labels


def project_files(name: str, photos: PhotoSurvey, *, network: bool, listed: bool) -> dict[str, str]:
    """Return the text of each file of a project by its path, without README.md.

    Args:
        name: of the dataset and the model.
        photos: what was found.
        network: write a network of its own.
        listed: list the classes in the schema.
    """
    files = {
        "params.yaml": params_text(name, photos, network=network),
        "data/schema.yaml": schema_text(name, photos, listed=listed),
        "dvc.yaml": pipeline_text(network=network),
        _REQUIREMENTS: REQUIREMENTS.format(version=__version__),
        ".gitignore": GITIGNORE,
        "Dockerfile": DOCKERFILE.format(version=__version__),
        ".dockerignore": DOCKERIGNORE,
    }
    if network:
        files["model.py"] = (HERE / "own_network.py").read_text(encoding="utf-8")
    return files
