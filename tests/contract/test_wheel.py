"""The wheel, built from the sdist, without the checkout: a project that it made goes from photos to a served prediction."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests import drawn_photos
from tests.contract.documented_commands import read_commands
from tests.first_hour import SERVE, TINY, FirstHour, build_wheel, edit

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "#!{python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"


class Installation:
    """A virtual environment with the wheel alone; it sees the packages of this one, and not the checkout."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        self.packages = next(folder.glob("lib/python*/site-packages"))
        with zipfile.ZipFile(wheel) as content:
            content.extractall(self.packages)  # our own wheel
        # a folder that a .pth names is no site folder: the .pth of the editable installation in it is not read
        (self.packages / "others.pth").write_text(sysconfig.get_path("purelib"))
        for name, module in {"orchard": "orchard.cli", "dvc": "dvc.cli"}.items():
            script = folder / "bin" / name
            script.write_text(SCRIPT.format(python=self.python, module=module))
            script.chmod(0o755)
        programs = [self.python.parent, Path(sysconfig.get_path("scripts"))]  # then weed
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
        for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):  # without bytecode, each process compiles TensorFlow
            self.environment.pop(name, None)

    def run(self, *command: str | Path, cwd: Path) -> str:
        """Run a command; return what it printed."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, as `pip install` makes it of the sdist."""
    return build_wheel(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    return Installation(tmp_path_factory.mktemp("installed") / "environment", wheel)


def test_wheel_has_every_file_that_is_no_python(wheel):
    listed = subprocess.run(
        ["git", "ls-files", "training"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    data = {name for name in listed.splitlines() if re.search(r"/(templates|defaults)/", name)}

    with zipfile.ZipFile(wheel) as content:
        inside = {name: content.read(name) for name in content.namelist() if name in data}

    assert inside == {name: (ROOT / name).read_bytes() for name in data}
    assert data


def test_wheel_has_the_chart(wheel):
    listed = subprocess.run(
        ["git", "ls-files", "charts/orchard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()

    with zipfile.ZipFile(wheel) as content:
        prefix = "orchestration/cluster/chart/"
        inside = {
            name.removeprefix(prefix): content.read(name) for name in content.namelist() if name.startswith(prefix)
        }

    assert inside == {name.removeprefix("charts/orchard/"): (ROOT / name).read_bytes() for name in listed}


def test_checkout_is_not_importable(installed, tmp_path):
    code = "import importlib.util as u, orchard, training; print(orchard.__file__, training.__file__, u.find_spec('bench'))"

    files = installed.run(installed.python, "-c", code, cwd=tmp_path).split()

    assert files[2] == "None"
    assert all(Path(file).is_relative_to(installed.packages) for file in files[:2])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_first_hour_goes_from_photos_to_a_served_prediction(installed, tmp_path):
    """The six commands of docs/project.md; `installed` stands for `pip install`."""
    page = (ROOT / "docs/project.md").read_text()
    blocks = [command.text for command in read_commands("docs/project.md", page) if command.place == "block"]
    pip, init, enter, run, serve, predict = map(shlex.split, blocks[:6])
    assert (pip[:2], serve, predict) == (["pip", "install"], SERVE.split(), ["orchard", "predict", "PHOTO"])
    drawn_photos.fill(tmp_path / "my photos", "arrows", 14)
    hour = FirstHour(tmp_path, installed.environment)
    hour.run(*(word.replace("signs.tar.gz", "my photos") for word in init), "--network")
    hour.enter(enter[1])
    edit(hour.folder / "params.yaml", {**TINY, "photos: {all: 20}": "photos: {all: 1}"})

    document = json.loads(hour.run(*run, "--json").splitlines()[-1])
    (prediction,) = hour.predict_while_served("signs", document["next"][1])

    assert (document["version"], document["verdict"]) == (1, "accepted")
    assert prediction["label"] in drawn_photos.DIRECTIONS
    assert len(hour.commands) == 5, "and pip install is the sixth"
    assert not (hour.folder / ".orchard/store/running.json").exists()
    requirements = hour.folder / "requirements.txt"
    requirements.write_text(re.sub("==.*", "==99", requirements.read_text()))
    assert hour.run("dvc", "status").count("requirements.txt") == 3, "an upgrade runs the stages again"
