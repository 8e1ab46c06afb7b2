"""The file of receivers, secrets and signatures."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchard.errors import SettingsError
from orchard.webhooks.receivers import read_receivers
from orchard.webhooks.webhook_events import EVENT_TYPES
from orchard.webhooks.webhook_signature import read_secrets, sign_message

PAGE = (Path(__file__).resolve().parents[3] / "docs/webhooks.md").read_text()
LINE = "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def write(tmp_path):
    (tmp_path / "pager.secret").write_text(f"# rotated in November\n{LINE}\n")
    (tmp_path / "slack.url").write_text("https://hooks.slack.com/services/T0/B0/x7Secret\n")

    def write(*entries):
        path = tmp_path / "webhooks.yaml"
        path.write_text("receivers:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
        return path

    return write


GOOD = "name: pager, url: 'https://hooks.example.com/orchard', secret_file: pager.secret"


def test_the_example_of_the_page_is_valid(write, tmp_path):
    path = tmp_path / "webhooks.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1])

    pager, chat = read_receivers(path)

    assert (pager.name, pager.url, pager.secrets) == ("pager", "https://hooks.example.com/orchard", (b"k" * 32,))
    assert pager.events == {"orchard.channel.rolled_back", "orchard.run.failed"}
    assert (chat.form, chat.secrets, chat.events) == ("slack", (), frozenset(EVENT_TYPES))
    assert chat.url.endswith("x7Secret")
    assert "x7Secret" not in repr(chat) + chat.origin
    assert "kkkk" not in repr(pager)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (f"{GOOD}, colour: red", "colour"),
        (f"{GOOD}, internal: 'yes'", "internal"),
        (GOOD.replace("pager,", "Pa ger,"), "name"),
        ("name: pager, url: 'https://example.com'", "secret_file is missing"),
        (f"{GOOD}, url_file: slack.url", "one of url and url_file"),
        ("name: pager, secret_file: pager.secret", "one of url and url_file"),
        (f"{GOOD}, events: [orchard.channel.promotd]", "'orchard.channel.promotd': expected all, or a list of"),
        (f"{GOOD}, events: []", "expected all"),
        (f"{GOOD}, events: orchard.run.failed", "expected all"),
        (f"{GOOD}, form: teams", "the form 'teams' is unknown"),
        (GOOD.replace("https:", "http:"), "allow_http"),
        (GOOD.replace("https:", "ftp:"), "must be https://"),
        (GOOD.replace("hooks.example.com", "anna:pass@example.com"), "without a name and a password"),
        (GOOD.replace("hooks.example.com", "example.com:99999"), "must be https://"),
        (GOOD.replace("hooks.example.com", ""), "must be https://"),
        (GOOD.replace("/orchard", "/or chard"), "white space"),
        (GOOD.replace("pager.secret", "none.secret"), "none.secret cannot be read"),
        (GOOD.replace("pager.secret", "slack.url"), "is not a secret"),
        ("name: chat, form: slack, url_file: none.url", "none.url of its URL cannot be read"),
    ],
)
def test_what_is_wrong_with_a_receiver_is_named_and_no_secret_is(write, entry, reason):
    with pytest.raises(SettingsError) as caught:
        read_receivers(write(entry))

    assert reason in caught.value.message
    assert not re.search("x7Secret|whsec_a|pass@|hooks.example.com/o", caught.value.message + caught.value.hint)


def test_all_problems_are_named_at_once_and_a_name_is_there_once(write):
    with pytest.raises(SettingsError) as caught:
        read_receivers(write(GOOD, GOOD, "name: other"))

    assert "pager: the name is there twice" in caught.value.message
    assert "other: it needs one of url" in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "receivers: []", "receivers: 7", "[]", "receivers: [7]", "a: {", "receivers:\n- {name: a}\nmore: 1"]
)
def test_a_file_without_receivers_is_an_error(tmp_path, text):
    (tmp_path / "webhooks.yaml").write_text(text)

    with pytest.raises(SettingsError):
        read_receivers(tmp_path / "webhooks.yaml")


def test_http_is_accepted_where_it_is_allowed(write):
    [one] = read_receivers(write(f"{GOOD.replace('https:', 'http:')}, allow_http: true, internal: true"))

    assert (one.url, one.internal) == ("http://hooks.example.com/orchard", True)


def test_the_check_of_the_page_accepts_what_is_sent_and_nothing_else():
    names = {}
    block = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
    exec(block, names)  # noqa: S102  the page's own code
    verify, now, body = names["verify"], int(time.time()), b'{"id": "a"}'
    headers = sign_message("run_failed_0a", now, body, [b"k" * 32])

    assert len(block.strip().splitlines()) <= 10
    assert verify(body, headers, LINE)
    assert not verify(body + b" ", headers, LINE)
    assert not verify(body, {**headers, "webhook-id": "run_failed_0b"}, LINE)
    assert not verify(body, headers, "whsec_" + base64.b64encode(b"x" * 32).decode())
    assert not verify(body, sign_message("run_failed_0a", now - 301, body, [b"k" * 32]), LINE)
    both = sign_message("run_failed_0a", now, body, [b"x" * 32, b"k" * 32])
    assert verify(body, both, LINE), "a receiver that has one of two secrets accepts both"


def test_a_signature_is_that_of_standard_webhooks():
    """The example of its reference libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign_message("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [secret])

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_command_of_the_page_writes_a_secret(tmp_path):
    code = re.search(r"python -c '(.*?)' > pager.secret", PAGE)[1]
    (tmp_path / "new").write_text(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    )

    assert [len(key) for key in read_secrets(tmp_path / "new")] == [32]


@pytest.mark.parametrize("text", ["", "# nothing\n", "whsec_AAAA\n", "k" * 44, f"{LINE}\nnot a secret\n"])
def test_a_file_without_a_valid_secret_is_an_error(tmp_path, text):
    (tmp_path / "secret").write_text(text)

    with pytest.raises(SettingsError) as caught:
        read_secrets(tmp_path / "secret")
    assert not text.strip() or text.strip() not in caught.value.message
