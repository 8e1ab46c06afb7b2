"""The page in a real browser: photos in, answers out, for everybody."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from tests.serving.console.consoles import MARKUP, Console, empty_environment
from tests.training.candidates import COLOURS, draw

RED, BLUE = draw("Red", 1, 240), draw("Blue", 2, 240)
ANSWER, STRIP = "#answer", "#strip button"


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    """Photo files, some with names and contents that a page must not trust."""
    webp = io.BytesIO()
    Image.new("RGB", (60, 40), COLOURS["Green"]).save(webp, "WEBP")
    bodies = {
        "red.jpg": RED,
        "blue.jpg": BLUE,
        f"{MARKUP.replace('/', '')}<img src=x onerror=alert(2)>.jpg": RED,
        "text.jpg": b"this is no photo",
        "evil.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(3)</script></svg>',
        "broken.jpg": RED[:100],
        "green.webp": webp.getvalue(),
    }
    for name, body in bodies.items():
        (tmp_path / name).write_bytes(body)
    return {name: tmp_path / name for name in bodies}


def file(name: str, body: bytes, kind: str = "image/jpeg") -> tuple[str, str, str]:
    return name, kind, base64.b64encode(body).decode()


def test_a_chosen_photo_is_answered_with_bars_the_version_the_channel_and_the_time(page, photos):
    assert not page.shown(ANSWER)

    page.choose(photos["red.jpg"])
    page.settled(1)

    assert page.text("#label") == "Red"
    assert page.texts("#bars li .name")[0] == "Red"
    assert len(page.texts("#bars li")) == len(COLOURS), "there are fewer classes than five"
    widths = page.run("return [...document.querySelectorAll('#bars i')].map(bar => bar.getBoundingClientRect().width)")
    assert widths[0] > 100
    assert widths == sorted(widths, reverse=True)
    version, channel, time = page.texts("#facts li")
    assert (version, channel, time.endswith(" ms")) == ("version 1", "stable", True)
    assert page.text("#name") == "red.jpg"
    assert page.run("return document.querySelector('#photo').naturalWidth") == 240
    assert page.run("return document.querySelector('#live').textContent").startswith("red.jpg: Red, ")
    assert page.errors() == []


def test_several_photos_are_answered_one_by_one_and_the_strip_brings_each_back(page, photos):
    page.choose(photos["red.jpg"], photos["blue.jpg"], photos["text.jpg"])
    page.settled(3)

    assert sorted(page.texts(STRIP)) == ["!\nrefused", "Blue", "Red"]
    page.click("#strip [title='blue.jpg']")
    assert page.text("#label") == "Blue"
    page.click("#strip [title='text.jpg']")
    assert page.text("#label") == "No answer"
    assert page.text("#failed").startswith("This is not a photo that the browser can read.")
    assert page.errors() == []


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_photos_are_dropped_and_pasted(page, how):
    page.give(how, file("red.jpg", RED), file("blue.jpg", BLUE))
    page.settled(2)

    assert sorted(page.texts(STRIP)) == ["Blue", "Red"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("evil.svg", "This is not a photo that the browser can read."),
        ("broken.jpg", "The model refused this file."),
    ],
)
def test_a_file_that_is_no_photo_is_refused_in_a_sentence(page, photos, name, text):
    page.choose(photos[name])
    page.settled(1)

    assert page.text("#failed").startswith(text)
    assert page.errors() == []


def test_names_of_files_never_become_markup(page, photos):
    name = next(name for name in photos if "script" in name)

    page.choose(photos[name])
    page.settled(1)

    assert page.text("#name") == name
    assert (
        page.run("return document.querySelectorAll('main script, #answer img:not(#photo), #session img').length") == 0
    )
    assert page.errors() == []


def test_another_format_is_converted_by_the_browser_and_says_so(page, photos):
    page.choose(photos["green.webp"])
    page.settled(1)

    assert page.text("#name") == "green.webp (converted to PNG by this browser)"
    assert page.text("#label") == "Green"


def test_an_answer_that_is_unsure_says_so(page):
    mixed = Image.new("RGB", (40, 40), COLOURS["Red"])
    mixed.paste(COLOURS["Blue"], (0, 0, 20, 40))
    body = io.BytesIO()
    mixed.save(body, "JPEG")

    page.give("drop", file("mixed.jpg", body.getvalue()))
    page.settled(1)

    assert page.text("#unsure").startswith("Unsure.")


def test_an_example_is_one_of_the_versions_golden_photos(page, shown):
    page.wait(lambda: page.shown("#examples"), "there are examples")

    page.click("#examples button:nth-of-type(2)")
    page.settled(1)

    assert page.text("#name") == "example 2"
    answer = shown.console.get("/console/examples/1/1")
    assert (answer.headers["content-type"], answer.body) == (
        "image/jpeg",
        (shown.registry.photos / "test_photos/1.jpg").read_bytes(),
    )
    for path in ("/console/examples/1/9", "/console/examples/99/0", "/console/examples/1/-1", "/console/examples/3/x"):
        assert shown.console.get(path).status == 404, path


def test_the_channel_can_be_chosen(page, photos):
    page.wait(lambda: page.shown("#channel"), "the channels are known")
    page.run("document.querySelector('#channel').value = 'canary'")

    page.choose(photos["red.jpg"])
    page.settled(1)

    assert page.texts("#facts li")[:2] == ["version 2", "canary"]
    Select(page.driver.find_element(By.ID, "channel")).select_by_value("stable")
    page.settled(2)
    assert page.texts("#facts li")[:2] == ["version 1", "stable"], "the same photo, to the other channel"


def test_what_the_network_looked_at_is_drawn_over_the_photo(page):
    page.give("drop", file("red.jpg", draw("Red", 5, 80)))
    page.settled(1)
    page.wait(lambda: page.shown("#explain"), "the model explains itself")

    page.click("#explain")
    page.wait(lambda: page.shown("#map"), "the map is drawn")

    middle, corner = page.run(
        "const context = document.querySelector('#map').getContext('2d'), half = context.canvas.width / 2;"
        "return [[half, half], [2, 2]].map(place => context.getImageData(...place, 1, 1).data[3]);"
    )
    assert middle < 60 < 120 < corner, "the fruit in the middle speaks for its colour, the white corner does not"
    assert page.run("return document.querySelector('#explain').getAttribute('aria-pressed')") == "true"
    page.click("#explain")
    assert not page.shown("#map")


def test_everything_is_reached_by_the_keyboard_with_a_visible_focus(page, photos):
    page.choose(photos["red.jpg"], photos["blue.jpg"])
    page.settled(2)
    page.wait(lambda: page.shown("#explain"), "the model explains itself")
    page.run("document.activeElement.blur()")
    reached = []
    for _ in range(20):
        page.press(Keys.TAB)
        reached.append(page.focused())
        assert page.run(
            "const of = item => getComputedStyle(item), at = document.activeElement;"
            "const label = at.matches('input[type=file]') ? at.nextElementSibling : at;"
            "return at === document.body || of(label).outlineStyle !== 'none';"
        ), reached[-1]
        if reached[-1] == "Red":
            page.press(Keys.ENTER)
            break

    assert reached[:3] == ["Skip to the content", "fruits", "Try it"]
    assert {"choose", "channel", "explain", "Blue", "Red"} <= set(reached)
    assert page.text("#label") == "Red"


def test_a_phone_offers_its_camera_and_nothing_is_wider_than_its_screen(page, photos):
    page.resize(390, 844, touch=True)
    page.driver.refresh()

    assert page.run("return document.querySelector('#camera').getAttribute('capture')") == "environment"
    assert page.text(".touch label") == "Take a photo"
    page.choose(photos["red.jpg"], by="camera")
    page.settled(1)

    assert page.text("#label") == "Red"
    assert page.run("return document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("place", ["/", "/console/loop", "/console/versions/2", "/console/compare?before=1&after=2"])
def test_axe_finds_nothing_in_light_and_nothing_in_dark(page, shown, photos, place):
    if find_spec("axe_selenium_python") is None:
        pytest.skip("axe-selenium-python is not installed (it needs Python 3.12)")
    import axe_selenium_python

    axe = next(Path(axe_selenium_python.__file__).parent.rglob("axe.min.js")).read_text()
    if place == "/":
        page.choose(photos["red.jpg"], photos["text.jpg"])
        page.settled(2)
    else:
        page.open(f"{shown.console.url}{place}")

    assert page.violations(axe) == []
    page.prefer("dark")
    assert page.violations(axe, "color-contrast") == []
    assert page.errors() == []


@pytest.mark.parametrize("place", ["/console/loop", "/console/versions/2", "/console/compare?before=1&after=2"])
def test_no_cell_of_a_table_is_narrower_than_what_it_shows(page, shown, place):
    page.open(f"{shown.console.url}{place}")

    assert page.run("return document.querySelectorAll('td').length") > 3
    narrow = "return [...document.querySelectorAll('td, th')].filter(c => c.scrollWidth > c.clientWidth + 1).map(c => c.innerText)"
    assert page.run(narrow) == []


class _HostileModel(BaseHTTPRequestHandler):
    """A model server whose model has markup in its labels and a probability that is no number."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        label = f"{MARKUP}<img src=x onerror=alert(4)>"
        top = [{"label": label, "probability": None}, {"label": "</li><b>B</b>", "probability": 0.25}]
        prediction = {"label": label, "probability": None, "unsure": False, "top": top}
        body = json.dumps({"model": "m", "version": MARKUP, "channel": MARKUP, "predictions": [prediction]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", "a=b")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def test_labels_of_a_hostile_model_never_become_markup(chromium, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), _HostileModel) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ("--server", f"http://127.0.0.1:{server.server_port}", "--corrections-space", "0")
        with Console(tmp_path, empty_environment(tmp_path), *options) as console:
            chromium.open(f"{console.url}/")
            chromium.give("drop", file("red.jpg", RED))
            chromium.settled(1)
            chromium.wait(lambda: chromium.shown("#untaken"), "why nothing can be corrected")
            answer = console.send_request("POST", "/v1/models/fruits:predict", RED, {"Content-Type": "image/jpeg"})
        server.shutdown()

    assert chromium.text("#label") == f"{MARKUP}<img src=x onerror=alert(4)>"
    assert chromium.texts("#bars li .name")[1] == "</li><b>B</b>"
    assert chromium.run("return document.querySelectorAll('main script, main b:not(#unsure b), #bars img').length") == 0
    assert chromium.errors() == []
    assert chromium.text("#untaken") == "Corrections are not taken here: this console was started without them."
    assert (chromium.shown("#wrong"), chromium.shown("#correct")) == (False, False)
    assert ("set-cookie" in answer.headers, "default-src 'none'" in answer.headers["content-security-policy"]) == (
        False,
        True,
    )
