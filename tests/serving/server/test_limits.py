"""Every limit is an option with a row in docs/operating.md, and a refusal names the option and the better ways."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from serving.cli.serve import serve
from serving.http.http_messages import HttpLimits
from serving.server.limit_options import read_limits
from serving.server.predictions import PredictionOptions
from serving.server.rest.request_body import parse_body
from serving.server.serving_error import ServingError
from tests.serving.server.echo_server import run

ROOT = Path(__file__).resolve().parents[3]
LIMITS = (ROOT / "docs/operating.md").read_text(encoding="utf-8").split("## The server's limits")[1].split("\n## ")[0]
ROWS = dict(re.findall(r"^\| `(--[a-z-]+)` \| ([^|]+) \|", LIMITS, re.MULTILINE))
OPTIONS = {
    option.opts[0]: option.default
    for option in serve.params
    if option.opts[0].startswith("--max-") or option.opts[0].endswith("timeout") or option.opts[0] == "--min-rate"
}


def test_every_limit_has_a_row_with_its_default():
    assert OPTIONS.keys() == ROWS.keys()
    for name, default in OPTIONS.items():
        assert float(ROWS[name].split()[0].replace(",", "")) == default, name


def test_the_defaults_of_the_options_are_those_of_the_code():
    values = {name.removeprefix("--").replace("-", "_"): default for name, default in OPTIONS.items()}

    assert read_limits(values) == HttpLimits()
    requests = PredictionOptions(
        timeout_s=values["timeout"], max_in_flight=values["max_in_flight"], max_values=values["max_values"]
    )
    assert requests == PredictionOptions()


def test_the_refusal_of_a_photo_as_numbers_names_the_way_out():
    image = json.dumps({"instances": [[[[0, 0, 0]] * 64] * 64]}).encode()

    with pytest.raises(ServingError) as refused:
        parse_body(image, 10_000)

    assert refused.value.http_status == 413
    for part in ("--max-values", "b64", "gRPC"):
        assert part in refused.value.message


def test_the_refusal_of_a_large_body_names_the_way_out():
    received = run(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")

    message = json.loads(received.split(b"\r\n\r\n", 1)[1])["error"]
    for part in ("1000 bytes", "--max-body", "b64", "gRPC"):
        assert part in message
