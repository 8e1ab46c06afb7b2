"""The wheel, built from the sdist, without the checkout: a project that it made goes from photos to a published version."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import drawn_photos

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys\nfrom setuptools import build_meta\nbuild_meta.build_{}(sys.argv[1])"
SCRIPT = "#!{python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
TINY = {
    "epochs: 40": "epochs: 1",
    "image_size: 64": "image_size: 16",
    "accuracy: {all: 0.7}": "accuracy: {all: 0.0}",
    "photos: {all: 20}": "photos: {all: 1}",
}
"""Changes to params.yaml: a training of seconds, whose model the gate accepts."""


class Installation:
    """A virtual environment with the wheel alone; it sees the packages of this one, and not the checkout."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        self.packages = next(folder.glob("lib/python*/site-packages"))
        with zipfile.ZipFile(wheel) as content:
            content.extractall(self.packages)  # noqa: S202  # our own wheel
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
    folder = tmp_path_factory.mktemp("build")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():  # links stay links
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name, follow_symlinks=False)
    command = [sys.executable, "-c"]
    build = {"cwd": folder / "source", "check": True, "capture_output": True}
    subprocess.run([*command, BUILD.format("sdist"), folder], **build)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as sdist:
        sdist.extractall(folder / "unpacked", filter="data")
    build["cwd"] = next((folder / "unpacked").iterdir())
    subprocess.run([*command, BUILD.format("wheel"), folder], **build)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    return Installation(tmp_path_factory.mktemp("installed") / "environment", wheel)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_wheel_has_every_file_that_is_no_python(wheel):
    listed = subprocess.run(
        ["git", "ls-files", "training"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    data = {name for name in listed.splitlines() if re.search(r"/(templates|defaults)/", name)}

    with zipfile.ZipFile(wheel) as content:
        inside = {name: content.read(name) for name in content.namelist() if name in data}

    assert inside == {name: (ROOT / name).read_bytes() for name in data}
    assert data


def test_checkout_is_not_importable(installed, tmp_path):
    code = "import importlib.util as u, orchard, training; print(orchard.__file__, training.__file__, u.find_spec('bench'))"

    files = installed.run(installed.python, "-c", code, cwd=tmp_path).split()

    assert files[2] == "None"
    assert all(Path(file).is_relative_to(installed.packages) for file in files[:2])


@pytest.mark.timeout(600)
def test_project_of_the_wheel_goes_from_photos_to_a_published_version(installed, tmp_path):
    drawn_photos.fill(tmp_path / "my photos", "arrows", 14)
    made = installed.run("orchard", "init", "arrows", "--photos", "my photos", "--network", "--json", cwd=tmp_path)
    project = tmp_path / "arrows"
    text = (project / "params.yaml").read_text()
    for old, new in TINY.items():
        assert old in text
        text = text.replace(old, new)
    (project / "params.yaml").write_text(text)
    _, ingest, repro, release, _ = json.loads(made.splitlines()[-1])["next"]
    upgrade = "sed -i 's/==.*/==99/' requirements.txt"
    lines = [ingest, repro, release, upgrade, "echo CHANGED; dvc status"]
    store = ["orchard", "store", "run", "--port", str(free_port()), "--", "bash", "-ec", "\n".join(lines)]

    printed, changed = installed.run(*store, cwd=project).split("CHANGED\n")

    assert "dataset arrows: 56 photos, version 1" in printed
    assert "version 1 of arrows in s3://orchard" in printed
    assert changed.count("requirements.txt") == 3
