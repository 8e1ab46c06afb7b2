"""The first hour of a stranger: from the wheel and photos to a served prediction, by six commands and no file edited.

python -m tests.first_hour [signs|digits|cells|arrows|textures] [--photos PATH] [--wheel FILE] [--folder DIR]

Makes an empty virtual environment and an empty home in a folder whose name has a space, runs what docs/project.md says, prints the
time of each command and the model's accuracy, and stops what it started. `pip` needs a package index. Without a set it takes
../shared/data/signs.tar.gz, or draws photos where that is not there; `digits` are scikit-learn's, `cells` those of elpv-dataset.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.stack import is_up
from orchard.formatting import accuracy_text
from orchard.processes import ChildProcess
from tests.free_ports import free_ports
from tests.photo_sets import SIGNS, fill_set

__all__ = ["SERVE", "TINY", "FirstHour", "build_wheel", "edit"]

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys\nfrom setuptools import build_meta\nbuild_meta.build_{}(sys.argv[1])"
TINY = {"epochs: 40": "epochs: 1", "image_size: 64": "image_size: 16", "accuracy: {all: 0.7}": "accuracy: {all: 0.0}"}
"""Changes to a project's params.yaml, for tests: a training of seconds, whose accuracy the gate accepts."""

SERVE = "orchard sync --serve"
EXTRAS = "training,serving,store"
SERVING_SECONDS = 120.0


def build_wheel(folder: Path) -> Path:
    """Build the sdist of this checkout, and the wheel of the sdist as `pip install` does it; return the wheel."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():  # links stay links
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name, follow_symlinks=False)
    _build("sdist", folder, folder / "source")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as sdist:
        sdist.extractall(folder / "unpacked", filter="data")
    _build("wheel", folder, next((folder / "unpacked").iterdir()))
    return next(folder.glob("*.whl"))


def _build(kind: str, folder: Path, source: Path) -> None:
    command = [sys.executable, "-c", BUILD.format(kind), str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


def edit(path: Path, changes: Mapping[str, str]) -> None:
    """Replace texts in a file, each of which is there."""
    text = path.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{path} has no {old!r}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


class FirstHour:
    """The commands, as a person types them in a folder of theirs.

    Args:
        folder: the folder, which has the photos or not.
        environment: of the commands; settings of Orchard in it are left out.
        show: gets a line for each command that has ended.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], show: Callable[[str], None] = lambda line: None
    ) -> None:
        kept = {name: value for name, value in environment.items() if not name.startswith(("ORCHARD_", "AWS_"))}
        server = free_ports()
        self.environment = {**kept, "ORCHARD_SERVER_URL": f"http://127.0.0.1:{server}"}
        self.folder = folder
        self.show = show
        self.commands: list[tuple[str, float]] = []

    def run(self, *command: str, shown: str = "") -> str:
        """Run a command in the current folder; return its standard output. An exit code other than 0 is an error."""
        begin = time.monotonic()
        path = self.environment["PATH"]
        program = shutil.which(command[0], path=path) or command[0]
        done = subprocess.run(
            [program, *command[1:]], cwd=self.folder, env=self.environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        self._ended(shown or shlex.join(command), time.monotonic() - begin)
        return done.stdout

    def enter(self, name: str) -> None:
        """Change the folder, as `cd` does."""
        self.folder = self.folder / name
        self._ended(f"cd {name}", 0.0)

    def predict_while_served(self, name: str, predict: str) -> list[dict[str, object]]:
        """Serve in one terminal, predict in another one, end the first by Ctrl-C; return the predictions.

        Args:
            name: the model's.
            predict: the command that `orchard run` has printed.
        """
        program = str(shutil.which("orchard", path=self.environment["PATH"]))
        begin, log = time.monotonic(), self.folder / "serve.log"
        command = [program, "sync", "--serve", "--port", "0"]  # the status page: another one may run here
        with ChildProcess(command, environment=self.environment, log=log, cwd=self.folder) as served:
            while not is_up(f"{self.environment['ORCHARD_SERVER_URL']}/readyz/{name}"):
                assert served.running(), served.tail(40)
                assert time.monotonic() - begin < SERVING_SECONDS, served.tail(40)
                time.sleep(0.1)
            self._ended(SERVE, time.monotonic() - begin)
            printed = self.run(*shlex.split(predict), "--json", shown=predict)
            os.kill(served.pid, signal.SIGINT)
            assert served.wait() == 0, served.tail(40)
        predictions: list[dict[str, object]] = json.loads(printed)["predictions"]
        return predictions

    def _ended(self, command: str, seconds: float) -> None:
        self.commands.append((command, seconds))
        self.show(f"{seconds:7.1f} s  {command}")


def _sequence(hour: FirstHour, wheel: Path, photos: Path, name: str) -> None:
    """Run the six commands, and print the accuracy and the prediction."""
    begin = time.monotonic()
    hour.run("pip", "install", "--quiet", f"{wheel}[{EXTRAS}]", shown=f"pip install {wheel.name}[{EXTRAS}]")
    hour.run("orchard", "init", name, "--photos", os.path.relpath(photos, hour.folder))
    hour.enter(name)
    document = json.loads(hour.run("orchard", "run", "--json", shown="orchard run").splitlines()[-1])
    predictions = hour.predict_while_served(name, document["next"][1])
    total, usage = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    pip, cpu = hour.commands[0][1], usage.ru_utime + usage.ru_stime
    evaluation = json.loads((hour.folder / "artifacts/evaluation/evaluation.json").read_text(encoding="utf-8"))
    found = evaluation["slices"]["all"]
    share = f"{accuracy_text(found['correct'], found['n'])} of {found['n']} test photos right"
    print(f"{len(hour.commands)} commands, {total:.0f} s, of which {pip:.0f} s for pip; {cpu:.0f} s of CPU")
    print(f"{name}: {share}; gate: {document['verdict']}")
    print(f"a photo that training never saw: {predictions[0]['label']}, {predictions[0]['probability']:.3f}")


def main(arguments: list[str] | None = None) -> int:
    """Run the first hour; see the module."""
    parser = argparse.ArgumentParser(description="from the wheel and photos to a served prediction")
    parser.add_argument("set", nargs="?", default="signs" if SIGNS.exists() else "arrows", help="the photos")
    parser.add_argument(
        "--photos", type=Path, help="a folder or an archive of other photos; SET is then the project's name"
    )
    parser.add_argument("--wheel", type=Path, help="the wheel; without it one is built of this checkout")
    parser.add_argument("--folder", type=Path, help="where to work; it stays. Without it: a temporary folder")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="first hour ") as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        (folder / "home").mkdir(parents=True)
        wheel = options.wheel.absolute() if options.wheel else build_wheel(folder / "build")
        photos = options.photos.absolute() if options.photos else fill_set(folder / "my photos", options.set)
        subprocess.run([sys.executable, "-m", "venv", folder / "environment"], check=True)
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        path = os.pathsep.join([str(folder / "environment" / "bin"), os.environ["PATH"]])
        environment |= {"HOME": str(folder / "home"), "PATH": path}
        _sequence(FirstHour(folder, environment, print), wheel, photos, options.set)
    return 0


if __name__ == "__main__":
    sys.exit(main())
