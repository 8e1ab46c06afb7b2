"""What TensorFlow's loader takes passes our checks too: of publish, of sync and of the server."""

from __future__ import annotations

import shutil

import pytest

from tests.serving.programs import until


@pytest.mark.parametrize("form", ["text", "tags"])
def test_a_graph_as_text_and_one_of_several_graphs_are_published_synced_and_served(registry, form):
    with registry.serve(), registry.sync() as sync:
        version = registry.release(form)

        until(lambda: sync.served() == version or sync.refusal(version), "it is judged")

        assert sync.refusal(version) is None
        assert sync.served() == version


def test_assets_in_folders_and_debug_information_are_synced(registry, tmp_path):
    folder = shutil.copytree(registry.photos / "one", tmp_path / "copy")
    for path in ("assets/words/en.txt", "debug/saved_model_debug_info.pb", "assets.extra/tf_serving_warmup_requests"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(b"")
    with registry.serve(), registry.sync() as sync:
        version = registry.publish("one", folder)
        registry.promote(version)

        until(lambda: sync.served() == version or sync.refusal(version), "it is judged")

        assert sync.refusal(version) is None
