"""scripts/setup on machines of every kind: the Python that it selects, how it gets uv, its errors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    "bash",
    "cat",
    "chmod",
    "cp",
    "cut",
    "dirname",
    "env",
    "mkdir",
    "mktemp",
    "paste",
    "rm",
    "sed",
    "sort",
    "tail",
    "touch",
)

UV = """#!/usr/bin/env bash
printf '%s\\n' "uv $*" >>"$CALLS"
case "$1 ${2:-}" in
  venv*) mkdir -p "${!#}/bin" && cp "$5" "${!#}/bin/python" ;;
  "python install")
    if [ -n "${NEW_PYTHON:-}" ]; then
      mkdir -p .python/cpython-3.13.9/bin
      cp "$NEW_PYTHON" .python/cpython-3.13.9/bin/python3.13
    fi ;;
esac
"""

PYTHON = """#!/usr/bin/env bash
case "$*" in
  *version_info*) [ "${!#}" = VERSION ] ;;
  *"import ensurepip"*) [ -n "VENV" ] ;;
  "-m venv "*)
    mkdir -p "$3/bin"
    cp "$UV" "$3/bin/uv"
    printf '#!/usr/bin/env bash\\necho venv-pip >>"$CALLS"\\n' >"$3/bin/pip"
    chmod +x "$3/bin/pip" ;;
  "-m pip --version") [ -n "PIP" ] || [ -n "${PYTHONPATH:-}" ] ;;
  "-m pip install "*) echo "pip $* ${PYTHONPATH:-}" >>"$CALLS"; mkdir -p .tools/bin && cp "$UV" .tools/bin/uv ;;
  *) exit 9 ;;
esac
"""


class Machine:
    """A checkout on a machine that has only the programs of one folder."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.bin, self.home = folder / "a check out", folder / "the bin", folder / "home"
        for path in (self.checkout / "scripts", self.checkout / "requirements", self.bin, self.home):
            path.mkdir(parents=True)
        shutil.copy(ROOT / "scripts/setup", self.checkout / "scripts/setup")
        (self.checkout / "requirements/bootstrap.txt").touch()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.uv, self.calls = folder / "uv", folder / "calls"
        self.write(self.uv, UV)

    def write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def python(self, where: str | Path, version: str, *, venv: bool = True, pip: bool = True) -> Path:
        text = PYTHON.replace("VERSION", version).replace("VENV", "1" * venv).replace("PIP", "1" * pip)
        return self.write(self.bin / where, text)

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        given = {
            "PATH": str(self.bin),
            "HOME": str(self.home),
            "UV": str(self.uv),
            "CALLS": str(self.calls),
        } | environment
        return subprocess.run(
            [self.checkout / "scripts/setup", *arguments], env=given, capture_output=True, text=True, check=False
        )

    def environments(self) -> list[str]:
        return re.findall(r"^uv venv .*--python (.+) \.venv", self.calls.read_text(), flags=re.M)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("locale", ["C", "tr_TR.UTF-8"])
def test_newest_python_that_runs_is_taken(machine, locale):
    machine.write(
        machine.bin / "python3.13", "#!/usr/bin/env bash\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n"
    )
    machine.python("python3.11", "3.11")
    expected = machine.python("python3.12", "3.12")

    done = machine.setup(LC_ALL=locale)

    assert done.returncode == 0, done.stderr
    assert machine.environments() == [str(expected)]
    assert (machine.checkout / ".venv/.ready").exists()


def test_unversioned_name_counts(machine):
    machine.python("python3.12", "3.12")
    expected = machine.python("python3", "3.13")

    assert machine.setup().returncode == 0
    assert machine.environments() == [str(expected)]


def test_installations_of_pyenv_count_although_no_shim_runs(machine):
    machine.python("python3.11", "3.11")
    expected = machine.python(machine.home / ".pyenv/versions/3.13.1/bin/python3.13", "3.13")

    assert machine.setup("pythons").stdout.splitlines() == [f"3.13 {expected}", f"3.11 {machine.bin / 'python3.11'}"]


def test_named_python_is_taken(machine):
    machine.python("python3.13", "3.13")
    named = machine.python(machine.home / "my python/python", "3.11")

    assert machine.setup(PYTHON=str(named)).returncode == 0
    assert machine.environments() == [str(named)]


def test_named_python_of_another_version_is_refused(machine):
    named = machine.python("python3.14", "3.14")

    done = machine.setup(PYTHON=str(named))

    assert done.returncode == 1
    assert f"PYTHON={named} is not a complete Python 3.11 to 3.13" in done.stderr


def test_environment_of_another_version_is_made_again_and_one_of_the_same_is_kept(machine):
    machine.python("python3.12", "3.12")
    assert machine.setup().returncode == 0
    assert machine.setup().returncode == 0
    assert machine.environments() == []

    expected = machine.python("python3.13", "3.13")

    assert machine.setup().returncode == 0
    assert machine.environments() == [str(expected)]


