"""Properties of forms: photos come out as they went in, and nothing that is sent makes the parser fail or swell."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.server.rest.photo_bodies import MAX_PHOTOS, PhotoRequest, is_binary, read_photo_head
from serving.server.serving_error import ServingError

BOUNDARY = "x-boundary"
PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"--", b"--x-boundary", b"--x-boundary\r\n", b"\r\n--x-boundary--", b"\0", b"", b":", b'"', b";",
     b'Content-Disposition: form-data; name="a"; filename="b"', b"Content-Type: image/jpeg", b"Content-Type: multipart/mixed",
     b"Content-Length: 3", b"Content-Length: -1", b"Content-Transfer-Encoding: base64", b" folded", b"\xff\xd8\xff", b"\xc3\xa9"]
)  # fmt: skip
BODIES = st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=30).map(b"".join)
NAMES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)


def form(photos, names=(), boundary=BOUNDARY):
    """A form as a browser writes it."""
    body = b""
    for number, photo in enumerate(photos):
        name = (names[number] if number < len(names) else "photo").replace('"', "%22")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
        body += head.encode() + photo + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def outcome(call, *arguments):
    """What a call returns, or the error that it raises on purpose."""
    try:
        return call(*arguments)
    except ServingError as error:
        return error


def read(body):
    """The photos of a form, or the message of its error."""
    found = outcome(PhotoRequest(BOUNDARY, 0).read, body)
    if isinstance(found, list):
        return found
    assert found.http_status == 400
    return found.message


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=MAX_PHOTOS), st.lists(NAMES, max_size=3))
def test_photos_come_out_as_they_went_in(photos, names):
    assume(not any(b"--x-boundary" in photo for photo in photos))
    assert read(form(photos, names)) == photos
    assert read(bytearray(form(photos, names))) == photos


@given(BODIES)
def test_any_form_is_photos_or_a_sentence(body):
    for whole in (body, b"--x-boundary\r\n" + body, form([b"photo"])[:-20] + body, form([body])):
        found = read(whole)
        assert isinstance(found, str) or 1 <= len(found) <= MAX_PHOTOS
        assert found
        if isinstance(found, list):
            assert all(photo in whole for photo in found)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=3), st.integers(0, 400))
def test_a_form_that_breaks_off_is_never_answered(photos, cut):
    assume(not any(b"--x-boundary" in photo for photo in photos))
    body = form(photos)
    end = len(body) - len("--\r\n")
    assert isinstance(read(body[: min(cut, end)]), str)


@given(st.text(max_size=40), st.one_of(st.none(), st.text(max_size=20)))
def test_any_header_and_query_is_understood_or_a_sentence(text, query):
    for content_type in (
        text,
        f"image/{text}",
        f"multipart/form-data{text}",
        f'multipart/form-data; boundary="{text}"',
    ):
        assert is_binary(content_type) or content_type == text
        found = outcome(read_photo_head, "predict", content_type, query)
        if isinstance(found, ServingError):
            assert found.http_status in (400, 415)
        else:
            assert found.boundary is None or (1 <= len(found.boundary) <= 70 and found.boundary.isascii())
            assert not set(found.boundary or "") & set('\0\t\r\n"\\;<>')
            assert found.top >= 0


SIZE = 4 << 20
PART = b'--x-boundary\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n\r\n'


@pytest.mark.parametrize(
    "body",
    [
        PART * (SIZE // len(PART)),
        b"--x-boundary\r\n" + b"X-A: b\r\n" * (SIZE // 8),
        b"--x-boundary\r\nX-A: " + b"a" * SIZE,
        b"--x-boundary\r\nX-A: " + b"a" * SIZE + b"\r\n\r\n",
        PART + b"\r\n" * (SIZE // 2),
        PART + b"\r\n--x-boundar" * (SIZE // 13),
        b"\r" * SIZE,
        form([b"a" * (SIZE // MAX_PHOTOS)] * MAX_PHOTOS),
        form([b"a"]) + b"b" * SIZE,
    ],
    ids=["parts", "headers", "endless", "long", "line-ends", "almost", "preamble", "photos", "epilogue"],
)
def test_a_form_takes_no_more_memory_than_its_photos(body):
    tracemalloc.start()
    found = read(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2.5 * SIZE  # the parser's copy of the body, and the photos
    assert isinstance(found, str) or sum(map(len, found)) <= SIZE
