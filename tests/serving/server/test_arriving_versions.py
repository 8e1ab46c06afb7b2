"""A version that arrives file by file answers when it is whole, in whatever order its files come."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serving.models_config import Latest, ModelConfig, Specific, render
from serving.server import version_files
from serving.server.model_repository import ModelRepository, RepositoryListener
from serving.server.serving_error import ServingError
from serving.server.version_files import scan_files
from tests.serving.programs import until

PARTS = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "assets.extra/note.txt",
)
OLD, NEW = "half_plus_two/123", "half_plus_two/124"  # they answer 2 and 3 for 0


class Events(RepositoryListener):
    """Counts loads and keeps problems."""

    def __init__(self) -> None:
        self.loads: list[ServingError | None] = []
        self.problems: list[str] = []

    def loaded(self, path: str, seconds: float, error: ServingError | None) -> None:
        self.loads.append(error)

    def problem(self, text: str) -> None:
        self.problems.append(text)


class Followed:
    """A model folder that a repository follows in this process."""

    def __init__(self, zoo: Path, folder: Path, policy: Any) -> None:
        self.zoo = zoo
        self.base = folder / "m"
        self.base.mkdir(parents=True)
        self.config = folder / "models.config"
        shutil.copytree(zoo / OLD, self.base / "1")
        self.config.write_text(render([ModelConfig("m", str(self.base), policy)]))
        self.events = Events()
        self.repository = ModelRepository(self.config, self.events)

    def answer(self) -> float:
        """Run the default signature of the latest version; a version that cannot run raises an error."""
        servable = self.repository.acquire("m", None, None)
        try:
            (array, _), *_ = servable.predict_queue("").run([np.zeros(1, np.float32)]).values()
            return float(array[0])
        finally:
            servable.release()

    def pause(self) -> None:
        """Wait as long as a writer may: until the repository has made up its mind on what is there."""
        before = len(self.events.loads)
        until(
            lambda: len(self.events.loads) > before or not self.repository.is_pending(["m"]), "it decides", seconds=20
        )


@contextmanager
def followed(zoo: Path, folder: Path, policy: Any) -> Iterator[Followed]:
    model = Followed(zoo, folder, policy)
    model.repository.start()
    try:
        until(lambda: answers(model), "version 1 answers", seconds=20)
        yield model
    finally:
        model.repository.stop()


def answers(model: Followed) -> bool:
    try:
        return model.answer() == 2.0
    except ServingError:
        return False


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files settle in a fifth of a second, so that a test can pass many of these."""
    monkeypatch.setattr(version_files, "SETTLE_S", 0.2)


