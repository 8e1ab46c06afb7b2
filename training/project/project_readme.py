"""The next commands of a new project, and its README.md with them."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

from training.project.photo_survey import TEST_SHARE, PhotoSurvey

__all__ = ["next_commands", "readme_text"]

README = """# {name}

A model that tells {number} classes of photos apart: {classes}. Made by `orchard init`.

## The next commands

In this folder, with Orchard installed (`requirements.txt`):

    {store}
    {ingest}
    {train}
    {release}
    {serve}

1. A store on this machine, as long as the shell lasts; `exit` stops it. Data and keys are in `.orchard/store`. Any other S3
   store will do: set `ORCHARD_STORE_*` instead (`orchard settings` explains them).
2. Each photo is decoded, or rejected with a reason, and the dataset gets a version.{split}
3. The pipeline of `dvc.yaml`: the dataset is checked, a network learns, each test photo is asked once. Its page with every
   mistake is `artifacts/evaluation/page.html`.
4. The gate compares the model with the thresholds of `params.yaml` and with the version that is served; then the model is
   published, signed, and the channel points to it. If the gate refuses it, `artifacts/gate/page.html` says why.
5. Sync and the model server run until Ctrl-C. In another terminal, in this folder: `{predict}`.

`git add . && git commit` after each model keeps what made it: parameters, rules, and the names of all data.

## Where things are

| file | what it is |
|---|---|
| `params.yaml` | the model, its training, the gate. `data.name` is the name of dataset and model: it is set here alone |
| `data/schema.yaml` | the rules for photos: classes, the least number of photos, sizes |
| `dvc.yaml` | the pipeline; `dvc repro` runs what has changed |
| `requirements.txt` | the version of Orchard; after an upgrade write the new one, and the stages run again |
{network}| `Dockerfile` | the training image with this project in it: `docker build --tag {name}-training .` |
| `.gitignore`, `.dvcignore`, `.dockerignore` | what is not versioned, searched or sent |
"""
OWN_NETWORK = (
    "| `model.py` | the network, a Keras function of your own; `model.architecture` in `params.yaml` names it |\n"
)


def next_commands(photos: PhotoSurvey, folder: Path) -> tuple[str, ...]:
    """Return the five commands after `orchard init`, which run in the project's folder.

    Args:
        photos: what was found.
        folder: the project's folder.
    """
    share = "" if photos.splits else f" --test-share {TEST_SHARE:g}"
    return (
        "orchard store run -- bash",
        f"orchard ingest {_from(photos.source, folder)}{_labels(photos, folder)}{share}",
        "dvc repro",
        'orchard gate && orchard publish && orchard promote latest --why "first model"',
        "orchard sync --serve",
    )


def _labels(photos: PhotoSurvey, folder: Path) -> str:
    """The option that names the label file: as the project's folder sees it, or its path in the photos' archive."""
    if photos.labels is None:
        return ""
    return f" --labels {_from(photos.labels, folder) if photos.labels.exists() else quote(str(photos.labels))}"


def readme_text(name: str, photos: PhotoSurvey, folder: Path, *, network: bool) -> str:
    """Return README.md.

    Args:
        name: of the dataset and the model.
        photos: what was found.
        folder: the project's folder.
        network: whether the project has a network of its own.
    """
    store, ingest, train, release, serve = next_commands(photos, folder)
    shown = ", ".join(photos.classes[:5]) + ("" if len(photos.classes) <= 5 else ", …")
    split = "" if photos.splits else f" Nothing names a split: {TEST_SHARE:.0%} of each class are for the test."
    return README.format(
        name=name,
        number=len(photos.classes),
        classes=shown,
        store=store,
        ingest=ingest,
        train=train,
        release=release,
        serve=serve,
        split=split,
        predict=f"orchard predict {_from(photos.example, folder) if photos.example else 'PHOTO'}",
        network=OWN_NETWORK if network else "",
    )


def _from(path: Path, folder: Path) -> str:
    """Return a path as the project's folder sees it: relative if the user named it so."""
    return quote(str(path) if path.is_absolute() else os.path.relpath(path, folder))
