"""Answers never depend on who else sends requests: only what is proved to keep rows apart runs together."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.models_config import ModelConfig, render
from serving.server.batching import BatchJob
from serving.server.servable import Servable
from tests.serving.batching_models import APART, MIXING
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import DEADLINE, Serve, until

CLIENTS, ROUNDS = 8, 6
RANDOM = ("dropout", "random", "counter")  # no two answers are the same, with or without others


def serve(zoo: Path, folder: Path, *options: str) -> Serve:
    models = [ModelConfig(path.name, str(path)) for path in sorted(zoo.iterdir()) if path.is_dir()]
    (folder / "models.config").write_text(render(models))
    return Serve(folder / "models.config", folder / "log", ENVIRONMENT, *options)


@pytest.fixture(scope="module")
def proved(batching_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server of all these models, with the default options."""
    with serve(batching_zoo, tmp_path_factory.mktemp("proved")) as running:
        expected = len([*batching_zoo.glob("*/1")])
        until(lambda: running.text.count(" batching ") == expected, "all versions are examined")
        yield running


def metric(server: Serve, name: str) -> dict[str, float]:
    text = server.get("/monitoring/prometheus/metrics").body.decode()
    found = re.findall(rf'^{name}{{model_name="([^"]*)",.*signature_name="serving_default"}} (.+)$', text, re.M)
    return {model: float(value) for model, value in found}


def rows(name: str, client: int) -> list:
    """Three rows of a client; some have the values for which some models mix rows."""
    if name in ("admin", "upper"):
        return ["admin" if client == 3 else f"user {client}", "x", "y"]
    if name in ("unique", "embedded"):
        return [[client, 1, 2, number] for number in range(3)]
    generator = np.random.default_rng(client)
    found = generator.normal(size=(3, 4)).round(3).tolist()
    if client == 5:
        found[1][2] = 1e9 if name == "huge" else float("nan") if name == "not_a_number" else 5.0
    return found


def answers(server: Serve, name: str, client: int) -> str:
    answer = server.predict(name, json.dumps({"instances": rows(name, client)}))
    return answer.body.decode()


def numbers(text: str) -> list:
    return json.loads(text)["predictions"]


@pytest.mark.parametrize("name", [name for name in MIXING if name not in RANDOM])
def test_clients_at_the_same_time_get_the_answers_that_they_get_alone(proved, name):
    alone = [answers(proved, name, client) for client in range(CLIENTS)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        together = list(pool.map(lambda client: answers(proved, name, client), [*range(CLIENTS)] * ROUNDS))

    assert together == alone * ROUNDS


@pytest.mark.parametrize("name", APART)
def test_clients_of_models_that_keep_rows_apart_run_together_and_get_the_same_answers(proved, name):
    alone = [numbers(answers(proved, name, client)) for client in range(CLIENTS)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        together = list(pool.map(lambda client: answers(proved, name, client), [*range(CLIENTS)] * ROUNDS))

    for index, text in enumerate(together):
        expected = alone[index % CLIENTS]
        if name in ("upper", "labelled"):
            assert numbers(text) == expected
        else:
            assert np.allclose(numbers(text), expected, atol=1e-5)


def test_metrics_and_log_say_which_requests_run_together_and_why(proved):
    found = metric(proved, "orchard_serving_batching")

    assert {name for name, value in found.items() if value == 0} == {*MIXING, "mapped"}
    assert {name for name, value in found.items() if value == 1} == set(APART)
    lines = {re.search(r"/(\w+)/1 ", line)[1]: line for line in proved.text.splitlines() if " batching " in line}
    assert "serving_default: alone (output y: Softmax over the rows)" in lines["softmax"]
    assert "AssignAddVariableOp has a state or a side effect" in lines["counter"]
    assert "not proved" in lines["mapped"]
    assert "serving_default: together (proved by the graph and by generated rows)" in lines["dense"]


@pytest.mark.parametrize(("mode", "expected"), [("off", set()), ("on", {*MIXING, *APART, "mapped"})])
def test_the_operator_may_decide(batching_zoo, tmp_path, mode, expected):
    with serve(batching_zoo, tmp_path, "--batching", mode) as server:
        found = metric(server, "orchard_serving_batching")

    assert {name for name, value in found.items() if value} == expected
    assert f"--batching {mode}" in server.text


@pytest.fixture(scope="module")
def dense(batching_zoo: Path) -> Iterator[Servable]:
    version = Servable("dense", 1, batching_zoo / "dense" / "1")
    version.prove_batching()
    yield version
    version.close()


@pytest.mark.parametrize(
    ("shape", "together"),
    [((2, 4), True), ((1, 4), True), ((2, 3), False), ((4,), False), ((2, 4, 1), False), ((0, 4), False)],
)
def test_what_is_proved_for_the_declared_shapes_holds_for_no_others(dense, shape, together):
    queue = dense.predict_queue("")

    job = BatchJob(queue, [np.zeros(shape, np.float32)], time.monotonic() + DEADLINE, lambda outcome: None)

    assert (job.shape is not None) == together


def test_generated_rows_refute_what_the_graph_seems_to_prove(batching_zoo, monkeypatch):
    from orchard.savedmodel.row_independence import RowAnalysis, RowVerdict

    monkeypatch.setattr(RowAnalysis, "judge", lambda self, signature: RowVerdict(True, "a wrong rule"))
    for name in ("softmax", "mean", "first", "size", "large", "place", "batch_norm", "counter", "random"):
        version = Servable(name, 1, batching_zoo / name / "1")
        assert version.prove_batching()
        verdict = version.batching["serving_default"]
        version.close()
        assert not verdict.together, name
        assert "generated rows" in verdict.reason


def test_a_photo_model_is_proved_by_its_golden_photos(zoo):
    version = Servable("photos", 1, zoo / "photos" / "one")
    try:
        assert version.prove_batching()
        assert version.batching["serving_default"].reason == "proved by 4 golden photos"
        assert version.may_batch("serving_default")
        assert version.batching["pixels"].together, version.batching["pixels"].reason
    finally:
        version.close()


def test_requests_run_alone_until_their_signature_is_examined(batching_zoo):
    version = Servable("dense", 1, batching_zoo / "dense" / "1")
    try:
        queue = version.predict_queue("")
        assert (queue.batchable, version.batching["serving_default"].together) == (False, False)

        version.prove_batching()

        assert queue.batchable, "also of a queue that requests have used before"
    finally:
        version.close()


def test_a_version_that_is_being_unloaded_is_not_examined(batching_zoo):
    version = Servable("dense", 1, batching_zoo / "dense" / "1")
    version.close()

    assert not version.prove_batching()


def test_an_unexpected_error_of_the_proof_leaves_requests_alone(batching_zoo, monkeypatch):
    from orchard.savedmodel.row_independence import RowAnalysis

    def fail(self, signature):
        raise RecursionError("a graph of another shape")

    monkeypatch.setattr(RowAnalysis, "judge", fail)
    version = Servable("dense", 1, batching_zoo / "dense" / "1")
    try:
        assert version.prove_batching()
        assert (
            str(version.batching["serving_default"]) == "alone (not proved: RecursionError: a graph of another shape)"
        )
    finally:
        version.close()