def test_uv_comes_by_the_pip_of_a_virtual_environment(machine):
    machine.python("python3", "3.13")

    assert machine.setup().returncode == 0
    assert machine.calls.read_text().startswith("venv-pip\n")


def test_uv_comes_by_pip_alone_where_there_is_no_venv(machine):
    machine.python("python3", "3.13", venv=False)

    assert machine.setup().returncode == 0
    assert machine.calls.read_text().startswith("pip -m pip install --target .tools --quiet")


def test_uv_comes_by_the_pip_in_debians_packages_where_python_has_neither(machine):
    machine.python("python3", "3.13", venv=False, pip=False)
    machine.write(machine.bin / "apt-get", "#!/usr/bin/env bash\n[[ $* != *download* ]] || touch pip.deb\n")
    unpack = "mkdir -p usr/share/python-wheels && touch usr/share/python-wheels/pip-25.1-py3-none-any.whl"
    machine.write(machine.bin / "dpkg-deb", f"#!/usr/bin/env bash\n{unpack}\n")

    done = machine.setup()

    assert done.returncode == 0, done.stderr
    assert machine.calls.read_text().splitlines()[0].endswith("usr/share/python-wheels/pip-25.1-py3-none-any.whl")


def test_error_names_what_to_install_where_uv_cannot_come(machine):
    machine.python("python3", "3.13", venv=False, pip=False)

    done = machine.setup()

    assert done.returncode == 1
    assert "uv cannot be installed" in done.stderr
    assert "sudo apt-get install --yes python3 python3-venv" in done.stderr
    assert not (machine.checkout / ".venv").exists()


def test_error_names_what_to_install_where_no_python_fits(machine):
    machine.python("python3", "3.14")

    done = machine.setup()

    assert done.returncode == 1
    assert (
        f"Orchard needs Python 3.11, 3.12 or 3.13, and none is here (of another version, or incomplete: {machine.bin}/python3)"
        in done.stderr
    )
    for command in (
        "apt-get install --yes python3 python3-venv",
        "dnf install",
        "brew install python@3.13",
        "PYTHON=/path/to",
    ):
        assert command in done.stderr


def test_uv_brings_a_python_where_none_fits(machine):
    machine.python("python3", "3.14")
    new = machine.python(machine.home / "new", "3.13")

    done = machine.setup(NEW_PYTHON=str(new))

    assert done.returncode == 0, done.stderr
    assert machine.environments() == [f"{machine.checkout}/.python/cpython-3.13.9/bin/python3.13"]


def test_smoke_has_an_environment_of_its_own_version(machine):
    machine.python("python3.13", "3.13")
    expected = machine.python("python3.12", "3.12")

    assert machine.setup("smoke", "3.12").returncode == 0
    assert machine.environments() == [str(expected)]
    assert (machine.checkout / ".venv-3.12/bin/python").exists()
    assert "Python 3.11 is not here" in machine.setup("smoke", "3.11").stderr


def test_versions_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"3\.\d+", re.search(r"^supported=\((.*)\)", (ROOT / "scripts/setup").read_text(), re.M)[1])

    assert versions[::-1] == [name.split(" :: ")[-1] for name in project["classifiers"] if ":: Python :: 3." in name]
    assert project["requires-python"] == f">={versions[-1]},<3.{int(versions[0][2:]) + 1}"
    assert os.access(ROOT / "scripts/setup", os.X_OK)


@pytest.mark.parametrize("home", ["/dev/null/home", "", "missing", "file", "cache of another user"])
def test_caches_are_in_the_checkout_where_the_home_cannot_be_written(machine, home):
    """Each is a home that even root cannot write, or must not make."""
    machine.python("python3.13", "3.13", venv=False)
    for name in ("uv", "bin/python3.13"):
        path = machine.uv.parent / name if name == "uv" else machine.bin / "python3.13"
        path.write_text(
            path.read_text().replace("\n", '\necho "cache ${XDG_CACHE_HOME:-} data ${XDG_DATA_HOME:-}" >>"$CALLS"\n', 1)
        )
    folder = {"": "", "/dev/null/home": home}.get(home, str(machine.home / home))
    if home == "file":
        Path(folder).touch()
    if home == "cache of another user":
        Path(folder).mkdir()
        (Path(folder) / ".cache").touch()  # a file: like a folder that this user may not write

    done = machine.setup(HOME=folder)

    assert done.returncode == 0, done.stderr
    assert "setup: caches into .cache, since" in done.stdout
    used = {line for line in machine.calls.read_text().splitlines() if line.startswith("cache ")}
    assert used == {f"cache {machine.checkout}/.cache data {machine.checkout}/.cache/data"}
    assert home == "cache of another user" or not Path(folder or "/dev/null").is_dir()


def test_caches_are_the_users_where_the_home_can_be_written(machine):
    machine.python("python3.13", "3.13")

    assert ".cache" not in machine.setup().stdout
    assert not (machine.checkout / ".cache").exists()
