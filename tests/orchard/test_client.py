from __future__ import annotations

import base64
import json
import socket

import pytest

from orchard import photo_formats
from orchard.cli import main
from orchard.client import ModelServer, Prediction, VersionStatus
from orchard.errors import DataError, ServerError
from tests import drawn_profiles, photo_files
from tests.orchard.scripted_server import answering
from training.data.ingest.decode import inspect
from training.data.schema import SchemaRules

TOKEN = "-".join(("one", "for", "tests"))
JPEG = b"\xff\xd8\xff\xe0 a photo"
PNG = b"\x89PNG\r\n\x1a\n another"
BANANA = {"label": "Banana", "probability": 0.998, "probabilities": [0.002, 0.998]}
PLUM = {"label": "Plum", "probability": 0.5, "probabilities": [0.5, 0.5]}


def test_photos_are_predicted_in_one_request():
    with answering((200, {"predictions": [BANANA, PLUM]})) as there, ModelServer(there.url + "/") as server:
        found = server.predict([JPEG, PNG], "fruits")

    assert found == [Prediction("Banana", 0.998, (0.002, 0.998)), Prediction("Plum", 0.5, (0.5, 0.5))]
    instances = [{"b64": base64.b64encode(photo).decode()} for photo in (JPEG, PNG)]
    assert there.requests == [("POST", "/v1/models/fruits:predict", {"instances": instances}, None)]


def test_version_label_and_token_go_where_they_belong():
    with answering((200, {"predictions": [PLUM]})) as there, ModelServer(there.url, token=TOKEN) as server:
        server.predict([JPEG], "fruits", version=7)
        server.predict([JPEG], "fruits", label="a/b")
        with pytest.raises(ValueError, match="not both"):
            server.predict([JPEG], "fruits", version=7, label="x")
        assert server.predict([], "fruits") == []

    assert [request[1] for request in there.requests] == [
        "/v1/models/fruits/versions/7:predict",
        "/v1/models/fruits/labels/a%2Fb:predict",
    ]
    assert {request[3] for request in there.requests} == {f"Bearer {TOKEN}"}


def test_status_lists_versions_newest_first():
    answer = {
        "model_version_status": [
            {"version": "9", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
            {"version": "10", "state": "END", "status": {"error_code": "INTERNAL", "error_message": "no variables"}},
        ]
    }
    with answering((200, answer)) as there, ModelServer(there.url) as server:
        found = server.status("fruits")

    assert found == [VersionStatus(10, "END", "no variables"), VersionStatus(9, "AVAILABLE", "")]
    assert there.requests[0][:2] == ("GET", "/v1/models/fruits")


def test_metadata_is_given_as_it_is():
    with answering((200, {"model_spec": {"version": "3"}})) as there, ModelServer(there.url) as server:
        assert server.metadata("fruits", label="canary") == {"model_spec": {"version": "3"}}

    assert there.requests[0][:2] == ("GET", "/v1/models/fruits/labels/canary/metadata")


@pytest.mark.parametrize(
    ("status", "answer", "sentence", "advice"),
    [
        (
            404,
            {"error": "Servable not found for request: Latest(fruits)"},
            "answered 404: Servable not found",
            "loaded",
        ),
        (400, {"error": "Unrecognized servable version label: x"}, "answered 400: Unrecognized", "loaded"),
        (400, {"error": "Unknown image file format."}, "Unknown image file format", "whole JPEG or PNG"),
        (401, {"error": "The request needs a valid bearer token"}, "answered 401", "--token-file"),
        (413, {"error": "too large"}, "answered 413", "smaller"),
        (429, {"error": "busy"}, "answered 429: busy", "try again"),
        (503, b"<html>", "answered 503: Service Unavailable", "try again"),
        (500, {"error": "x" * 999}, "answered 500: x+$", "log"),
        (500, {"error": ""}, "answered 500: Internal Server Error", "log"),
        (302, b"", "answered 302", "log"),
        (200, b"<html>", "did not answer with a JSON object", "ORCHARD_SERVER_URL"),
        (200, [1], "did not answer with a JSON object", "ORCHARD_SERVER_URL"),
        (200, {}, "one prediction for each of 1 photos", ""),
        (200, {"predictions": [PLUM, PLUM]}, "one prediction for each of 1 photos", ""),
        (200, {"predictions": [3.5]}, "without label, probability", "export"),
        (200, {"predictions": [{**PLUM, "probability": None}]}, "without label, probability", "export"),
        (200, {"predictions": [{**PLUM, "probability": float("nan")}]}, "an invalid label or probability", ""),
        (200, {"predictions": [{**PLUM, "label": 3}]}, "an invalid label or probability", ""),
    ],
)
def test_every_invalid_answer_is_an_error_with_a_hint(status, answer, sentence, advice):
    with (
        answering((status, answer)) as there,
        ModelServer(there.url) as server,
        pytest.raises(ServerError, match=sentence) as caught,
    ):
        server.predict([JPEG], "fruits")

    assert there.url in caught.value.message
    assert advice in caught.value.hint
    assert len(there.requests) == 1  # a request that was sent is not sent again
    assert len(caught.value.message) < 500


def test_invalid_status_is_an_error():
    answer = {"model_version_status": [{"version": "x"}]}
    with (
        answering((200, answer)) as there,
        ModelServer(there.url) as server,
        pytest.raises(ServerError, match="versions and their states"),
    ):
        server.status("fruits")


def test_server_that_is_not_there_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            ModelServer(url) as server,
            pytest.raises(ServerError, match=f"no model server answers at {url}") as caught,
        ):
            server.predict([JPEG], "fruits")

    assert "ORCHARD_SERVER_URL" in caught.value.hint


