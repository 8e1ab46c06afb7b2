"""A version answers the warm-up requests in its folder before it becomes available, or is not loaded."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.models_config import ModelConfig, render
from serving.protos import message
from serving.server import warm_up
from serving.server.serving_error import ServingError
from serving.server.warm_up import MAX_RECORDS, WARM_UP_FILE, load_warm
from serving.status_codes import StatusCode
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, until


def record(body: bytes) -> bytes:
    head = struct.pack("<Q", len(body))
    return b"".join(
        (head, struct.pack("<I", warm_up._masked_crc(head)), body, struct.pack("<I", warm_up._masked_crc(body)))
    )


def predict(values: list[float], alias: str = "x", signature: str = "") -> bytes:
    log = message("PredictionLog")()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    tensor = request.inputs[alias]
    tensor.dtype, tensor.float_val[:] = 1, values
    tensor.tensor_shape.dim.add(size=len(values))
    return log.SerializeToString()


@pytest.fixture
def folder(zoo: Path, tmp_path: Path) -> Path:
    """A copy of the model with warm-up requests, for tests that change them."""
    return Path(shutil.copytree(zoo / "warm" / "1", tmp_path / "warm" / "1"))


def load(folder: Path) -> int:
    servable = load_warm("warm", 1, folder, "proved")
    servable.close()
    return servable.warm_up_requests


def test_requests_of_every_kind_that_tensorflow_wrote_are_answered(folder):
    assert load(folder) == 4


def test_a_model_without_the_file_has_none(zoo):
    assert load(zoo / "half_plus_two" / "123") == 0


@given(st.binary(max_size=3000))
def test_the_checksum_of_long_bodies_is_that_of_short_ones(body):
    crc = 0xFFFFFFFF
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert warm_up._crc(body) == crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("records", "code", "text"),
    [
        (predict([1.0], "wrong"), StatusCode.INVALID_ARGUMENT, "warm-up record 0"),
        (predict([1.0], signature="none"), StatusCode.FAILED_PRECONDITION, 'Serving signature key "none" not found'),
        (b"\xff\xff\xff", StatusCode.INVALID_ARGUMENT, "Failed to parse warmup record"),
        (
            message("PredictionLog")(session_run_log={}).SerializeToString(),
            StatusCode.UNIMPLEMENTED,
            "Unsupported log_type",
        ),
    ],
)
def test_a_record_that_fails_fails_the_load(folder, records, code, text):
    (folder / WARM_UP_FILE).write_bytes(record(records))

    with pytest.raises(ServingError, match=text) as caught:
        load(folder)

    assert caught.value.code is code


def test_a_damaged_file_fails_the_load(folder):
    good = (folder / WARM_UP_FILE).read_bytes()
    for bad in (b"no record", good[:-1], good[:9], good[:20] + bytes([good[20] ^ 1]) + good[21:], b"\xff" * 12):
        (folder / WARM_UP_FILE).write_bytes(bad)

        with pytest.raises(ServingError, match="verify your warmup data is in TFRecord format") as caught:
            load(folder)

        assert caught.value.code is StatusCode.DATA_LOSS


def test_there_are_at_most_a_thousand_records(folder):
    one = record(predict([1.0]))
    (folder / WARM_UP_FILE).write_bytes(one * MAX_RECORDS)
    assert load(folder) == MAX_RECORDS

    (folder / WARM_UP_FILE).write_bytes(one * (MAX_RECORDS + 1))
    with pytest.raises(ServingError, match="exceeds the maximum"):
        load(folder)


def test_a_version_is_available_only_after_its_warm_up(folder, tmp_path):
    shutil.copytree(folder, folder.with_name("2"))
    (folder.with_name("2") / WARM_UP_FILE).write_bytes(record(predict([1.0], "wrong")))
    (tmp_path / "models.config").write_text(render([ModelConfig("warm", str(folder.parent))]))

    with Serve(tmp_path / "models.config", tmp_path / "log", ENVIRONMENT, wait=False) as server:
        until(lambda: server.port and "load failed" in server.text, "version 2 fails")
        status = server.get("/v1/models/warm/versions/2").json["model_version_status"][0]

        assert status["state"] != "AVAILABLE"
        assert "warm-up record 0" in server.text
