"""A DVC stage depends on all code that it runs: a change in any of its modules runs the stage again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from training import stage_code

ROOT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def dependencies(stage: str) -> list[str]:
    return STAGES[stage]["deps"]


def test_dvc_yaml_lists_what_the_imports_say(tmp_path):
    subprocess.run([sys.executable, ROOT / "scripts/stages", tmp_path / "dvc.yaml"], check=True, cwd=ROOT)

    assert (tmp_path / "dvc.yaml").read_text() == (ROOT / "dvc.yaml").read_text(), "run `make docs`"


@pytest.mark.parametrize("stage", STAGES)
def test_no_dependency_on_code_is_a_folder(stage):
    code = [path for path in dependencies(stage) if path.split("/")[0] in stage_code.PACKAGES]

    assert code == list(stage_code.stage_files(stage))
    assert all((ROOT / path).is_file() for path in code)  # a folder would hold __pycache__


@pytest.mark.parametrize("stage", STAGES)
def test_whatever_the_stage_loads_is_a_dependency(stage):
    modules = [
        file.removesuffix(".py").replace("/", ".") for file in stage_code.stage_files(stage) if file[-3:] == ".py"
    ]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "for name, module in sys.modules.items():\n"
        "    if name.split('.')[0] in ('orchard', 'training') and getattr(module, '__file__', None): print(module.__file__)"
    )
    names = [name.removesuffix(".__init__") for name in modules]
    ran = subprocess.run([sys.executable, "-c", code, *names], check=True, capture_output=True, text=True, cwd=ROOT)

    loaded = {str(Path(line).relative_to(ROOT)) for line in ran.stdout.splitlines() if Path(line).stat().st_size}
    assert loaded <= set(dependencies(stage))


def test_imports_are_followed_into_functions_packages_and_templates(tmp_path, monkeypatch):
    files = {
        "training/__init__.py": "",
        "training/cli/__init__.py": '"""Verbs."""',
        "training/cli/train.py": "def train():\n    from training.model import fit\n    return fit, 'page.html', 'absent.html'",
        "training/model/__init__.py": '"""The model."""',
        "training/model/fit.py": "import orchard.errors",
        "training/model/unused.py": "import orchard.layout",
        "training/templates/page.html": '{% extends "base.html" %}',
        "training/templates/base.html": "<html>",
        "orchard/__init__.py": '"""The library."""',
        "orchard/errors.py": '"""Errors."""',
        "orchard/layout.py": '"""Keys."""',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(stage_code, "ROOT", tmp_path)

    found = stage_code.stage_files.__wrapped__("train")

    assert set(files) - set(found) == {"training/__init__.py", "training/model/unused.py", "orchard/layout.py"}
