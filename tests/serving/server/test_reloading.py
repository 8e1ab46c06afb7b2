"""The server follows changes of models.config and the version folders."""

from __future__ import annotations

import shutil
import threading

import pytest

from serving.models_config import All, Latest, ModelConfig, Specific, render
from tests.serving.programs import Serve, until


def answer(server: Serve, where: str = "") -> float | None:
    reply = server.predict(f"m{where}", {"instances": [0.0]})
    return reply.json["predictions"][0] if reply.status == 200 else None


def test_a_new_version_and_then_its_label_are_taken_over(folder, served):
    folder.put(2, "half_plus_two/124")
    folder.write(Specific((1, 2)), {"stable": 1})
    until(lambda: served.state("m", 2) == "AVAILABLE", "version 2 is loaded")
    assert (answer(served, "/labels/stable"), answer(served)) == (2.0, 3.0)

    folder.write(Specific((2,)), {"stable": 2})
    until(lambda: answer(served, "/labels/stable") == 3.0, "the label moved")
    until(lambda: served.state("m", 1) == "END", "version 1 is unloaded")
    assert served.predict("m/versions/1", {"instances": [0.0]}).status == 404


def test_a_label_waits_for_its_version(folder, served):
    folder.put(2, "half_plus_two/124")
    folder.write(Specific((1, 2)), {"stable": 2})

    seen = set()
    until(lambda: seen.add(answer(served, "/labels/stable")) or 3.0 in seen, "the label moved")

    assert seen <= {2.0, 3.0}


@pytest.mark.parametrize("damage", ["empty", "truncated", "half", "nothing"])
def test_a_version_that_cannot_be_loaded_takes_nothing_down(folder, served, damage):
    bad = folder.put(2, "half_plus_two/124")
    if damage == "empty":
        (bad / "saved_model.pb").write_bytes(b"")
    elif damage == "truncated":
        data = bad / "variables" / "variables.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:-4])
    elif damage == "half":
        (bad / "saved_model.pb").write_bytes((bad / "saved_model.pb").read_bytes()[:2000])
    else:
        (bad / "saved_model.pb").unlink()
    folder.write(Specific((2,)), {"stable": 2})

    until(lambda: served.state("m", 2) == "END", "version 2 is given up")

    status = served.get("/v1/models/m/versions/2").json["model_version_status"][0]["status"]
    assert status["error_code"] != "OK"
    assert status["error_message"]
    assert (answer(served), answer(served, "/labels/stable")) == (2.0, 2.0)
    assert served.get("/readyz").status == 503  # what is configured is not what is served

    shutil.rmtree(bad)
    folder.put(2, "half_plus_two/124")
    until(lambda: answer(served, "/labels/stable") == 3.0, "the mended version is loaded")


def test_a_model_that_cannot_be_loaded_stops_no_other(folder, served, tmp_path):
    folder.write(Specific((1,)), {}, ModelConfig("ghost", str(tmp_path / "nowhere"), Latest()))
    until(lambda: "ghost" in served.get("/readyz").json["models"], "the file is taken over")

    assert answer(served) == 2.0
    models = served.get("/readyz").json["models"]
    assert models["m"] == []
    assert models["ghost"][0] == "no version is available"
    assert f"{tmp_path / 'nowhere'} does not exist" in models["ghost"][1]
    assert (served.get("/readyz/m").status, served.get("/readyz/ghost").status) == (200, 503)
    assert served.predict("ghost", {"instances": [0.0]}).status == 404


@pytest.mark.parametrize("text", ["", "model_config_list { config { name: 'm' bas"])
def test_a_file_that_is_still_being_written_changes_nothing(folder, served, text):
    folder.config.write_text(text)
    until(lambda: "was not taken over" in served.text, "the server logs it")
    assert answer(served) == 2.0

    folder.write(Latest())
    folder.put(2, "half_plus_two/124")
    until(lambda: answer(served) == 3.0, "the whole file is taken over")


def test_a_file_that_is_gone_changes_nothing(folder, served):
    folder.config.unlink()
    until(lambda: "does not exist" in served.text, "the server logs it")
    assert answer(served) == 2.0


def test_an_empty_folder_is_an_accident_not_an_order(folder, served):
    folder.write(Latest())
    shutil.rmtree(folder.base / "1")
    folder.put(2, "half_plus_two/124")
    until(lambda: answer(served) == 3.0, "the newest is served")

    shutil.rmtree(folder.base / "2")
    (folder.base / "7.tmp").mkdir()
    folder.write(All())
    until(lambda: folder.config.stat().st_mtime_ns and served.get("/readyz").status == 200, "it stays ready")
    assert answer(served) == 3.0


def test_latest_follows_the_highest_number(folder, served):
    folder.write(Latest(2))
    for version, source in ((3, "half_plus_two/124"), (10, "half_plus_two/123"), (9, "half_plus_two/124")):
        folder.put(version, source)

    until(lambda: {v for v in (1, 3, 9, 10) if served.state("m", v) == "AVAILABLE"} == {9, 10}, "9 and 10 are served")
    assert answer(served) == 2.0


def test_a_model_that_is_no_longer_named_is_unloaded(folder, served, zoo):
    folder.config.write_text(render([ModelConfig("other", str(zoo / "matrix"))]))

    until(lambda: served.state("m", 1) == "END", "it is unloaded")
    assert served.predict("m", {"instances": [0.0]}).status == 404
    until(served.ready, "the other one is served")


def test_no_request_fails_while_versions_come_and_go(folder, served):
    folder.put(2, "half_plus_two/124")
    failed, answers, stop = [], set(), threading.Event()

    def client() -> None:
        while not stop.is_set():
            reply = served.predict("m/labels/stable", {"instances": [0.0]})
            if reply.status != 200:
                failed.append(reply.body)
            else:
                answers.add(reply.json["predictions"][0])

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    for version in (2, 1, 2, 1, 2):
        folder.write(Specific((1, 2)), {"stable": 3 - version})
        until(lambda v=version: served.state("m", v) == "AVAILABLE", f"version {version} is loaded")
        folder.write(Specific((1, 2)), {"stable": version})
        until(
            lambda v=version: served.get("/v1/models/m/labels/stable/metadata").json["model_spec"]["version"] == str(v),
            "the label moved",
        )
        folder.write(Specific((version,)), {"stable": version})
        until(lambda v=version: served.state("m", 3 - v) == "END", "the other one is unloaded")
    stop.set()
    for thread in clients:
        thread.join()

    assert failed == []
    assert answers == {2.0, 3.0}
