"""The folder by which sync gives the router a weight."""

from __future__ import annotations

import itertools
import os

import pytest
import yaml

from serving.traffic_weights import read_weight, write_weight
from tests.faults.crashing_store import Killed


def keys(folder):
    """The keys that Envoy's runtime has, as Envoy names them."""
    root = folder / "current" / "orchard"
    files = {".".join(path.relative_to(root).parts): path for path in root.rglob("*") if path.is_file()}
    return {name: yaml.safe_load(path.read_text()) for name, path in files.items()}


def test_a_folder_that_nobody_wrote_gives_no_weight(tmp_path):
    assert read_weight(tmp_path / "router") is None


@pytest.mark.parametrize("percent", [0, 0.01, 10, 12.34, 29.99, 57.29, 99.99, 100])
def test_a_weight_is_read_back_and_both_channels_have_the_whole_traffic(tmp_path, percent):
    assert write_weight(tmp_path / "router", percent)
    assert write_weight(tmp_path / "router", percent) is False

    found = keys(tmp_path / "router")
    assert read_weight(tmp_path / "router") == percent
    assert found.pop("mirror.shadow") == {"numerator": 0, "denominator": "TEN_THOUSAND"}
    assert set(found) == {"traffic.rest_canary", "traffic.rest_stable", "traffic.grpc_canary", "traffic.grpc_stable"}
    for protocol in ("rest", "grpc"):
        assert found[f"traffic.{protocol}_canary"] == round(percent * 100)
        assert found[f"traffic.{protocol}_canary"] + found[f"traffic.{protocol}_stable"] == 10_000


def test_each_channel_has_its_own_weight(tmp_path):
    assert write_weight(tmp_path, 12.34, "shadow")
    assert write_weight(tmp_path, 5)
    assert write_weight(tmp_path, 12.34, "shadow") is False

    assert (read_weight(tmp_path), read_weight(tmp_path, "shadow")) == (5, 12.34)
    assert keys(tmp_path)["mirror.shadow"]["numerator"] == 1234
    assert keys(tmp_path)["traffic.grpc_canary"] == 500


def test_old_weights_are_removed_but_the_one_before(tmp_path):
    for percent in (1, 2, 3, 2, 4):
        write_weight(tmp_path, percent)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "weights-00200-00000", "weights-00400-00000"]


def test_a_killed_change_leaves_the_weight_of_before_and_the_next_one_completes_it(tmp_path, monkeypatch):
    """Every call that changes the disk is once the last one."""
    names = ("mkdir", "rename", "symlink", "replace")
    for at in itertools.count():
        folder, calls = tmp_path / str(at), itertools.count()
        write_weight(folder, 10)
        with monkeypatch.context() as patch:
            for name in names:
                real = getattr(os, name)

                def last(*arguments, real=real, **named):
                    if next(calls) == at:  # noqa: B023  used before the loop goes on
                        raise Killed
                    return real(*arguments, **named)

                patch.setattr(os, name, last)
            try:
                write_weight(folder, 20)
            except Killed:
                assert read_weight(folder) in (10, 20)
                assert keys(folder)["traffic.rest_canary"] in (1000, 2000)
            else:
                break
        write_weight(folder, 20)
        assert read_weight(folder) == 20
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]

    assert at > 3


def test_a_damaged_folder_is_written_again(tmp_path):
    write_weight(tmp_path, 10)
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("weights-00500-00000")
    assert read_weight(tmp_path) is None

    assert write_weight(tmp_path, 5)
    assert read_weight(tmp_path) == 5
