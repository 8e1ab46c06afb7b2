"""Capture by real servers and a real store: what is stored of each kind of request, and what never is."""

from __future__ import annotations

import base64
import io
import json
import uuid
from dataclasses import dataclass

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchard import layout
from orchard.captures import COLUMNS
from orchard.orientation import read_orientation
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from serving.models_config import ModelConfig, render
from tests.free_ports import free_ports
from tests.serving.grpc_client import GrpcTestClient
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, send_request, until
from tests.training.candidates import draw
from training.data.captured_photos import iterate_captures, list_captures

MODEL, VERSION = "fruits", 7
RED, BLUE, GREEN = draw("Red", 1), draw("Blue", 2), draw("Green", 3)
PAGE = "/monitoring/prometheus/metrics"
PLACE = "taken at Anna's house"


def marked(body, form="JPEG"):
    """A photo that stands on its side and names a place."""
    block = Image.Exif()
    block[0x0112], block[0x010E] = 6, PLACE
    written = io.BytesIO()
    with Image.open(io.BytesIO(body)) as opened:
        opened.save(written, form, exif=block, quality=95)
    return written.getvalue()


def gif():
    written = io.BytesIO()
    Image.new("RGB", (40, 40), "green").save(written, "GIF")
    return written.getvalue()


def instances(photos):
    return {"instances": [{"b64": base64.b64encode(photo).decode()} for photo in photos]}


def form(photos):
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="p"; filename="a.jpg"\r\n\r\n%b\r\n' % each for each in photos
    ]
    return b"".join(parts) + b"--b--\r\n"


@dataclass
class Captured:
    """What a server has captured, by request id, and what it exported and logged meanwhile."""

    rows: dict[str, list]
    store: ObjectStore
    page: str
    log: str


def write_config(zoo, folder, name="photos/named"):
    (folder / "m").mkdir()
    (folder / "m" / str(VERSION)).symlink_to(zoo / name)
    (folder / "models.config").write_text(render([ModelConfig(MODEL, str(folder / "m"), labels={"stable": VERSION})]))
    return folder / "models.config"


def send_all(server, port):
    """One request of each kind; the id says which."""

    def post(name, body, content_type="application/json", end="", **headers):
        more = {
            "Content-Type": content_type,
            "X-Request-Id": name,
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }
        answer = send_request(server.port, "POST", f"/v1/models/{MODEL}{end}:predict", body, more)
        assert answer.status == 200, answer.body
        return answer

    post("json", instances([RED]), end="/labels/stable")
    post("rows", instances([BLUE, marked(GREEN)]), X_Client="till-4")
    post("raw", marked(RED), "image/jpeg", X_Orchard_Channel="stable")
    post("form", form([RED, gif(), BLUE]), "multipart/form-data; boundary=b", X_Client="till-4")
    post("forbidden", instances([RED]), X_Orchard_No_Capture="1")
    post("empty-no", RED, "image/jpeg", X_Orchard_No_Capture="")
    document = {"inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(RED).decode()],
                            "parameters": {"content_type": "base64"}}]}  # fmt: skip
    answer = send_request(server.port, "POST", f"/v2/models/{MODEL}/infer", document, {"X-Request-Id": "infer"})
    assert answer.status == 200, answer.body
    pixels = {"signature_name": "pixels", "instances": [np.zeros((16, 16, 3)).tolist()]}
    send_request(server.port, "POST", f"/v1/models/{MODEL}:predict", pixels, {"X-Request-Id": "no-photo"})
    assert (
        send_request(server.port, "POST", f"/v1/models/{MODEL}:predict", b"no", {"Content-Type": "image/jpeg"}).status
        == 400
    )

    photos = np.array([RED, BLUE], object)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = GrpcTestClient(channel)
        client.predict(
            MODEL,
            {"image_bytes": photos},
            outputs=["label"],
            metadata=[("x-request-id", "rpc"), ("x-orchard-channel", "stable")],
        )
        client.predict(
            MODEL, {"image_bytes": photos}, metadata=[("x-request-id", "rpc-no"), ("x-orchard-no-capture", "")]
        )
        client.predict(MODEL, {"image_bytes": photos[:1]}, metadata=[("x-request-id", "unsafe id, <b>")])


@pytest.fixture(scope="module")
def captured(zoo, embedded_store, tmp_path_factory):
    """Two workers that captured everything, and were stopped."""
    folder, bucket = tmp_path_factory.mktemp("captured"), f"c{uuid.uuid4().hex[:16]}"
    embedded_store.create_bucket(bucket)
    environment = {**embedded_store.environment, "ORCHARD_STORE_URL": f"s3://{bucket}"}
    own, rpc = free_ports(2), free_ports()
    options = ("--workers", "2", "--worker-port", str(own), "--grpc-port", str(rpc), "--capture", "100")
    config = write_config(zoo, folder)
    with Serve(config, folder / "log", {**ENVIRONMENT, **environment}, *options) as server:
        until(lambda: all(is_ready(port) for port in (own, own + 1)), "both workers are ready")
        send_all(server, rpc)

        def pages():
            return "".join(send_request(port, "GET", PAGE).body.decode() for port in (own, own + 1))

        until(lambda: dropped(pages(), "unreadable"), "the thread has looked at the photo that is none")
        page = pages()
    store = open_store(Settings(**{key.removeprefix("ORCHARD_").lower(): value for key, value in environment.items()}))
    rows = {}
    for photo in iterate_captures(store, list_captures(store, MODEL)):
        rows.setdefault(photo.request_id, []).append(photo)
    return Captured(rows, store, page, (folder / "log").read_text())