def test_server_that_says_nothing_is_not_waited_for_for_ever():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            ModelServer(url, read_seconds=0.2) as server,
            pytest.raises(ServerError, match=r"did not answer .* within 0\.2 s"),
        ):
            server.predict([JPEG], "fruits")


def predict(capsys, monkeypatch, url, *args):
    monkeypatch.setenv("ORCHARD_SERVER_URL", url)
    code = main(["predict", *args])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def photos(workspace):
    (workspace / "banana.jpg").write_bytes(JPEG)
    (workspace / "p.png").write_bytes(PNG)
    return workspace


def test_predict_prints_photo_label_and_probability(photos, capsys, monkeypatch):
    with answering((200, {"predictions": [BANANA]}), (200, {"predictions": [PLUM]})) as there:
        code, out, _ = predict(capsys, monkeypatch, there.url, "banana.jpg", "p.png", "--channel", "canary")

    assert code == 0
    assert out == "banana.jpg  Banana  99.8 %\np.png       Plum    50.0 %\n"
    assert there.requests[0][1] == "/v1/models/fruits/labels/canary:predict"


def test_predict_uses_the_version_that_the_channel_points_to(photos, capsys, monkeypatch):
    with answering((200, {"predictions": [BANANA]})) as there:
        assert predict(capsys, monkeypatch, there.url, "banana.jpg")[0] == 0
        assert predict(capsys, monkeypatch, there.url, "banana.jpg", "--version", "3")[0] == 0
        monkeypatch.setenv("ORCHARD_CHANNEL", "canary")
        assert predict(capsys, monkeypatch, there.url, "banana.jpg")[0] == 0
        assert predict(capsys, monkeypatch, there.url, "banana.jpg", "--channel", "shadow")[0] == 0
        assert predict(capsys, monkeypatch, there.url, "banana.jpg", "--channel", "staging")[0] == 0

    assert [request[1] for request in there.requests] == [
        "/v1/models/fruits/labels/stable:predict",
        "/v1/models/fruits/versions/3:predict",
        "/v1/models/fruits/labels/canary:predict",
        "/v1/models/fruits/labels/shadow:predict",
        "/v1/models/fruits/labels/staging:predict",
    ]


