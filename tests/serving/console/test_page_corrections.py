"""The page's "this is wrong": what is stored of a correction, what is refused, and who may send how much."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from orchard import layout
from orchard.documents import sha256_hex
from orchard.orientation import read_orientation
from orchard.review.correction import Correction, read_correction
from tests.serving.console.conftest import ShownLoop
from tests.serving.console.consoles import MARKUP, Console, empty_environment
from tests.serving.model_registry import MODEL
from tests.serving.programs import HttpAnswer
from tests.training.candidates import draw

JPEG = {"Content-Type": "image/jpeg"}
PATH = "/console/api/corrections"


def photo_with_place(number: int) -> bytes:
    """A photo on its side, with a place, a camera, a comment and a thumbnail that is no thumbnail."""
    picture = Image.open(io.BytesIO(draw("Red", number, 240)))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera of Anna"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 17.0)})
    body = io.BytesIO()
    picture.save(body, "JPEG", exif=exif, comment=b"<script>at home</script>", quality=95)
    return body.getvalue()


def correct(
    console: Console, photo: bytes, label: str = "Blue", version: object = 1, client: str = "192.0.2.1", **more: str
) -> HttpAnswer:
    """Send a correction, as the router passes it on for a client."""
    query = urlencode(
        {"label": label, "version": version, **{name: more.pop(name) for name in ("channel",) if name in more}}
    )
    headers = {**JPEG, "X-Forwarded-For": f"203.0.113.9, {client}"}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    return console.send_request("POST", f"{PATH}?{query}", photo, headers)


def records(shown: ShownLoop, photo: str = "") -> list[Correction]:
    store = shown.registry.store
    keys = [stat.key for stat in store.list(layout.corrections(MODEL)) if photo in stat.key]
    return [read_correction(store, key) for key in keys]


def drop(page, number: int) -> bytes:
    """Drop a photo on the page, and wait for the answer and for the offer to correct it."""
    body = draw("Red", number, 240)
    page.give("drop", ("red.jpg", "image/jpeg", base64.b64encode(body).decode()))
    page.settled(1)
    page.wait(lambda: page.shown("#wrong"), "the answer can be corrected")
    return body


def test_with_the_keyboard_alone_a_wrong_answer_is_corrected_and_waits_in_the_store(page, shown):
    before = {one.id for one in records(shown)}
    drop(page, 21)
    page.run("document.querySelector('#explain').focus()")
    page.press(Keys.TAB)
    assert page.focused() == "wrong"

    page.press(Keys.ENTER)
    page.wait(lambda: page.focused() == "said", "the field has the focus")
    page.wait(lambda: page.run("return document.querySelectorAll('#labels option').length") == 3, "classes are offered")
    offered = page.run("return [...document.querySelectorAll('#labels option')].map(item => item.value)")
    page.press("Blue", Keys.ENTER)
    page.wait(lambda: page.focused() == "thanks", "the thanks have the focus")

    assert sorted(offered) == ["Blue", "Green", "Yellow"], "the model's other classes"
    assert page.text("#thanks").startswith("Thank you. The photo waits for review as “Blue”: people look at it")
    assert (page.shown("#wrong"), page.shown("#correct"), page.errors()) == (False, False, [])
    (record,) = [one for one in records(shown) if one.id not in before]
    assert (record.label, record.known, record.answered, record.version, record.channel) == (
        "Blue",
        True,
        "Red",
        1,
        "stable",
    )
    assert "127.0.0.1" not in json.dumps(
        shown.registry.store.get(layout.correction(MODEL, record.photo, record.id)).body.decode()
    )
    stored = shown.registry.store.get(layout.corrected_photo(MODEL, record.photo)).body
    assert sha256_hex(stored) == record.photo
    assert Image.open(io.BytesIO(stored)).size == (240, 240)


def test_a_refusal_is_a_sentence_the_form_stays_and_can_be_left(page):
    drop(page, 22)

    page.click("#wrong")
    page.press("red", Keys.ENTER)
    page.wait(lambda: page.shown("#refused"), "the refusal")

    assert page.text("#refused") == "The model answers Red, too: there is nothing to correct."
    assert page.focused() == "said"
    page.press(Keys.ESCAPE)
    assert (page.focused(), page.shown("#correct")) == ("wrong", False)


def test_the_form_and_the_thanks_are_for_everybody_and_fit_a_phone(page):
    if find_spec("axe_selenium_python") is None:
        pytest.skip("axe-selenium-python is not installed (it needs Python 3.12)")
    import axe_selenium_python

    axe = next(Path(axe_selenium_python.__file__).parent.rglob("axe.min.js")).read_text()
    drop(page, 23)
    page.resize(390, 844, touch=True)
    page.click("#wrong")
    for state in ("#correct", "#thanks"):
        if state == "#thanks":
            page.press("Dragon fruit", Keys.ENTER)
            page.wait(lambda: page.shown("#thanks"), "the thanks")
        page.prefer("light")
        assert page.violations(axe) == [], state
        page.prefer("dark")
        assert page.violations(axe, "color-contrast") == [], state
        assert page.run("return document.documentElement.scrollWidth") == 390, state
    assert page.errors() == []


def test_place_camera_and_comment_are_gone_and_the_photo_is_as_upright_as_before(shown):
    sent = photo_with_place(31)

    answer = correct(shown.console, sent, "blue", channel="canary")

    assert (answer.status, answer.json["label"], answer.json["known"], answer.json["new"]) == (201, "Blue", True, True)
    (record,) = [one for one in records(shown) if one.id == answer.json["id"]]
    assert record.channel == "", "version 1 is not on the channel that the client names"
    stored = shown.registry.store.get(layout.corrected_photo(MODEL, record.photo)).body
    assert b"Anna" in sent
    assert not any(word in stored for word in (b"Anna", b"script", b"GPS"))
    assert dict(Image.open(io.BytesIO(stored)).getexif()) == {0x0112: 6}
    assert read_orientation(stored) == read_orientation(sent) == 6
    assert Image.open(io.BytesIO(stored)).tobytes() == Image.open(io.BytesIO(sent)).tobytes()


def test_the_same_correction_again_is_one_and_another_client_is_another(shown):
    photo = draw("Red", 32, 240)

    answers = [correct(shown.console, photo, client=client) for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2")]

    assert [answer.json["new"] for answer in answers] == [True, False, True]
    assert answers[0].json["id"] == answers[1].json["id"] != answers[2].json["id"]
    found = records(shown, sha256_hex(photo))
    assert (len(found), len({one.client for one in found}), len({one.salt for one in found})) == (2, 2, 1)
    everything = b"".join(
        shown.registry.store.get(stat.key).body for stat in shown.registry.store.list(layout.review(MODEL))
    )
    assert b"192.0.2." not in everything


def _archive() -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("evil.html", MARKUP)
    return body.getvalue()


RED = draw("Red", 33, 240)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"this is no photo", "not a whole JPEG or PNG"),
        (b"<!doctype html>" + MARKUP.encode(), "not a whole JPEG or PNG"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(3)</script></svg>', "not a whole JPEG or PNG"),
        (RED[: len(RED) // 2], "not a whole JPEG or PNG"),
        (RED[:4] + b"\x00\x02" + RED[4:], "not a whole JPEG or PNG"),
        (RED + _archive(), "goes on after its picture"),
        (RED + MARKUP.encode(), "goes on after its picture"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03" + bytes(9) + b"\xff\xda\x00\x02\xff\xd9", "The model refuses this photo"),
        (b"", "not a whole JPEG or PNG"),
    ],
)  # fmt: skip
def test_what_the_model_does_not_read_or_what_is_another_file_too_is_refused(shown, body, words):
    before = len(list(shown.registry.store.list(layout.review(MODEL))))

    answer = correct(shown.console, body, client="192.0.2.3")

    assert (answer.status, words in answer.error) == (400, True), answer.body
    assert len(list(shown.registry.store.list(layout.review(MODEL)))) == before


def test_what_phones_append_and_comments_are_taken_and_not_stored(shown):
    answer = correct(shown.console, RED + b"\0" * 9 + draw("Blue", 1, 80), client="192.0.2.4")

    assert answer.status == 201
    assert shown.registry.store.exists(layout.corrected_photo(MODEL, sha256_hex(RED)))


@pytest.mark.parametrize(
    ("label", "version", "status", "words"),
    [
        ("", 1, 400, "1 to 100 characters"),
        ("x" * 101, 1, 400, "1 to 100 characters"),
        ("Ki\0wi", 1, 400, "printable"),
        ("Kiwi\u202e", 1, 400, "printable"),
        ("../../etc", 1, 400, "begins with a letter"),
        ("=1+1", 1, 400, "begins with a letter"),
        ("Kiwi", "x", 400, "version=NUMBER"),
        ("Kiwi", -1, 400, "version=NUMBER"),
        ("Kiwi", 99, 409, "not served any more"),
        ("Red", 1, 400, "nothing to correct"),
    ],
)
def test_what_is_no_correction_is_refused_in_a_sentence(shown, label, version, status, words):
    answer = correct(shown.console, RED, label, version, "192.0.2.5")

    assert (answer.status, words in answer.error) == (status, True), answer.body


def test_a_page_of_another_origin_corrects_nothing(shown):
    assert correct(shown.console, RED, client="192.0.2.6", Sec_Fetch_Site="cross-site").status == 403
    assert correct(shown.console, RED, client="192.0.2.6", Origin="https://evil.example").status == 403


def test_a_name_with_markup_is_kept_as_it_is_and_shown_as_text(shown, page):
    drop(page, 24)
    page.click("#wrong")
    page.press("Kiwi <img src=x onerror=alert(5)>", Keys.ENTER)
    page.wait(lambda: page.shown("#thanks"), "the thanks")

    assert "“Kiwi <img src=x onerror=alert(5)>”" in page.text("#thanks")
    assert page.run("return document.querySelectorAll('#thanks *').length") == 0
    assert {one.label for one in records(shown)} >= {"Kiwi <img src=x onerror=alert(5)>"}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Console]:
    """A console without a model server, where a client may send two corrections in an hour."""
    options = ("--server", "http://127.0.0.1:9", "--corrections-per-hour", "2")
    with Console(tmp_path, empty_environment(tmp_path), *options) as console:
        yield console


def test_the_flood_of_one_client_gets_429_and_others_go_on(alone):
    flood = [correct(alone, RED) for _ in range(20)]
    other = correct(alone, RED, client="192.0.2.2")

    assert [answer.status for answer in flood] == [503, 503] + [429] * 18
    assert 3500 < int(flood[-1].headers["retry-after"]) <= 3600
    assert "within an hour: try again in 60 minutes" in flood[-1].error
    assert (other.status, other.error) == (503, "The model server cannot answer now: try again")
