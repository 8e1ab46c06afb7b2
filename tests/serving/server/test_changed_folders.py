"""What is loaded is compared with what is configured and with what is on the disk, as long as the server runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from serving.models_config import All, Latest, ModelConfig, Specific, render
from tests.serving.model_folder import ModelFolder
from tests.serving.programs import Serve, until

NEW = "half_plus_two/124"  # y = x/2 + 3


def answer(server: Serve) -> float | None:
    reply = server.predict("m", {"instances": [0.0]})
    return reply.json["predictions"][0] if reply.status == 200 else None


def removed_and_copied(folder: ModelFolder) -> None:
    shutil.rmtree(folder.base / "1")
    shutil.copytree(folder.zoo / NEW, folder.base / "1", copy_function=shutil.copyfile)


def removed_and_copied_with_times(folder: ModelFolder) -> None:
    shutil.rmtree(folder.base / "1")
    shutil.copytree(folder.zoo / NEW, folder.base / "1")


def overwritten_in_place(folder: ModelFolder) -> None:
    shutil.copytree(folder.zoo / NEW, folder.base / "1", copy_function=shutil.copyfile, dirs_exist_ok=True)


def variables_overwritten_with_the_same_times(folder: ModelFolder) -> None:
    for source in (folder.zoo / NEW / "variables").iterdir():
        target = folder.base / "1" / "variables" / source.name
        before = target.stat()
        target.write_bytes(source.read_bytes())
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def exchanged_by_rename(folder: ModelFolder) -> None:
    (folder.base / "1").rename(folder.base / "old")
    shutil.copytree(folder.zoo / NEW, folder.base / "new")
    (folder.base / "new").rename(folder.base / "1")


def link_to_another_folder(folder: ModelFolder) -> None:
    (folder.base / ".link").symlink_to(folder.zoo / NEW)
    (folder.base / "1").rename(folder.base / "old")
    (folder.base / ".link").rename(folder.base / "1")


def another_base_path(folder: ModelFolder) -> None:
    other = folder.base.with_name("other")
    other.mkdir()
    shutil.copytree(folder.zoo / NEW, other / "1")
    folder.base = other
    folder.write(Specific((1,)), {"stable": 1})


CHANGES = (
    removed_and_copied,
    removed_and_copied_with_times,
    overwritten_in_place,
    variables_overwritten_with_the_same_times,
    exchanged_by_rename,
    link_to_another_folder,
    another_base_path,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_version_with_other_files_is_loaded_again_and_answers_meanwhile(folder, served, change):
    change: Callable[[ModelFolder], None]
    change(folder)

    seen: set[float | None] = set()
    until(lambda: seen.add(answer(served)) or 3.0 in seen, "the new files are served")

    assert seen <= {2.0, 3.0}
    until(served.ready, "it is ready")
    assert "warnings" not in served.get("/readyz").json
    assert "were changed; they are loaded" in served.text


def test_a_link_of_the_base_path_may_be_swapped(zoo, tmp_path, folder, served):
    for name, source in (("a", "half_plus_two/123"), ("b", NEW)):
        (tmp_path / name).mkdir()
        shutil.copytree(zoo / source, tmp_path / name / "1")
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "a")
    folder.config.write_text(render([ModelConfig("m", str(link))]))
    until(lambda: str(link) in served.text, "the link is followed")

    (tmp_path / ".next").symlink_to(tmp_path / "b")
    (tmp_path / ".next").rename(link)

    until(lambda: answer(served) == 3.0, "the other folder is served")


def test_changed_files_that_cannot_be_loaded_are_reported_and_the_old_ones_answer(folder, served):
    data = folder.base / "1" / "variables" / "variables.data-00000-of-00001"
    body = data.read_bytes()
    data.write_bytes(body[:-4])

    until(lambda: "were changed and cannot be loaded" in served.text, "the log has it")
    reply = served.get("/readyz")
    assert reply.status == 503
    assert "were changed and cannot be loaded" in reply.json["models"]["m"][0]
    assert (answer(served), served.state("m", 1)) == (2.0, "AVAILABLE")

    data.write_bytes(body)
    until(served.ready, "it is mended")
    assert answer(served) == 2.0


@pytest.mark.parametrize("policy", [Specific((1,)), Latest(), All()], ids=["specific", "latest", "all"])
def test_files_that_are_gone_are_reported_and_the_version_answers(folder, served, policy):
    folder.write(policy, {"stable": 1})
    shutil.rmtree(folder.base / "1")

    until(lambda: "version 1 answers from memory" in served.text, "the log has it")

    reply = served.get("/readyz")
    assert reply.status == 200  # what answers is what was configured
    assert any("answers from memory" in text for text in reply.json["warnings"]["m"])
    assert answer(served) == 2.0
    folder.put(1, NEW)
    until(lambda: answer(served) == 3.0, "what came back is served")


def test_a_base_path_that_is_changed_to_a_wrong_one_is_not_ready(folder, served, tmp_path):
    folder.config.write_text(render([ModelConfig("m", str(tmp_path / "wrong"), Latest())]))

    until(lambda: "wrong does not exist" in served.text, "the log has it")
    assert served.get("/readyz").status == 503
    assert answer(served) == 2.0


def test_a_folder_that_is_replaced_while_it_is_loaded_ends_with_its_last_files(folder, served):
    for source in (NEW, "half_plus_two/123") * 3 + (NEW,):
        shutil.rmtree(folder.base / "1")
        folder.put(1, source)

    seen: set[float | None] = set()
    until(lambda: seen.add(answer(served)) or answer(served) == 3.0, "the last files are served")
    assert seen <= {2.0, 3.0}
    until(lambda: "warnings" not in served.get("/readyz").json, "nothing is pending")
    assert answer(served) == 3.0


def test_a_change_of_attributes_disturbs_nobody(folder, served):
    for path in (folder.base / "1").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder.base / "1" / "saved_model.pb").touch()
    until(lambda: "were changed; they are loaded" in served.text, "the files are compared")
    until(lambda: "warnings" not in served.get("/readyz").json, "they are loaded")
    assert answer(served) == 2.0
