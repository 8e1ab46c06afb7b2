"""The names that `orchard` exports: they are what the docstring shows, and cost nothing until they are used."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from importlib import resources

import pytest

import orchard
from orchard.dataset import Dataset
from orchard.signing import create_pair, load_key
from tests.orchard.scripted_server import answering
from tests.orchard.version_fixtures import facts, registry_of, saved_model


def test_the_usage_in_the_docstring_runs(seaweed, workspace, monkeypatch, capsys):
    pair = create_pair(workspace / "keys")
    registry = registry_of(seaweed, load_key(pair.private))
    for number in (1, 2):
        registry.publish(saved_model(workspace / str(number), number), facts())
    Dataset(seaweed, "fruits").commit({"photos": 1}, "outs: []\n", parent=None, created_by="anna")
    (workspace / "photo.jpg").write_bytes(b"a photo")
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", orchard.__doc__)
    plum = {"label": "Plum", "probability": 0.9, "probabilities": [0.1, 0.9]}

    names: dict[str, object] = {}
    with answering((200, {"predictions": [plum]})) as there:
        monkeypatch.setenv("ORCHARD_SERVER_URL", there.url)
        monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))
        monkeypatch.setenv("ORCHARD_SIGNING_KEY_FILE", str(pair.private))
        for block in blocks:
            exec(textwrap.dedent(block), names)  # noqa: S102  our own docstring

    lines = capsys.readouterr().out.splitlines()
    assert len(blocks) == 2
    assert lines[0] == "1 {'shop.accuracy': 0.96, 'shop.n': 200.0}"
    assert "label='Plum'" in lines[2]
    assert lines[3] == "[(2, 'canary was fine'), (1, 'takes plums for grapes')]"
    assert (names["pointer"], names["data"].version) == (None, 1)
    assert set(orchard.__all__) - {"__version__"} <= names.keys()


def test_every_public_name_is_there_and_others_are_not():
    assert {name: getattr(orchard, name).__name__ for name in orchard.__all__ if name != "__version__"} == {
        name: name for name in orchard.__all__ if name != "__version__"
    }
    with pytest.raises(AttributeError, match="'orchard' has no attribute 'Orchard'"):
        orchard.Orchard  # noqa: B018


def test_importing_the_library_alone_is_quick_and_loads_nothing():
    others = {"obstore", "pydantic", "requests", "cryptography", "numpy"}
    code = (
        "import sys, time; begin = time.perf_counter(); import orchard; print(time.perf_counter() - begin);"
        f"print(sorted({others} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    ended = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n") for _ in range(3)]
    assert {lines[1] for lines in ended} == {"[]"}
    assert min(float(lines[0]) for lines in ended) < 0.15


@pytest.mark.parametrize("program", ["orchard", "training", "serving", "orchestration"])
def test_type_checkers_read_the_programs(program):
    assert resources.files(program).joinpath("py.typed").is_file()
