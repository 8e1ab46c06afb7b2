"""The next commands of a new project, and its README.md with them."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

from training.data.ingest.test_share import TEST_SHARE
from training.project.photo_survey import PhotoSurvey

__all__ = ["next_commands", "readme_text", "seen_from", "seen_labels"]

README = """# {name}

A model that tells {number} classes of photos apart: {classes}. Made by `orchard init`.

## The next commands

In this folder, with Orchard installed (`requirements.txt`):

    {run}
    orchard sync --serve
    orchard predict PHOTO

1. The whole loop as one recorded run: photos into the dataset, a check, a training, a test, the gate, a signed version, and the
   channel to it. If it is interrupted, the same command resumes it; without anything new it does nothing.{photos}
   Each mistake is in `artifacts/evaluation/page.html`. If the gate refuses the model, `artifacts/gate/page.html` says why.
2. The model server, until Ctrl-C. It follows the channel: the next run's model is served without a restart.
3. In another terminal, in this folder: the label of a photo. `orchard run` prints the command with a photo that training never saw.

`git add . && git commit` after each model keeps what made it: parameters, rules, and the names of all data. `orchard doctor` says what
this machine lacks, `orchard runs`, `orchard versions` and `orchard history` say what was.

## On a cluster

    orchard deploy

builds the image of the `Dockerfile`, installs Orchard's chart in the namespace `{name}` of the current kube context, trains there and
predicts a photo. It needs docker, kubectl, helm and Orchard's own images: `orchard deploy --help`.

## One step at a time

    {steps}

The first line is a shell with a store on this machine, until `exit`: `orchard run` and `orchard sync` start it themselves.
Its data and keys are in `.orchard/store`. Any other S3 store will do: set `ORCHARD_STORE_*` (`orchard settings` explains them).

## Where things are

| file | what it is |
|---|---|
| `params.yaml` | the model, its training, the gate. `data.name` is the name of dataset and model: it is set here alone |
| `data/schema.yaml` | the rules for photos: classes, the least number of photos, sizes |
| `dvc.yaml` | the pipeline; `dvc repro` runs what has changed |
| `requirements.txt` | the version of Orchard; after an upgrade write the new one, and the stages run again |
{network}| `Dockerfile` | the training image with this project in it, which `orchard deploy` builds |
| `.env` | where the photos are: `ORCHARD_PHOTOS`. It is this machine's: git ignores it |
| `.gitignore`, `.dvcignore`, `.dockerignore` | what is not versioned, searched or sent |
"""
OWN_NETWORK = (
    "| `model.py` | the network, a Keras function of your own; `model.architecture` in `params.yaml` names it |\n"
)


STEPS = (
    "orchard store run -- bash",
    "orchard ingest{photos}",
    "dvc repro",
    'orchard gate && orchard publish && orchard promote latest --why "first model"',
    "orchard sync --serve",
)
"""The loop as single commands."""


def next_commands(photos: PhotoSurvey, folder: Path, *, remembered: bool = True) -> tuple[str, ...]:
    """Return the commands after `orchard init`, which run in the project's folder.

    Args:
        photos: what was found.
        folder: the project's folder.
        remembered: whether the project's `.env` names the photos.
    """
    labels = f"ORCHARD_LABELS={quote(seen_labels(photos, folder))} " if photos.labels else ""
    run = "orchard run" if remembered else f"{labels}orchard run --photos {quote(seen_from(photos.source, folder))}"
    photo = quote(seen_from(photos.example, folder)) if photos.example else "PHOTO"
    return (run, "orchard sync --serve", f"orchard predict {photo}")


def readme_text(name: str, photos: PhotoSurvey, folder: Path, *, network: bool, remembered: bool = True) -> str:
    """Return README.md.

    Args:
        name: of the dataset and the model.
        photos: what was found.
        folder: the project's folder.
        network: whether the project has a network of its own.
        remembered: whether the project's `.env` names the photos.
    """
    source = "PATH" if photos.source.is_absolute() else quote(seen_from(photos.source, folder))  # it is committed
    given = photos.labels and (photos.labels.name if photos.labels.is_absolute() else seen_labels(photos, folder))
    labels = quote(given) if given else ""
    run = (
        "orchard run" if remembered else f"{f'ORCHARD_LABELS={labels} ' if labels else ''}orchard run --photos {source}"
    )
    shown = ", ".join(photos.classes[:5]) + ("" if len(photos.classes) <= 5 else ", …")
    split = "" if photos.splits else f" Nothing names a split: {TEST_SHARE:.0%} of each class are for the test."
    named = "" if remembered else f" {source}{f' --labels {labels}' if labels else ''} --test-share {TEST_SHARE:g}"
    return README.format(
        name=name,
        number=len(photos.classes),
        classes=shown,
        run=run,
        photos=split,
        steps="\n    ".join(STEPS).format(photos=named),
        network=OWN_NETWORK if network else "",
    )


def seen_labels(photos: PhotoSurvey, folder: Path) -> str:
    """Return the path of the label file of photos as the project's folder sees it, or its path in the photos' archive."""
    if photos.labels is None:
        raise ValueError("the photos have no label file")
    return seen_from(photos.labels, folder) if photos.labels.exists() else str(photos.labels)


def seen_from(path: Path, folder: Path) -> str:
    """Return a path as the project's folder sees it: relative if the user named it so."""
    return str(path) if path.is_absolute() else os.path.relpath(path, folder)
