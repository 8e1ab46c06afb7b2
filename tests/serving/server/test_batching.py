"""Requests that run together get the answers that they get alone."""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serving.programs import Serve


def instances(*bodies: bytes) -> dict:
    return {"instances": [{"b64": base64.b64encode(body).decode()} for body in bodies]}


def batches(server: Serve) -> tuple[float, float]:
    """Runs and rows so far."""
    text = server.get("/monitoring/prometheus/metrics").body.decode()
    return tuple(
        float(re.search(rf"^orchard_serving_batch_rows_{what}{{}} (.+)$", text, re.M)[1]) for what in ("count", "sum")
    )


def test_every_client_gets_its_own_answer(photos, zoo):
    from tests.training.candidates import COLOURS, draw

    bodies = [draw(colour, number) for colour in COLOURS for number in range(500, 530)]
    alone = [photos.predict("m", instances(body)).json["predictions"][0] for body in bodies]
    runs, rows = batches(photos)

    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(lambda body: photos.predict("m", instances(body)).json["predictions"][0], bodies * 3))

    for answer, expected in zip(together, alone * 3, strict=True):
        assert answer["label"] == expected["label"]
        assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    more_runs, more_rows = batches(photos)
    assert more_rows - rows == 3 * len(bodies)
    assert more_runs - runs < 3 * len(bodies), "nothing ever ran together"


def test_a_bad_photo_fails_only_its_own_request(photos, zoo):
    good = [(zoo / "photos" / "test_photos" / f"{index}.jpg").read_bytes() for index in range(4)]
    bad = b"\xff\xd8 no photo"
    expected = [photos.predict("m", instances(body)).json["predictions"][0]["label"] for body in good]

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda body: photos.predict("m", instances(body)), [*good, bad] * 12))

    for index, one in enumerate(answers):
        if index % 5 == 4:
            assert one.status == 400
            assert "{{function_node" in one.error
        else:
            assert one.json["predictions"][0]["label"] == expected[index % 5]


def test_a_bad_photo_among_good_ones_fails_the_request_that_holds_it(photos, zoo):
    good = (zoo / "photos" / "test_photos" / "0.jpg").read_bytes()

    assert photos.predict("m", instances(good, b"", good)).status == 400


def test_requests_of_other_shapes_and_types_run_beside_each_other(server):
    bodies = [
        ("matrix", {"instances": [[1, 2, 3, 4]]}, {"predictions": [[7.0, 10.0]]}),
        ("matrix", {"instances": [[1, 2, 3, 4]] * 3}, {"predictions": [[7.0, 10.0]] * 3}),
        ("half_plus_two", {"instances": [1.0]}, {"predictions": [3.5]}),
        ("half_plus_two", {"instances": [[1.0, 2.0]]}, {"predictions": [[3.5, 4.0]]}),
        ("half_plus_two", {"inputs": 1.0}, {"outputs": 3.5}),
        ("shapes", {"signature_name": "scalar", "inputs": [1, 2]}, {"outputs": 3.0}),
        ("types", {"signature_name": "string", "inputs": ["x"]}, {"outputs": ["x"]}),
    ] * 20

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: server.predict(one[0], one[1]).body, bodies))

    for body, (_, _, expected) in zip(answers, bodies, strict=True):
        assert json.loads(body) == expected
