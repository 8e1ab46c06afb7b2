"""A real server: REST, gRPC and `orchard predict` see every photo upright and on white, as ingest and batch do."""

from __future__ import annotations

import base64
import json

import grpc
import keras
import pytest
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from orchard.cli import main
from orchard.orientation import ORIENTATION
from serving.models_config import ModelConfig, render
from tests import photo_files
from tests.serving.grpc_client import grpc_port
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve
from tests.training.test_model import parse, randomize_norms
from training.data.ingest.decode import inspect, plain_copy
from training.data.schema import SchemaRules
from training.model.architectures import build
from training.model.savedmodel_export import export
from training.model.savedmodel_session import open_model

PICTURE = photo_files.photo(number=9, side=38)  # under twice the model's 20 pixels: no decoder scales it down
FADING = PICTURE.copy()
FADING.putalpha(PICTURE.convert("L"))


def lying(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return photo_files.encoded(PICTURE.crop((0, 0, 38, 34)), exif=tags)


PHOTOS = {
    "upright.jpg": photo_files.encoded(PICTURE),
    **{f"turned-{orientation}.jpg": lying(orientation) for orientation in (2, 3, 6, 8)},
    "transparent.png": photo_files.encoded(FADING, "PNG"),
    "print.jpg": photo_files.encoded(PICTURE.convert("CMYK")),
    "deep.png": photo_files.png16(),
}
CONVERTED = {
    "web.webp": photo_files.encoded(FADING, "WEBP"),
    "scan.tif": photo_files.encoded(PICTURE.convert("CMYK"), "TIFF"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of an exported model, and what it predicts for upright copies of the photos, as Pillow sees them."""
    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("served") / "m"
    export(randomize_norms(build(parse().model, 3)), ("A", "B", "C"), folder / "1", rules=SchemaRules())
    copies = [plain_copy(inspect(body, SchemaRules()).body) for body in (PHOTOS | CONVERTED).values()]
    with open_model(folder / "1") as session:
        return folder, dict(zip(PHOTOS | CONVERTED, map(float, session.predict(copies).probability), strict=True))


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(render([ModelConfig("m", str(model[0]))]))
    with Serve(config, config.with_name("log"), ENVIRONMENT, "--grpc-port", "0") as running:
        yield running


def rest(server, *bodies):
    return server.predict("m", {"instances": [{"b64": base64.b64encode(body).decode()} for body in bodies]})


def test_rest_predicts_the_upright_pixels_of_every_kind_of_photo(server, model):
    expected = [model[1][name] for name in PHOTOS]

    together = [row["probability"] for row in rest(server, *PHOTOS.values()).json["predictions"]]

    assert together == pytest.approx(expected, abs=1e-5)
    assert len(set(expected)) == len(expected)


def test_grpc_predicts_the_upright_pixels_of_every_kind_of_photo(server, model):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    photos = request.inputs["image_bytes"]
    photos.dtype = 7
    photos.tensor_shape.dim.add(size=len(PHOTOS))
    photos.string_val.extend(PHOTOS.values())
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port(server)}") as channel:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)

    assert list(answer.outputs["probability"].float_val) == pytest.approx([model[1][name] for name in PHOTOS], abs=1e-5)


def test_predict_has_the_upright_pixels_and_converts_what_the_model_does_not_read(
    server, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHARD_SERVER_URL", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("ORCHARD_MODEL", "m")
    for name, body in (PHOTOS | CONVERTED).items():
        (tmp_path / name).write_bytes(body)

    assert main(["predict", *PHOTOS, *CONVERTED, "--version", "1", "--json"]) == 0

    found = {row["photo"]: row["probability"] for row in json.loads(capsys.readouterr().out)["predictions"]}
    assert found == pytest.approx(model[1], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            CONVERTED["web.webp"],
            "expected a JPEG or PNG photo; `orchard predict` converts HEIC, AVIF, WebP, GIF, TIFF and BMP",
        ),
        (photo_files.jpeg(side=28), "expected sides of 32 to 20000 pixels"),
        (photo_files.bomb(), "as side, pixels and full_size in data/schema.yaml say"),
    ],
)
def test_server_refuses_what_ingest_refuses_or_converts_with_what_to_do(server, body, reason):
    refused = rest(server, photo_files.jpeg(), body)

    assert refused.status == 400
    assert reason in refused.error
