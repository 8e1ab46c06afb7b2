"""What the programs read beside their Python is in the wheel too: pods have no checkout."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("orchard", "training", "serving", "orchestration")

NOT_INSTALLED = ("README.md", "Dockerfile", "orchestration/airflow/home/airflow.cfg")
"""Names and paths for people, for the builder, and of Airflow's image, which copies its home."""


def files_of(name: str) -> list[PurePosixPath]:
    """Return a file, or the tracked files of the folder that a link points to, as paths in the link."""
    if not (ROOT / name).is_dir():
        return [PurePosixPath(name)]
    target = (ROOT / name).resolve().relative_to(ROOT).as_posix()
    inside = subprocess.run(["git", "ls-files", target], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [PurePosixPath(name, PurePosixPath(line).relative_to(target)) for line in inside.splitlines()]


def test_every_file_that_is_no_python_is_package_data():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [path for line in listed.splitlines() for path in files_of(line) if path.suffix != ".py"]
    needed = [path for path in paths if path.name not in NOT_INSTALLED and str(path) not in NOT_INSTALLED]

    def is_data(path: PurePosixPath) -> bool:
        package, rest = path.parts[0], PurePosixPath(*path.parts[1:])
        return any(path.match(pattern) for pattern in patterns["*"]) or any(
            rest.full_match(pattern) if hasattr(rest, "full_match") else rest.match(pattern)
            for pattern in patterns.get(package, ())
        )

    assert needed
    assert not [str(path) for path in needed if not is_data(path)]


def test_what_package_data_links_to_is_copied_into_the_builder_of_the_training_image():
    links = [path for path in (ROOT / "training/project/defaults").iterdir() if path.is_symlink()]
    targets = {path.resolve().relative_to(ROOT).as_posix() for path in links}
    copied = set()
    for line in (ROOT / "training/Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and line.split()[-1].startswith("/src/"):
            *names, place = line.split()[1:]
            copied |= {place + PurePosixPath(name).name if place.endswith("/") else place for name in names}

    assert targets
    assert {f"/src/{name}" for name in targets} <= copied