def test_channel_that_the_server_does_not_know_is_named_with_the_way_out(photos, capsys, monkeypatch):
    with answering((400, {"error": "Unrecognized servable version label: canary"})) as there:
        code, out, err = predict(capsys, monkeypatch, there.url, "banana.jpg", "--channel", "canary")

    assert (code, out) == (9, "")
    assert "Unrecognized servable version label: canary" in err
    for way in ("orchard history", "orchard sync", "--version N"):
        assert way in err


def test_predict_prints_json_and_reads_a_token(photos, capsys, monkeypatch):
    (photos / "token").write_text("# mine\n\nsecret-token\n")
    with answering((200, {"predictions": [BANANA]})) as there:
        code, out, _ = predict(capsys, monkeypatch, there.url, "banana.jpg", "--json", "--token-file", "token")

    assert (code, json.loads(out)) == (
        0,
        {
            "model": "fruits",
            "predictions": [{"photo": "banana.jpg", "label": "Banana", "probability": 0.998, "unsure": False}],
        },
    )
    assert there.requests[0][3] == "Bearer secret-token"


def test_predict_says_where_the_model_is_unsure(photos, capsys, monkeypatch):
    unsure = {**BANANA, "classes": ["Apple", "Banana"], "unsure": True}
    with answering((200, {"predictions": [unsure]}), (200, {"predictions": [BANANA]})) as there:
        code, out, _ = predict(capsys, monkeypatch, there.url, "banana.jpg", "banana.jpg")

    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["banana.jpg", "Banana", "99.8", "%", "unsure"],
        ["banana.jpg", "Banana", "99.8", "%"],
    ]


TIE = {"label": "Apple", "probability": 0.4, "probabilities": [0.4, 0.2, 0.4], "classes": ["Apple", "Fig", "Plum"]}


def test_predict_prints_the_best_classes_below_the_label(photos, capsys, monkeypatch):
    fig = {**TIE, "label": "Fig", "probability": 1.0, "probabilities": [0.0, 1.0, 0.0], "unsure": True}
    with answering((200, {"predictions": [TIE]}), (200, {"predictions": [fig]})) as there:
        code, out, _ = predict(capsys, monkeypatch, there.url, "banana.jpg", "p.png", "--top", "2")

    assert code == 0
    assert out.splitlines() == [
        "banana.jpg  Apple   40.0 %",
        "            Plum    40.0 %",
        "p.png       Fig    100.0 %  unsure",
        "            Apple    0.0 %",
    ]


@pytest.mark.parametrize(
    ("top", "names"), [(1, ["Apple"]), (3, ["Apple", "Plum", "Fig"]), (9, ["Apple", "Plum", "Fig"])]
)
def test_predict_prints_the_best_classes_as_json(photos, capsys, monkeypatch, top, names):
    with answering((200, {"predictions": [TIE]})) as there:
        _, out, _ = predict(capsys, monkeypatch, there.url, "banana.jpg", "--top", str(top), "--json")

    (prediction,) = json.loads(out)["predictions"]
    shares = {"Apple": 0.4, "Plum": 0.4, "Fig": 0.2}
    assert prediction["top"] == [{"label": name, "probability": shares[name]} for name in names]
    assert prediction["label"] == "Apple"


def test_predict_names_no_best_classes_of_a_model_that_does_not(photos, capsys, monkeypatch):
    with answering((200, {"predictions": [BANANA]})) as there:
        code, out, err = predict(capsys, monkeypatch, there.url, "banana.jpg", "--top", "2")

    assert (code, out) == (9, "")
    assert "names 0 classes" in err
    assert predict(capsys, monkeypatch, there.url, "banana.jpg", "--top", "0")[0] == 2


