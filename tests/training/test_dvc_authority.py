"""DVC by hand, and a store whose certificate a private authority signed."""

from __future__ import annotations

from pathlib import Path

from orchard.settings import Settings
from training.data import dvc_project


def test_dvc_by_hand_gets_the_stores_authority(workspace, tmp_path):
    from dvc.config import Config

    (tmp_path / "ca.pem").touch()
    dvc_project.init(workspace)
    dvc_project.remote(
        workspace, Settings(store_url="s3://b", store_endpoint="https://store.example", store_ca_file=Path("ca.pem"))
    )

    assert Config(str(workspace / ".dvc"))["remote"]["store"]["ssl_verify"] == str(tmp_path / "ca.pem")
