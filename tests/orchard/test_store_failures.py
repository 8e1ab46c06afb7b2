"""Each answer of a store that refuses or fails has its own sentence, its own code for programs, and its own way out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.errors import (
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from orchard.store import clients, open_store
from orchard.store.answers import LONGEST_TEXT, StoreAnswer, printable
from orchard.store.conditional import create_once
from orchard.store.s3 import send_request
from tests.orchard.answering_store import ACCESS, CALLS, SECRET, error_document, settings_for

pytestmark = pytest.mark.usefixtures("impatient_store")

REFUSALS = [
    (403, "RequestTimeTooSkewed", StoreDenied, "clock"),
    (403, "AccessDenied", StoreDenied, "no right to do this"),
    (403, "SignatureDoesNotMatch", StoreDenied, "the secret key is not that of the access key"),
    (403, "InvalidAccessKeyId", StoreDenied, "does not know the access key"),
    (400, "ExpiredToken", StoreDenied, "temporary credentials have ended"),
    (400, "InvalidToken", StoreDenied, "aws_session_token"),
    (400, "AuthorizationHeaderMalformed", StoreError, "ORCHARD_STORE_REGION=eu-west-1"),
    (404, "NoSuchBucket", StoreError, "is the bucket there"),
    (400, "InvalidBucketName", StoreError, "s3://BUCKET"),
    (405, "MethodNotAllowed", StoreError, ""),
    (403, "QuotaExceeded", StoreError, "make room"),
    (400, "EntityTooLarge", StoreError, "raise the limit"),
    (400, "RequestTimeout", StoreUnavailable, "slow or damaged"),
    (400, "SomethingNew", StoreError, ""),
]
FAILURES = [
    (501, "NotImplemented", StoreError, ""),
    (503, "SlowDown", StoreUnavailable, "fewer requests"),
    (500, "InternalError", StoreUnavailable, "disk full"),
    (507, "XMinioStorageFull", StoreError, "make room"),
    (429, "TooManyRequests", StoreUnavailable, "fewer requests"),
]


@pytest.mark.parametrize(
    ("status", "code", "kind", "hint", "call"),
    # an answer to HEAD has no body, and 404 is also that for a missing object
    [(*row, call) for row in REFUSALS for call in CALLS if row[0] != 404 or call not in ("head", "exists")],
)
def test_a_refusal_shows_the_stores_own_code_and_message_and_is_final(keys, there, status, code, kind, hint, call):
    there.answer(status, error_document(code, "its own words", "<Region>eu-west-1</Region>"))

    with pytest.raises(StoreError) as caught:
        CALLS[call](open_store(settings_for(keys, there.port)))

    assert type(caught.value) is kind
    assert caught.value.code == code
    assert f"{code}: its own words" in caught.value.message
    assert hint in caught.value.hint
    assert len(there.requests) == (2 if call in ("head", "exists") else 1)  # HEAD, and GET for the code


@pytest.mark.parametrize(("status", "code", "kind", "hint"), FAILURES)
def test_a_failure_is_retried_and_the_retries_end(keys, there, status, code, kind, hint, monkeypatch):
    monkeypatch.setattr(clients, "RETRY_SECONDS", 30)
    there.answer(status, error_document(code, "its own words"))

    with pytest.raises(StoreError) as caught:
        open_store(settings_for(keys, there.port)).get("key")

    assert (type(caught.value), caught.value.code) == (kind, code)
    assert f"{code}: its own words" in caught.value.message
    assert hint in caught.value.hint
    assert len(there.requests) == 5


@pytest.mark.parametrize("call", ["create", "swap"])
@pytest.mark.parametrize(
    ("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed"), (400, "NotImplemented")]
)
def test_a_store_without_conditional_writes_is_named_as_one(keys, there, status, code, call):
    there.answer(status, error_document(code))

    with pytest.raises(StoreError) as caught:
        CALLS[call](open_store(settings_for(keys, there.port)))

    assert "conditional writes (If-None-Match" in caught.value.hint


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_write_that_lost_against_another_in_flight_is_not_an_existing_object(keys, there, code):
    there.answer(409, error_document(code))
    store = open_store(settings_for(keys, there.port))

    for call in ("create", "swap", "put"):
        with pytest.raises(StoreUnavailable, match=code):
            CALLS[call](store)
    with pytest.raises(StoreUnavailable, match=code):
        create_once(store, "key", b"1")
    there.answer(409, error_document("KeyExists"))
    with pytest.raises(ObjectExists):
        CALLS["create"](store)
    with pytest.raises(StoreError, match="KeyExists"):  # a plain write has no condition to fail
        CALLS["put"](store)


def test_a_missing_object_is_not_an_error_of_the_store(keys, there):
    store = open_store(settings_for(keys, there.port))
    for body in (error_document("NoSuchKey"), b""):
        there.answer(404, body)
        for call in ("get", "head", "stream"):
            with pytest.raises(ObjectNotFound):
                CALLS[call](store)
        with pytest.raises(ObjectChanged):
            CALLS["swap"](store)
        CALLS["delete"](store)


@pytest.mark.parametrize(("status", "location"), [(301, ""), (307, ""), (307, "http://127.0.0.1:1/elsewhere")])
def test_a_redirect_names_the_region_of_the_bucket(keys, there, status, location):
    headers = {"x_amz_bucket_region": "eu-central-1", **({"Location": location} if location else {})}
    there.answer(status, error_document("PermanentRedirect"), **headers)

    with pytest.raises(StoreError) as caught:
        open_store(settings_for(keys, there.port)).put("key", b"1")

    assert not isinstance(caught.value, StoreUnavailable)
    assert "ORCHARD_STORE_REGION=eu-central-1" in caught.value.hint


PAGES = [
    b"<!DOCTYPE html><title>Log in</title><p>\x1b[31m",
    b"<html><body>hello</body></html>",
    b"404 page not found\n",
]


@pytest.mark.parametrize("call", [name for name in CALLS if name not in ("head", "exists")])
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_server_that_is_no_s3_is_named_as_one(keys, there, status, page, call):
    there.answer(status, page, Content_Type="text/html")

    with pytest.raises(StoreError) as caught:
        CALLS[call](open_store(settings_for(keys, there.port)))

    assert not isinstance(caught.value, ObjectNotFound | ObjectChanged | ObjectExists)
    assert "ORCHARD_STORE_ENDPOINT is the address of S3's API" in caught.value.hint
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("call", ["head", "exists"])
def test_a_page_in_the_place_of_an_objects_head_is_no_object(keys, there, call):
    there.answer(200, b"<html>", Content_Type="text/html")

    with pytest.raises(StoreError, match="is not an S3 store"):
        CALLS[call](open_store(settings_for(keys, there.port)))


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_before_the_store_is_named(keys, there, status):
    there.answer(status, b"<html><title>Bad gateway</title></html>", Content_Type="text/html")

    with pytest.raises(StoreUnavailable, match=f"{status} .*: a web page, 'Bad gateway'") as caught:
        open_store(settings_for(keys, there.port)).get("key")

    assert "proxy before" in caught.value.hint


@pytest.mark.parametrize(
    "page",
    [b"Client sent an HTTP request to an HTTPS server.\n", b"<html>The plain HTTP request was sent to HTTPS port"],
)
def test_http_sent_to_a_tls_port_that_answers(keys, there, page):
    there.answer(400, page)

    with pytest.raises(StoreError) as caught:
        open_store(settings_for(keys, there.port)).get("key")

    assert (caught.value.code, "https://" in caught.value.hint) == ("HttpsExpected", True)


def test_no_credential_of_the_request_is_shown(keys, there):
    echo = (
        f"you sent AWS4-HMAC-SHA256 Credential={ACCESS}/20261124/us-east-1/s3/aws4_request, Signature=deadbeef; {SECRET} "
        "x-amz-security-token: FwoGZXIvYXdz\x1b[31m\r\n\x00end " + "y" * 5000
    )
    more = f"<AWSAccessKeyId>{ACCESS}</AWSAccessKeyId><StringToSign>{SECRET}</StringToSign>"
    bare = f"{'y' * (LONGEST_TEXT - 20)} {SECRET} is wrong"  # the shown part ends within the secret
    documents = error_document("SignatureDoesNotMatch", echo, more), error_document("Odd", bare)
    for body in (*documents, echo.encode(), f"<html><title>{echo}".encode()):
        there.answer(403, body)
        for call in (*CALLS.values(), lambda store: send_request(store.settings, "look", lambda s3: s3.list_buckets())):
            with pytest.raises(StoreError) as caught:
                call(open_store(settings_for(keys, there.port)))
            shown = caught.value.message + caught.value.hint
            for secret in (SECRET[:8], ACCESS, "deadbeef", "FwoGZXIvYXdz", "\x1b", "\r", "\n", "\x00"):
                assert secret not in shown
            assert len(caught.value.message) < LONGEST_TEXT + 200


@given(st.integers(200, 599), st.text() | st.builds(lambda c, m: error_document(c, m).decode(), st.text(), st.text()))
def test_any_answer_is_one_bounded_printable_line(status, body):
    answer = StoreAnswer.parse(status, body)

    assert str(answer).isprintable()
    assert len(str(answer)) < LONGEST_TEXT + 100
    assert printable(body).isprintable()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDenied", StoreDenied),
        ("SlowDown", StoreUnavailable),
        ("InternalError", StoreUnavailable),
        ("New", StoreError),
    ],
)
def test_a_refusal_to_delete_one_object_of_a_request_for_several_is_no_silence(keys, there, code, kind):
    """The client deletes with requests for several objects: their status is 200, and each object has an answer."""
    item = f"<Error><Key>key</Key><Code>{code}</Code><Message>its own words: (all)</Message></Error>"
    there.answer(200, f"<DeleteResult>{item}</DeleteResult>".encode())

    with pytest.raises(StoreError) as caught:
        CALLS["delete"](open_store(settings_for(keys, there.port)))

    assert type(caught.value) is kind
    assert caught.value.code == code
    assert f"{code}: its own words: (all)" in caught.value.message
