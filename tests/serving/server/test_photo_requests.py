"""Photos as they are: one as the body, several as a form, answered by class name."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from serving.models_config import ModelConfig, render
from serving.server.rest.photo_bodies import MAX_PHOTOS
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, raw
from tests.training.candidates import COLOURS, draw

VERSION = 7
RED, BLUE = draw("Red", 1), draw("Blue", 2)
BOUNDARY = "----a-boundary"


@pytest.fixture(scope="module")
def photo_server(zoo, tmp_path_factory):
    """A server of models that name classes (`named`), do not (`m`), echo bytes (`echo`), and take numbers (`numbers`)."""
    folder = tmp_path_factory.mktemp("photo_server")
    sources = {"named": "photos/named", "m": "photos/one", "echo": "echo/1", "numbers": "matrix/1", "none": "counter/1"}
    configs = []
    for name, source in sources.items():
        (folder / name).mkdir()
        (folder / name / str(VERSION)).symlink_to(zoo / source)
        configs.append(ModelConfig(name, str(folder / name), labels={"stable": VERSION}))
    (folder / "models.config").write_text(render(configs))
    with Serve(folder / "models.config", folder / "log", ENVIRONMENT, "--max-body", "2") as server:
        yield server


def post(server, body, content_type="image/jpeg", path="named:predict"):
    return server.send_request("POST", f"/v1/models/{path}", body, {"Content-Type": content_type})


def base64_json(server, photos, path="named:predict"):
    instances = [{"b64": base64.b64encode(photo).decode()} for photo in photos]
    return server.send_request("POST", f"/v1/models/{path}", {"instances": instances})


FIELD = 'Content-Disposition: form-data; name="photo"'
FILE = f'{FIELD}; filename="a.jpg"'


def part(photo, headers=f"{FILE}\r\nContent-Type: image/jpeg"):
    return b"--%b\r\n%b\r\n\r\n%b\r\n" % (BOUNDARY.encode(), headers.encode(), photo)


def post_form(server, *parts, path="named:predict", end=f"--{BOUNDARY}--\r\n"):
    return post(server, b"".join(parts) + end.encode(), f"multipart/form-data; boundary={BOUNDARY}", path)


def encoded(form, **options):
    body = io.BytesIO()
    Image.new("RGB", (40, 40), COLOURS["Green"]).save(body, form, **options)
    return body.getvalue()


def test_a_photo_is_answered_with_its_class_and_the_version(photo_server):
    answer = post(photo_server, RED)

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    (prediction,) = answer.json["predictions"]
    assert answer.json == {"model": "named", "version": VERSION, "predictions": [prediction]}
    assert list(prediction) == ["label", "probability", "unsure"]
    assert prediction["label"] == "Red"
    assert prediction["unsure"] is False
    assert b"channel" not in answer.body


@pytest.mark.parametrize(
    ("path", "extra"),
    [("labels/stable", {"channel": "stable"}), (f"versions/{VERSION}", {}), ("labels/st%61ble", {"channel": "stable"})],
)
def test_an_answer_names_the_channel_that_was_asked_for(photo_server, path, extra):
    answer = post(photo_server, BLUE, path=f"named/{path}:predict").json
    assert {name: value for name, value in answer.items() if name not in ("model", "predictions")} == {
        "version": VERSION,
        **extra,
    }


def test_an_answer_names_the_channel_that_a_header_chose(photo_server):
    headers = {"Content-Type": "image/jpeg", "X-Orchard-Channel": "stable"}
    assert photo_server.send_request("POST", "/v1/models/named:predict", BLUE, headers).json["channel"] == "stable"

    headers["X-Orchard-Channel"] = "none"
    assert photo_server.send_request("POST", "/v1/models/named:predict", BLUE, headers).status == 404


def same(json_answer, photo_answer):
    """Whether both have the same predictions, or the same error."""
    if json_answer.status != 200:
        return (json_answer.status, json_answer.body) == (photo_answer.status, photo_answer.body)
    rows = [{name: row[name] for name in ("label", "probability", "unsure")} for row in json_answer.json["predictions"]]
    return photo_answer.status == 200 and photo_answer.json["predictions"] == rows


@pytest.mark.parametrize(
    ("photo", "content_type"),
    [
        (RED, "image/jpeg"),
        (RED, "image/jpg"),
        (RED, "IMAGE/JPEG; q=1"),
        (RED, "image/png"),  # the bytes decide, not what the sender thinks they are
        (encoded("PNG"), "image/png"),
        (encoded("WEBP"), "image/webp"),
        (encoded("GIF"), "image/jpeg"),
        (RED[:-200], "image/jpeg"),
        (b"<svg onload='alert(1)'/>", "image/png"),
        (b'{"instances": [1.0]}', "image/jpeg"),
        (b"", "image/jpeg"),
    ],
)
def test_the_model_answers_the_same_bytes_as_in_base64(photo_server, photo, content_type):
    in_json = base64_json(photo_server, [photo])
    assert in_json.status == (200 if photo in (RED, encoded("PNG"), encoded("GIF")) else 400)
    assert same(in_json, post(photo_server, photo, content_type))
    assert same(in_json, post_form(photo_server, part(photo)))


@pytest.mark.parametrize("chunk", [1 << 20, 40_000])
def test_large_photos_arrive_whole(photo_server, chunk):
    """One that is read in the event loop, and one that a thread copies."""
    for size in (chunk, chunk + 1):
        photo = np.random.default_rng(size).bytes(size)
        answer = post(photo_server, photo, path="echo:predict")
        assert base64.b64decode(answer.json["predictions"][0]["b64"]) == photo
        answer = post_form(photo_server, part(photo), part(photo), path="echo:predict") if chunk < 1 << 20 else answer
        assert {base64.b64decode(row["b64"]) for row in answer.json["predictions"]} == {photo}


def test_photos_of_a_form_are_answered_in_their_order(photo_server):
    photos = [draw(colour, number) for number in range(8) for colour in COLOURS]
    assert len(photos) == MAX_PHOTOS

    answer = post_form(photo_server, *map(part, photos), path="named/labels/stable:predict?top=2")

    assert [row["label"] for row in answer.json["predictions"]] == list(COLOURS) * 8
    assert {len(row["top"]) for row in answer.json["predictions"]} == {2}
    assert (answer.json["version"], answer.json["channel"]) == (VERSION, "stable")
    assert same(base64_json(photo_server, photos), post_form(photo_server, *map(part, photos)))


@pytest.mark.parametrize("top", [1, 3, len(COLOURS)])
def test_top_names_the_best_classes_in_their_order(photo_server, top):
    (row,) = base64_json(photo_server, [RED]).json["predictions"]
    (prediction,) = post(photo_server, RED, path=f"named:predict?top={top}").json["predictions"]

    pairs = sorted(zip(row["probabilities"], row["classes"], strict=True), key=lambda pair: -pair[0])
    assert prediction["top"] == [{"label": name, "probability": share} for share, name in pairs[:top]]
    assert prediction["top"][0] == {name: prediction[name] for name in ("label", "probability")}


@pytest.mark.parametrize(
    "query", ["top=0", "top=5", "top=-1", "top=1.0", "top=", "top", "top=x", "top=1&top=1", "n=1", "top=1&x=1", "top=%D9%A1",
        "top=9999999999", "a=1&" * 20]
)  # fmt: skip
def test_a_wrong_query_is_refused(photo_server, query):
    answer = post(photo_server, RED, path=f"named:predict?{query}")
    assert (answer.status, "top" in answer.error) == (400, True)


def test_an_empty_query_is_none(photo_server):
    assert post(photo_server, RED, path="named:predict?").status == 200


@pytest.mark.parametrize(
    ("content_type", "method"),
    [("image/gif", "predict"), ("image/heic", "predict"), ("image/svg+xml", "predict"), ("multipart/mixed; boundary=x", "predict"),
     ("video/mp4", "predict"), ("image/", "predict"), ("image/jpeg", "classify"), ("multipart/form-data; boundary=x", "regress")],
)  # fmt: skip
def test_other_media_types_are_refused_with_what_is_taken(photo_server, content_type, method):
    answer = post(photo_server, RED, content_type, f"named:{method}")
    assert answer.status == 415
    assert ("image/webp" if method == "predict" else ":predict") in answer.error


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "", "x"],
)
def test_tf_servings_json_has_any_other_type(photo_server, content_type):
    body = json.dumps({"instances": [[1.0, 2.0, 3.0, 4.0]]})
    answer = post(photo_server, body, content_type, "numbers:predict")
    assert answer.body == b'{\n    "predictions": [[7.0, 10.0]\n    ]\n}'
    assert post(photo_server, body, content_type, "numbers:predict?top=1").status == 400


def test_a_model_without_class_names_says_that_it_has_no_top(photo_server):
    (prediction,) = post(photo_server, RED, path="m:predict").json["predictions"]
    assert list(prediction) == ["label", "probability"]

    answer = post(photo_server, RED, path="m:predict?top=1")
    assert (answer.status, "classes" in answer.error) == (400, True)


def test_other_models_answer_with_their_outputs(photo_server):
    answer = post(photo_server, b"one", path="echo:predict")
    assert answer.json == {
        "model": "echo",
        "version": VERSION,
        "predictions": [{"b64": base64.b64encode(b"one").decode()}],
    }
    assert post(photo_server, b"one", path="echo:predict?top=1").status == 400


@pytest.mark.parametrize(
    ("model", "text"), [("numbers", "x (DT_FLOAT)"), ("none", "serving_default"), ("absent", "Latest(absent)")]
)
def test_a_model_that_takes_no_photos_says_so(photo_server, model, text):
    answer = post(photo_server, RED, path=f"{model}:predict")
    assert (answer.status, text in answer.error) == (404 if model == "absent" else 400, True)


@pytest.mark.parametrize(
    ("parts", "end", "text"),
    [
        ([], f"--{BOUNDARY}--", "no parts"),
        ([], "", "not valid"),
        ([part(RED)], "", "end of multipart"),
        ([part(RED)] * (MAX_PHOTOS + 1), f"--{BOUNDARY}--", f"at most {MAX_PHOTOS}"),
        ([part(RED), part(b"5", FIELD)], f"--{BOUNDARY}--", "Part 2 of the form is not a file"),
        ([part(RED, f"{FILE}\r\nContent-Type: image/gif")], f"--{BOUNDARY}--", "Part 1"),
        ([part(RED, f"{FIELD}\r\nContent-Type: multipart/mixed; boundary=b")], f"--{BOUNDARY}--", "Part 1"),
        ([part(RED, "Content-Type: image/jpeg")], f"--{BOUNDARY}--", "Content-Disposition"),
        ([part(RED, "X-A: " + "a" * 5000)], f"--{BOUNDARY}--", "header length"),
        ([part(RED, "\r\n".join(f"X-{n}: a" for n in range(50)))], f"--{BOUNDARY}--", "header count"),
        ([f"--{BOUNDARY}\r\nX-A: ".encode() + b"a" * (1 << 20)], "", "header length"),
    ],
)  # fmt: skip
def test_a_wrong_form_is_refused_with_a_sentence(photo_server, parts, end, text):
    answer = post_form(photo_server, *parts, end=end)
    assert (answer.status, text in answer.error) == (400, True), answer.error


@pytest.mark.parametrize(
    "parameters", ["", "; boundary=", "; boundary=" + "a" * 71, '; boundary="a\tb"', "; Boundary", "; boundary=é"]
)
def test_a_form_without_a_valid_boundary_is_refused(photo_server, parameters):
    answer = post(photo_server, part(RED), f"multipart/form-data{parameters}".encode())
    assert (answer.status, "boundary" in answer.error) == (400, True)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "C:\\\\photo.jpg", "<script>alert(1)</script>", "%0d%0aX-A: b", 'ü\\"', ""]
)
def test_names_of_parts_and_files_are_never_used(photo_server, name):
    headers = f'Content-Disposition: form-data; name="{name}"; filename="{name}"'
    answer = post_form(photo_server, part(RED, headers))
    assert (answer.status, same(base64_json(photo_server, [RED]), answer)) == (200, True)

    refused = post_form(photo_server, part(RED, headers + "\r\nContent-Type: text/html"))
    assert refused.status == 400
    assert "script" not in refused.error


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(photo_server):
    head = "POST /v1/models/named:predict?top=2 HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nExpect: 100-continue\r\n"
    answer = raw(photo_server.port, f"{head}Content-Length: {3 << 20}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413 ")

    unsupported = head.replace("jpeg", "gif")
    answer = raw(photo_server.port, f"{unsupported}Connection: close\r\nContent-Length: 10\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 415 ")
    wrong = head.replace("top=2", "top=x")
    answer = raw(photo_server.port, f"{wrong}Connection: close\r\nContent-Length: 10\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