def is_ready(port):
    try:
        return send_request(port, "GET", "/readyz").status == 200
    except OSError:
        return False


def dropped(page, reason):
    lines = [
        line
        for line in page.splitlines()
        if line.startswith(f'orchard_serving_capture_dropped_total{{reason="{reason}"}}')
    ]
    return sum(float(line.split()[-1]) for line in lines)


def facts(rows):
    return [(row.photo, row.label, row.version, row.channel) for row in sorted(rows, key=lambda row: row.photo)]


def test_each_kind_of_request_is_stored_with_its_predictions(captured):
    found = captured.rows

    assert facts(found["json"]) == [(0, "Red", VERSION, "stable")]
    assert facts(found["rows"]) == [(0, "Blue", VERSION, None), (1, "Green", VERSION, None)]
    assert facts(found["raw"]) == [(0, "Red", VERSION, "stable")]
    assert facts(found["form"]) == [(0, "Red", VERSION, None), (2, "Blue", VERSION, None)]
    assert facts(found["infer"]) == [(0, "Red", VERSION, None)]
    assert facts(found["rpc"]) == [(0, "Red", VERSION, "stable"), (1, "Blue", VERSION, "stable")]
    everything = [row for rows in found.values() for row in rows]
    assert {row.unsure for row in everything} == {False}
    assert all(0.5 < row.probability <= 1 for row in everything)
    assert found["json"][0].image == RED  # it has no metadata


def test_what_its_sender_forbids_is_not_stored(captured):
    assert not {"forbidden", "empty-no", "rpc-no", "no-photo"} & set(captured.rows)
    assert dropped(captured.page, "opt_out") == 3


def test_an_id_that_is_not_safe_is_replaced(captured):
    others = set(captured.rows) - {"json", "rows", "raw", "form", "infer", "rpc"}
    (replaced,) = others
    assert replaced.isalnum()


def test_metadata_is_gone_and_the_orientation_is_not(captured):
    (row,) = captured.rows["raw"]

    assert read_orientation(row.image) == 6
    with Image.open(io.BytesIO(row.image)) as stored, Image.open(io.BytesIO(marked(RED))) as sent:
        assert dict(stored.getexif()) == {0x0112: 6}
        assert np.array_equal(np.asarray(stored), np.asarray(sent))
    for stat in captured.store.list("capture"):
        assert PLACE.encode() not in captured.store.get(stat.key).body


def test_a_photo_that_cannot_be_followed_is_dropped_and_counted(captured):
    assert dropped(captured.page, "unreadable") == 1


def test_a_client_is_a_hash_that_two_workers_share_and_no_address(captured):
    clients = {name: {row.client for row in rows} for name, rows in captured.rows.items()}

    assert clients["rows"] == clients["form"] != clients["json"]
    assert clients["json"] == clients["rpc"]  # by REST and by gRPC from the same address
    for stat in captured.store.list("capture"):
        body = captured.store.get(stat.key).body
        assert b"127.0.0.1" not in body
        assert b"till-4" not in body


def test_files_are_parquet_that_other_readers_know(captured):
    stats = list(captured.store.list("capture"))
    day = next(iter(captured.rows.values()))[0].time.date().isoformat()

    assert 1 <= len(stats) <= 4  # a file of each worker, and two days at midnight
    for stat in stats:
        assert layout.day_of_capture_key(stat.key) is not None
        file = pq.ParquetFile(io.BytesIO(captured.store.get(stat.key).body))
        assert file.schema_arrow.names == list(COLUMNS)
        assert str(file.schema_arrow.field("image").type) == "struct<bytes: binary, path: string>"
        features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
        assert features["image"] == {"_type": "Image"}
        photos = next(column for column in columns(file) if column.path_in_schema == "image.bytes")
        assert (photos.compression, photos.has_dictionary_page) == ("UNCOMPRESSED", False)
    assert list_captures(captured.store, MODEL, ["1999-12-31"]) == []
    assert list_captures(captured.store, MODEL, [day])


def columns(file):
    return [file.metadata.row_group(0).column(number) for number in range(file.metadata.num_columns)]


def test_a_server_whose_store_is_down_answers_all_and_ends_in_time(zoo, tmp_path):
    environment = {
        "ORCHARD_STORE_URL": "s3://nowhere",
        "ORCHARD_STORE_ENDPOINT": f"http://127.0.0.1:{free_ports()}",
        "ORCHARD_CAPTURE": "100",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    with Serve(
        write_config(zoo, tmp_path), tmp_path / "log", {**ENVIRONMENT, **environment}, "--drain-timeout", "1"
    ) as server:
        for _ in range(20):
            assert server.predict(MODEL, instances([RED])).status == 200
        server.child.process.terminate()
        assert server.child.wait() == 0
    (line,) = [line for line in server.text.splitlines() if " capture " in line]
    assert "dropped=20" in line
