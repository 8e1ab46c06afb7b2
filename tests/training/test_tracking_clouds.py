"""A dataset folder under DVC in the stores of Google and Azure: Orchard's own transfer needs no plugin of DVC."""

from __future__ import annotations

import pytest

from orchard.errors import IntegrityError
from tests.training.tracked_folders import FILES, read, write
from training.data import dvc_tracking


@pytest.mark.parametrize(("store", "url"), [("google", "gs://orchard/dvc"), ("azure", "azure://orchard/dvc")])
def test_a_folder_is_pushed_to_a_cloud_and_comes_back(request, tmp_path, store, url):
    opened, here, there = request.getfixturevalue(store), tmp_path / "here/data/fruits", tmp_path / "there/data/fruits"
    text = dvc_tracking.track(write(here))

    assert dvc_tracking.push(here) == len(FILES) + 1
    assert dvc_tracking.push(here) == 0
    assert dvc_tracking.pull(there, text) == len(FILES) + 1
    assert read(there) == FILES

    config = (tmp_path / "here/.dvc/config.local").read_text()
    assert f"url = {url}" in config
    assert "verify = true" in config
    assert "key" not in config
    key = next(stat.key for stat in opened.list("dvc") if stat.size == len(FILES["0002.parquet"]))
    opened.put(key, bytes(len(FILES["0002.parquet"])))
    with pytest.raises(IntegrityError, match=r"0002\.parquet"):
        dvc_tracking.pull(tmp_path / "third/data/fruits", text)