def write_part(source: Path, target: Path, how: str) -> None:
    """Write one file as some program would."""
    target.parent.mkdir(parents=True, exist_ok=True)
    body = source.read_bytes() if source.exists() else b"a note\n"
    if how == "renamed":
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_bytes(body)
        temporary.replace(target)
    elif how == "truncated":
        target.write_bytes(body[: len(body) // 2])
    else:
        target.write_bytes(body)
        if how == "preserved" and source.exists():
            stat = source.stat()
            os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    order=st.permutations(PARTS),
    how=st.lists(st.sampled_from(["plain", "renamed", "preserved", "truncated"]), min_size=4, max_size=4),
    pauses=st.lists(st.booleans(), min_size=4, max_size=4),
    in_place=st.booleans(),
)
@example(order=PARTS, how=["plain"] * 4, pauses=[True] * 4, in_place=False)
@example(order=PARTS[::-1], how=["truncated"] * 4, pauses=[True] * 4, in_place=True)
def test_every_order_of_arrival_ends_with_the_whole_version_and_no_request_fails(
    quick, zoo, tmp_path_factory, order, how, pauses, in_place
):
    policy = Specific((1,)) if in_place else Latest()
    with followed(zoo, tmp_path_factory.mktemp("arriving"), policy) as model:
        failures: list[Exception] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.wait(0.005):
                try:
                    assert model.answer() in (2.0, 3.0)
                except Exception as error:
                    failures.append(error)

        client = threading.Thread(target=ask)
        client.start()
        target = model.base / ("1" if in_place else "2")
        for part, way, pause in zip(order, how, pauses, strict=True):
            write_part(zoo / NEW / part, target / part, way)
            if pause:
                model.pause()
        for part, way in zip(order, how, strict=True):
            if way == "truncated":
                write_part(zoo / NEW / part, target / part, "plain")

        until(lambda: model.answer() == 3.0, f"the new version answers; {model.events.loads}", seconds=30)
        until(lambda: not model.repository.is_pending(["m"]), "nothing is pending", seconds=20)
        stop.set()
        client.join()
        assert failures == []
        assert model.repository.problems() == {"m": []}


def test_a_version_without_its_variables_never_answers(quick, zoo, tmp_path):
    with followed(zoo, tmp_path, Latest()) as model:
        write_part(zoo / NEW / PARTS[0], model.base / "2" / PARTS[0], "plain")
        until(lambda: any(model.events.loads), "version 2 cannot be loaded")

        assert model.answer() == 2.0
        error = next(error for error in model.events.loads if error)
        assert "variables/variables.index is missing" in error.message
        until(lambda: model.repository.status("m", 2)[0][1] == "END", "it is given up")
        assert "version 2 cannot be loaded" in " ".join(model.repository.warnings()["m"])

        for part in PARTS[1:3]:
            write_part(zoo / NEW / part, model.base / "2" / part, "plain")
        until(lambda: model.answer() == 3.0, "version 2 answers when its variables have come")


def test_a_late_and_a_truncated_asset_are_taken_over(quick, zoo, tmp_path):
    source = next(path for path in (zoo / "table").iterdir() if path.is_dir())
    base = tmp_path / "m"
    shutil.copytree(source, base / "1", ignore=shutil.ignore_patterns("assets"))
    (tmp_path / "models.config").write_text(render([ModelConfig("m", str(base))]))
    events = Events()
    repository = ModelRepository(tmp_path / "models.config", events)

    def word() -> bytes:
        try:
            servable = repository.acquire("m", None, None)
        except ServingError:
            return b""
        try:
            return servable.predict_queue("").run([np.array([1])])["word"][0][0]
        finally:
            servable.release()

    repository.start()
    try:
        until(lambda: any(events.loads), "it cannot be loaded without its asset")
        assert word() == b""
        (asset,) = (source / "assets").iterdir()
        write_part(asset, base / "1" / "assets" / asset.name, "truncated")
        until(lambda: events.loads[-1] is None, "it is loaded as it is")
        write_part(asset, base / "1" / "assets" / asset.name, "plain")
        until(lambda: word() == b"apple", "the whole asset is taken over")
    finally:
        repository.stop()


def test_a_version_that_failed_is_tried_again_without_a_change(quick, zoo, tmp_path, monkeypatch):
    from serving.server import memory

    free = [0]
    with followed(zoo, tmp_path, Latest()) as model:
        monkeypatch.setattr(memory, "available_memory", lambda: free[0])
        shutil.copytree(zoo / NEW, model.base / "2")
        until(lambda: any(model.events.loads), "there is no memory")
        assert model.answer() == 2.0
        free[0] = 1 << 40
        until(lambda: model.answer() == 3.0, "there is memory again")


def test_files_that_a_finished_copy_left_are_not_waited_for(zoo, tmp_path):
    shutil.copytree(zoo / NEW, tmp_path / "a")
    assert not scan_files(tmp_path / "a").is_settled(0, 0) or scan_files(tmp_path / "a").finished
    renamed = (tmp_path / "a").rename(tmp_path / "2")
    assert scan_files(renamed).finished

    growing = tmp_path / "3"
    shutil.copytree(zoo / NEW, growing, copy_function=shutil.copyfile)
    (growing / "variables" / "more").write_text("x")
    files = scan_files(growing)
    assert not files.finished
    assert not files.is_settled(0, files.changed_ns)
    assert files.is_settled(version_files.SETTLE_S, files.changed_ns)
    assert files.is_settled(0, files.changed_ns + int(version_files.SETTLE_S * 1e9))