def test_predict_reads_standard_input(photos, capsys, monkeypatch):
    with answering((200, {"predictions": [BANANA]})) as there, (photos / "banana.jpg").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        code, out, _ = predict(capsys, monkeypatch, there.url, "-")

    assert (code, out.split()) == (0, ["-", "Banana", "99.8", "%"])


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["banana.jpg", "nowhere.jpg"], 4, "nowhere.jpg cannot be read: No such file"),
        (
            ["banana.jpg", "notes.txt"],
            4,
            "notes.txt is not a photo: expected a JPEG, PNG, HEIC, AVIF, WebP, GIF, TIFF or BMP file",
        ),
        (["empty.jpg"], 4, "empty.jpg is not a photo"),
        (["large.jpg"], 4, "large.jpg has more than 32 MiB"),
        (["."], 4, ". cannot be read: Is a directory"),
        (["banana.jpg", "--version", "1", "--channel", "canary"], 2, "exclude each other"),
        (["-", "-"], 2, "standard input can be read once"),
        ([], 2, "Missing argument"),
        (["banana.jpg", "--token-file", "empty.jpg"], 4, "has no token"),
        (["banana.jpg", "--token-file", "nowhere"], 4, "the token cannot be read"),
    ],
)
def test_predict_asks_nothing_when_the_command_line_is_wrong(photos, capsys, monkeypatch, args, code, sentence):
    (photos / "notes.txt").write_text("apples")
    (photos / "empty.jpg").write_bytes(b"")
    with (photos / "large.jpg").open("wb") as file:
        file.write(JPEG)
        file.truncate((32 << 20) + 1)

    with answering((200, {"predictions": [BANANA]})) as there:
        found, out, err = predict(capsys, monkeypatch, there.url, *args)

    assert (found, out, there.requests) == (code, "", [])
    assert sentence in err


def test_photo_that_the_server_cannot_read_is_named(photos, capsys, monkeypatch):
    answers = ((200, {"predictions": [BANANA]}), (400, {"error": "Unknown image file format."}))
    with answering(*answers) as there:
        code, out, err = predict(capsys, monkeypatch, there.url, "banana.jpg", "p.png")

    assert (code, out) == (9, "")
    assert "error: p.png: " in err
    assert "Unknown image file format" in err


PICTURE = photo_files.photo()
OTHERS = {
    **{form: photo_files.encoded(PICTURE, form) for form in ("GIF", "WEBP", "BMP", "TIFF", "AVIF")},
    "HEIC": photo_files.heic(PICTURE),
    "wide JPEG": photo_files.encoded(PICTURE, icc_profile=drawn_profiles.P3),
    "wide PNG": photo_files.encoded(PICTURE, "PNG", icc_profile=drawn_profiles.P3),
    "animated GIF": photo_files.animated(),
    "animated PNG": photo_files.encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(9)]),
}


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS.keys())
def test_photo_that_no_model_reads_is_sent_as_ingest_stores_it(body):
    with answering((200, {"predictions": [BANANA]})) as there, ModelServer(there.url) as server:
        server.predict([body], "fruits")

    (sent,) = there.requests[0][2]["instances"]
    assert base64.b64decode(sent["b64"]) == inspect(body, SchemaRules()).body != body


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("profile", [None, drawn_profiles.SRGB, drawn_profiles.SRGB_TABLE])
def test_photo_in_srgb_is_not_even_decoded(monkeypatch, form, profile):
    monkeypatch.setattr(photo_formats, "entry_points", lambda **_: ())
    body = photo_files.encoded(PICTURE, form, icc_profile=profile)

    assert photo_formats.as_served(body) is body


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("HEIC", "the model reads JPEG and PNG, and this is another format"),
        ("wide JPEG", "the model reads sRGB, and this photo has another colour profile"),
        ("animated PNG", "the model reads one picture, and this PNG has several"),
    ],
)
def test_without_the_converter_other_photos_are_refused(monkeypatch, name, sentence):
    monkeypatch.setattr(photo_formats, "entry_points", lambda **_: ())

    with pytest.raises(DataError, match=sentence) as refused:
        photo_formats.as_served(OTHERS[name])
    assert "orchard-loop[training]" in (refused.value.hint or "")


def test_photo_that_ingest_refuses_is_refused_with_its_reason_and_not_sent():
    with answering((200, {"predictions": [BANANA]})) as there, ModelServer(there.url) as server:
        pages = photo_files.encoded(PICTURE, "TIFF", save_all=True, append_images=[PICTURE.rotate(9)])
        with pytest.raises(DataError, match="several pages: 2 pages in one file"):
            server.predict([pages], "fruits")
        assert there.requests == []
