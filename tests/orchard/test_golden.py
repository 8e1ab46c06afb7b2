"""Golden photos: read strictly, compared in one place."""

from __future__ import annotations

import base64
import json

import pytest

from orchard.errors import IntegrityError
from orchard.golden import GOLDEN, check_golden, read_golden

PHOTOS = (b"first photo", b"second photo")
ANSWERS = [("Plum", 0.75), ("Apple", 1.0)]


def write(folder, document):
    path = folder / GOLDEN
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    return folder


def document(**changes):
    photos = [
        {"b64": base64.b64encode(photo).decode(), "label": label, "probability": probability}
        for photo, (label, probability) in zip(PHOTOS, ANSWERS, strict=True)
    ]
    return {"format": 1, "tolerance": 1e-4, "photos": photos, **changes}


def test_photos_are_read_with_their_answers(tmp_path):
    found = read_golden(write(tmp_path, document()))

    assert (found.photos, found.answers, found.tolerance) == (PHOTOS, tuple(ANSWERS), 1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"photos": []},
        {"photos": [{"b64": "no base64", "label": "Plum", "probability": 1}]},
        {"photos": [{"b64": "", "label": "Plum", "probability": "high"}]},
        {"photos": [{"b64": "", "label": "Plum", "probability": 1.5}]},
        {"photos": [{"b64": "", "label": 3, "probability": 0.5}]},
        {"photos": [{"b64": ""}]},
        {"photos": 7},
        {"tolerance": 0},
        {"tolerance": 1},
        {"tolerance": None},
    ],
    ids=str,
)
def test_malformed_file_is_refused(tmp_path, changes):
    with pytest.raises(IntegrityError, match="has no valid golden photos"):
        read_golden(write(tmp_path, document(**changes)))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(IntegrityError, match="has no valid golden photos"):
        read_golden(tmp_path)


@pytest.mark.parametrize(
    "answers",
    [
        [("Kiwi", 0.75), ANSWERS[1]],
        [("Plum", 0.7502), ANSWERS[1]],
        [("Plum", 0.7498), ANSWERS[1]],
        [("Plum", float("nan")), ANSWERS[1]],
    ],
    ids=["another label", "more certain", "less certain", "not a number"],
)
def test_answer_that_differs_is_refused(tmp_path, answers):
    write(tmp_path, document())

    with pytest.raises(IntegrityError, match=r"version 3 predicts .* for golden photo 1"):
        check_golden(tmp_path, lambda photos: answers, "version 3")


def test_answers_within_the_tolerance_are_counted(tmp_path):
    write(tmp_path, document())
    asked = []

    def predict(photos):
        asked.extend(photos)
        return [("Plum", 0.75009), ("Apple", 1.0)]

    assert check_golden(tmp_path, predict, "it") == 2
    assert tuple(asked) == PHOTOS
