"""The rules of the repository that a program can check."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("orchard", "training", "serving", "orchestration")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name.split(".")[0] for name in found}


@pytest.mark.parametrize(
    ("program", "may_import"),
    [("orchard", set()), ("training", {"orchard"}), ("serving", {"orchard"}), ("orchestration", {"orchard"})],
)
def test_imports_go_one_way(program, may_import):
    for path in tracked(f"{program}/*.py"):
        others = (imports(path) & set(PROGRAMS)) - may_import - {program}
        assert not others, f"{path.relative_to(ROOT)} imports {others}"


def test_sync_and_the_server_share_only_what_belongs_to_neither():
    code = (
        "import pkgutil, importlib, sys, serving.sync\n"
        "for module in pkgutil.iter_modules(serving.sync.__path__): importlib.import_module(f'serving.sync.{module.name}')\n"
        "print([name for name in sys.modules if name.startswith(('serving.server', 'google.protobuf'))])"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert printed.strip() == "[]"
    for path in tracked("serving/sync/*.py"):
        assert "serving.server" not in path.read_text(), path.relative_to(ROOT)


def imported_modules(path: Path, modules: set[str]) -> set[str]:
    """Modules of this repository that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (full & modules) or {node.module}
    return found & modules


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return the names along one circle, or an empty list."""
    finished: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in finished:
            return []
        for target in sorted(arrows.get(name, ())):
            if found := follow(target, [*way, name]):
                return found
        finished.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := follow(name, []))), [])


def arrows_between_rooms() -> dict[str, dict[str, set[str]]]:
    """For each folder: which of its files and folders import which others of them."""
    paths = {path.relative_to(ROOT): path for path in tracked(*(f"{program}/*.py" for program in (*PROGRAMS, "bench")))}
    modules = {".".join(name.with_suffix("").parts): name for name in paths if name.stem != "__init__"}
    rooms: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, path in paths.items():
        if name.stem == "__init__":  # it only re-exports names
            continue
        for target in imported_modules(path, set(modules)):
            here, there = name.parts, modules[target].parts
            shared = next(i for i, pair in enumerate(zip(here, there, strict=False)) if pair[0] != pair[1])
            rooms["/".join(here[:shared])][here[shared]].add(there[shared])
    return rooms


def test_no_import_runs_in_a_circle():
    for folder, arrows in arrows_between_rooms().items():
        assert not circle(arrows), f"in {folder or 'the root'}"


def test_library_needs_no_heavy_package():
    heavy = {"tensorflow", "keras", "airflow", "kubernetes", "dvc", "pyarrow", "numpy", "boto3", "fsspec"}
    for path in tracked("orchard/*.py"):
        assert not imports(path) & heavy, path.relative_to(ROOT)


def test_help_of_every_verb_imports_nothing_heavy():
    code = (
        "import sys\nfrom importlib.metadata import entry_points\n"
        "verbs = [point.load() for point in entry_points(group='orchard.verbs')]\n"
        "print(len(verbs), sorted({'tensorflow', 'keras', 'dvc', 'pyarrow', 'numpy', 'rich'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout

    count, loaded = printed.split(" ", 1)
    assert int(count) >= 15
    assert loaded.strip() == "[]"


def test_files_and_functions_stay_small_beside_their_docstrings():
    for path in tracked("*.py"):
        source = path.read_text()
        assert source.count("\n") <= 400, f"{path.relative_to(ROOT)} is over 400 lines"
        if path.is_relative_to(ROOT / "tests"):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node, clean=False) or ""
                length = (node.end_lineno or node.lineno) - node.lineno + 1 - len(docstring.splitlines())
                assert length <= 40, f"{path.relative_to(ROOT)}: {node.name} has {length} lines"


def test_no_module_is_named_after_nothing():
    for path in tracked("*.py"):
        assert not set(path.with_suffix("").parts) & {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


NAMED_BY_A_TOOL = {"__init__", "__main__", "conftest"}
"""Module names that Python and pytest require."""


def repeated(places: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: found for name, found in places.items() if len(found) > 1}


def test_one_class_name_means_one_thing():
    places = defaultdict(list)
    for path in tracked("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert not repeated(places)


def test_one_module_name_means_one_thing():
    places = defaultdict(list)
    for path in tracked("*.py"):
        name = path.relative_to(ROOT)
        if name.stem not in NAMED_BY_A_TOOL and "cli" not in name.parts:  # a verb's module has the verb's name
            places[name.stem].append(str(name))
    assert not repeated(places)


def test_no_package_index_or_machine_path_is_named():
    code = "from pip._internal.models.index import PyPI; print(PyPI.netloc, PyPI.file_storage_domain)"
    pips = [
        *ROOT.glob(".tools/lib/python*/site-packages"),
        *ROOT.glob(".tools/debian/usr/share/python-wheels/pip-*.whl"),
    ]
    python, environment = (
        Path(sys.base_prefix) / "bin/python3",
        os.environ | {"PYTHONPATH": os.pathsep.join(map(str, pips))},
    )
    listed = subprocess.run([python, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout
    hosts = "|".join(re.escape(host) for host in listed.split())
    pattern = re.compile(rf"{hosts}|{re.escape(str(ROOT))}/|{re.escape(str(Path.home()))}/\.")
    for path in tracked():
        text = path.read_text(errors="ignore")
        if path.name == "Dockerfile":
            text = text.replace(f"target={Path.home()}/.cache/pip", "")  # the image's path, not this machine's
        assert not pattern.search(text), path.relative_to(ROOT)


def test_nothing_large_is_committed():
    for path in tracked():
        assert path.stat().st_size <= 1 << 20, path.relative_to(ROOT)


@pytest.mark.parametrize("folder", ["orchard", "training", "serving", "orchestration"])
def test_each_program_has_a_readme_with_the_five_headings(folder):
    text = (ROOT / folder / "README.md").read_text()

    for heading in ("What this is", "What it is not", "Run it alone", "The contract", "Where to change what"):
        assert f"**{heading}.**" in text, f"{folder}/README.md lacks {heading!r}"
    assert text.count("\n") <= 60
