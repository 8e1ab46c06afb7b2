"""`orchard init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from training.project.photo_survey import PhotoSurvey


@verb(
    group="Data",
    extra="training",
    examples=(
        "orchard init signs --photos ~/photos/signs         # a folder: <class>/*.jpg, or <split>/<class>/*.jpg\n"
        "orchard init signs --photos signs.zip              # an archive with the same folders in it\n"
        "orchard init signs --photos photos --labels labels.csv # a file says what each photo is: file,label\n"
        "orchard init signs --photos signs.tar.gz --network # with a Keras network of your own in model.py\n"
        "orchard init work/cells --photos cells --any-class # classes that the photos do not have yet may come"
    ),
)
@click.argument("folder", metavar="NAME", type=click.Path(path_type=Path))
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="The photos: a folder, a tar or a zip archive. They are looked at, not copied.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file that says what each photo is, here or in PATH, as of `orchard ingest`.",
)
@click.option("--network", is_flag=True, help="Write model.py, a small Keras network to change, and train that.")
@click.option("--any-class", is_flag=True, help="Allow any class in data/schema.yaml, instead of those of the photos.")
def init(
    reporter: Reporter, *, folder: Path, photos: Path, labels: Path | None, network: bool, any_class: bool
) -> None:
    """Make a project of your own from a folder of photos: NAME/, with all that the other verbs need.

    The folders of PATH say what the photos are: <class>/<photo>, or <split>/<class>/<photo> with the splits train and
    test; or --labels names a file that says it. The photos are counted and a sample is decoded; nothing is copied. NAME/
    gets params.yaml (the model, its training, the gate), data/schema.yaml (the rules for these photos), dvc.yaml (the
    pipeline), a Dockerfile, a git repository, a .env with the place of the photos, and a README.md with the next commands:
    `orchard run` does all the rest. The folder's name is the name of the dataset and of the model: params.yaml has it, and
    verbs that run in NAME/ read it there.

    A project needs no checkout of Orchard, only the installed command. A folder that has something in it is refused, and
    an interrupted run leaves nothing.
    """
    from training.project.photo_survey import survey
    from training.project.project_files import env_text, project_files
    from training.project.project_readme import next_commands, readme_text
    from training.project.scaffold import create, has_own_settings, require_free, require_project_name
    from training.project.survey_warnings import survey_warnings

    name = require_project_name(folder)
    require_free(folder)  # before the photos are looked at, which may take minutes
    found = survey(photos, reporter, labels)
    files = project_files(name, found, network=network, listed=not any_class)
    remembered = has_own_settings(folder)
    files["README.md"] = readme_text(name, found, folder, network=network, remembered=remembered)
    if remembered:
        files[".env"] = env_text(found, folder)
    made_git = create(folder, files)
    warnings = survey_warnings(found)
    document: dict[str, Any] = {
        "project": str(folder),
        "name": name,
        "photos": found.photos,
        "classes": list(found.classes),
        "splits": list(found.splits),
        "decoded": len(found.decoded),
        "files": sorted(files),
        "git": made_git,
        "warnings": list(warnings),
        "next": list(next_commands(found, folder, remembered=remembered)),
    }
    reporter.result(document, _text(document, found))


def _text(document: dict[str, Any], found: PhotoSurvey) -> str:
    shortest, longest = min(map(min, found.decoded)), max(map(max, found.decoded))
    sides = f"{shortest} to {longest}" if shortest < longest else str(shortest)
    splits = (
        f"in {' and '.join(found.splits)}" if found.splits else "without splits: a fifth of each class is for the test"
    )
    lines = [
        f"{document['project']}/: a project for {found.photos} photos of {len(found.classes)} classes, {splits}; "
        f"{sides} pixels a side",
        *(f"warning: {warning}" for warning in document["warnings"]),
        f"next, and explained in {document['project']}/README.md:",
        *(f"  {command}" for command in (f"cd {document['project']}", *document["next"])),
    ]
    return "\n".join(lines)
