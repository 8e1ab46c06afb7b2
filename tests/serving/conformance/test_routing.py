"""URLs, as TF Serving's `model_servers/http_rest_api_util.cc` matches them.

`net_http/server/internal/evhttp_request.cc` hands over path and query string together, and both expressions must match
all of it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.serving.programs import send_request

HALF = "/v1/models/half_plus_two"
GOOD = {"instances": [1.0]}


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", f"{HALF}?x=1", 404, "Could not find any versions of model half_plus_two?x=1"),
        ("GET", f"{HALF}/versions/123?x=1", 400, f"Malformed request: GET {HALF}/versions/123?x=1"),
        ("GET", f"{HALF}/metadata?x=1", 400, f"Malformed request: GET {HALF}/metadata?x=1"),
        ("GET", "/v1/models?x=1", 400, "Malformed request: GET /v1/models?x=1"),
        ("GET", "/v1/models/?x=1", 404, "Could not find any versions of model ?x=1"),
        ("POST", f"{HALF}:predict?x=1", 400, f"Malformed request: POST {HALF}:predict?x=1"),
        ("POST", f"{HALF}?x=1:predict", 404, "Servable not found for request: Latest(half_plus_two?x=1)"),
        ("POST", f"{HALF}/labels/stable?x:predict", 400, "Unrecognized servable version label: stable?x"),
        ("PUT", f"{HALF}:predict?x=1", 400, f"Malformed request: PUT {HALF}:predict?x=1"),
        ("GET", f"{HALF}?x=a/b", 400, f"Malformed request: GET {HALF}?x=a/b"),
    ],
)
def test_a_query_string_is_part_of_what_is_matched(call, method, path, status, error):
    found = call(method, path, GOOD if method == "POST" else None)

    assert (found.status, found.error) == (status, error)


def test_an_empty_query_string_counts_too(base_url):
    found = send_request(urlsplit(base_url).port or 80, "GET", f"{HALF}?")  # requests would drop it

    assert found.error == "Could not find any versions of model half_plus_two?"


def test_a_status_has_no_label_so_its_query_string_is_ignored(call):
    assert call("GET", f"{HALF}/labels/stable?x=1").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", f"{HALF}/", 400, f"Malformed request: GET {HALF}/"),
        ("GET", "/v1/models/", 400, "Malformed request: GET /v1/models/"),
        ("GET", "/v1/models//metadata", 400, "Malformed request: GET /v1/models//metadata"),
        ("GET", "/v1//models", 400, "Malformed request: GET /v1//models"),
        ("GET", "/v1/", 400, "Malformed request: GET /v1/"),
        ("GET", "/v1/models/metadata", 404, "Could not find any versions of model metadata"),
        ("GET", "/v1/models/versions/1", 400, "Missing model name in request."),
        ("GET", "/v1/models/labels/x/metadata", 400, "Missing model name in request."),
        ("GET", f"{HALF}/versions/", 400, f"Malformed request: GET {HALF}/versions/"),
        ("GET", f"{HALF}/versions/-1", 400, f"Malformed request: GET {HALF}/versions/-1"),
        ("GET", f"{HALF}/versions/1/labels/x", 400, f"Malformed request: GET {HALF}/versions/1/labels/x"),
        ("GET", f"{HALF}/METADATA", 200, None),
        ("GET", "/V1/Models/half_plus_two/Versions/123", 200, None),
        ("GET", "/v1/models/HALF_PLUS_TWO", 404, "Could not find any versions of model HALF_PLUS_TWO"),
        ("GET", "/v1/models/a%2Fb", 404, "Could not find any versions of model a/b"),
        ("GET", "/v1/models/a%3Ab", 404, "Could not find any versions of model a:b"),
        ("GET", "/v1/models/a%zz", 404, "Could not find any versions of model a%zz"),
        ("GET", "/v1/models/a%", 404, "Could not find any versions of model a%"),
        ("GET", "/v1/models/%C3%A9", 404, "Could not find any versions of model é"),
        ("GET", "/v1/models/a+b", 404, "Could not find any versions of model a+b"),
        ("POST", f"{HALF}/labels/a%20b:predict", 400, "Unrecognized servable version label: a b"),
        ("POST", f"{HALF}/labels/a%2Fb%3Ac:predict", 400, "Unrecognized servable version label: a/b:c"),
        ("POST", f"{HALF}/labels/Stable:predict", 400, "Unrecognized servable version label: Stable"),
        ("POST", f"{HALF}/labels/:predict", 400, f"Malformed request: POST {HALF}/labels/:predict"),
        ("POST", f"{HALF}/versions/9223372036854775807:predict", 404,
         "Servable not found for request: Specific(half_plus_two, 9223372036854775807)"),
        ("POST", f"{HALF}/versions/00000000000000000000124:predict", 200, None),
        ("POST", f"{HALF}:Predict", 400, f"Malformed request: POST {HALF}:Predict"),
        ("POST", f"{HALF}:predict:predict", 400, f"Malformed request: POST {HALF}:predict:predict"),
        ("POST", f"{HALF}:explain", 400, f"Malformed request: POST {HALF}:explain"),
        ("PATCH", HALF, 400, f"Malformed request: PATCH {HALF}"),
    ],
)  # fmt: skip
def test_paths_are_matched_as_a_whole_and_decoded_after_that(call, method, path, status, error):
    found = call(method, path, GOOD if method == "POST" else None)

    assert found.status == status, found.body
    assert error is None or found.error == error


@pytest.mark.parametrize("path", ["/versions/9223372036854775808", "/versions/99999999999999999999/metadata"])
def test_a_version_beyond_int64_ends_before_there_is_a_body(call, path):
    answer = call("GET", HALF + path)

    assert (answer.status, answer.body) == (400, b"")


def test_a_version_beyond_int64_is_found_before_the_verb_is_checked(call):
    assert call("POST", f"{HALF}/versions/9223372036854775808:PREDICT", "").body == b""
