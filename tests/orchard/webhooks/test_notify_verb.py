"""`orchard notify` as somebody types it, on the real store, with a real receiver."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import threading
import time

import pytest

from orchard.cli import main
from orchard.cli.notify import notify
from orchard.processes import ChildProcess
from orchard.registry.channels import ChangeIntent
from orchard.signing import create_pair, load_key
from tests.orchard.version_fixtures import BECAUSE, facts, registry_of, saved_model
from tests.orchard.webhooks.webhook_inbox import open_inbox

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
LOOP = "import sys; from orchard.cli import main; from orchard.cli.notify import notify; sys.exit(main(sys.argv[1:], notify))"


@pytest.fixture
def run(capsys):
    def run(*args):
        code = main(list(args), notify)  # it works before `make setup` has registered it, too
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def inbox():
    with open_inbox() as running:
        yield running


@pytest.fixture
def registry(seaweed, workspace, monkeypatch, inbox):
    """Versions 1 and 2, stable at 1, a file of receivers, and the environment of somebody who may promote."""
    pair = create_pair(workspace / "keys")
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))
    monkeypatch.setenv("ORCHARD_WEBHOOKS_FILE", "webhooks.yaml")
    (workspace / "secret").write_text(SECRET)
    (workspace / "webhooks.yaml").write_text(
        f"receivers: [{{name: team-chat, url: '{inbox.url}', secret_file: secret, internal: true, allow_http: true}}]"
    )
    registry = registry_of(seaweed, load_key(pair.private))
    for number in (1, 2):
        registry.publish(saved_model(workspace / str(number), number), facts())
    registry.channel("stable").promote(1, BECAUSE)
    return registry


def test_a_promotion_goes_to_the_receiver_and_is_listed(registry, run, inbox):
    code, out, _ = run("--once")
    assert (code, out.splitlines()[-1].split()) == (0, ["team-chat", "0", "0", "0", "begins", "now"])
    assert run("--list")[1].startswith("no event of fruits was sent, or waits")
    registry.channel("stable").promote(2, ChangeIntent("anna", "canary was fine"))

    code, out, _ = run("--once", "--json")
    [receiver] = json.loads(out)["receivers"]
    assert (code, receiver["delivered"], receiver["problem"]) == (0, 1, "")
    assert inbox.messages[0].headers["webhook-signature"].startswith("v1,")

    _, out, _ = run("--list")
    row = out.splitlines()[-1]
    assert "delivered  1      200" in row
    assert "fruits: version 2 was promoted to stable (before: 1). anna: canary was fine" in row
    [delivery] = json.loads(run("--list", "--json", "--receiver", "team-chat")[1])["deliveries"]
    assert (delivery["state"], delivery["event"]["id"]) == ("delivered", inbox.messages[0].id)
    assert json.loads(run("--once", "--json", "--since", "2026-01-01")[1])["receivers"][0]["delivered"] == 1


def test_what_was_given_up_ends_with_11_until_it_is_sent_again(registry, run, inbox):
    run("--once")
    registry.channel("stable").promote(2, BECAUSE)
    inbox.status = 401
    for _ in range(2):
        code, out, err = run("--once", "--resend")
        assert (code, "it answered 401" in out, "the same secret" in err) == (0, True, True)
    code, _, err = run("--once", "--resend")
    assert (code, "events were given up: team-chat (1)" in err) == (11, True)
    assert run("--once", "--json")[0] == 11

    inbox.status = 200
    assert run("--once", "--resend")[0] == 0
    assert run("--once")[0] == 0
    assert len({message.id for message in inbox.messages}) == 1


def test_ping_shows_which_receiver_is_reached_and_records_nothing(registry, run, inbox, workspace):
    code, out, _ = run("--ping")
    assert (code, out.splitlines()[-1].split()[0], "200" in out) == (0, "team-chat", True)
    assert inbox.types == ["ping"]
    path = workspace / "webhooks.yaml"
    path.write_text(path.read_text().replace("internal: true, ", ""))

    code, out, err = run("--ping")

    assert (code, "nothing was sent" in out, "internal: true" in err) == (11, True, True)
    assert "events" not in out, "the path of a URL may be secret"
    assert run("--list")[1].startswith("no event")


def test_the_loop_sends_what_happens_until_sigterm(registry, inbox, workspace):
    command = [sys.executable, "-c", LOOP, "--interval", "1"]
    with ChildProcess(command, environment=dict(os.environ), log=workspace / "log") as child:
        deadline = time.monotonic() + 120
        key = "webhooks/fruits/team-chat/queue.json"
        waiting = threading.Event()
        while not registry.store.exists(key) and time.monotonic() < deadline:
            assert child.running(), child.tail()
            waiting.wait(0.05)
        registry.channel("stable").promote(2, BECAUSE)
        while not inbox.messages and time.monotonic() < deadline:
            assert child.running(), child.tail()
            waiting.wait(0.05)
        child.signal(signal.SIGTERM)
        assert child.wait() == 0, child.tail()

    assert inbox.types == ["channel.promoted"]
    assert 'receiver name="team-chat" delivered=1' in (workspace / "log").read_text()


def test_what_is_missing_or_contradicts_is_named(registry, run, monkeypatch):
    assert run("--list", "--once")[0] == 2
    assert "not a time" in run("--once", "--since", "yesterday")[2]
    assert "has no receiver 'pager'" in run("--once", "--receiver", "pager")[2]
    monkeypatch.delenv("ORCHARD_WEBHOOKS_FILE")
    code, _, err = run("--once")
    assert (code, "ORCHARD_WEBHOOKS_FILE" in err) == (3, True)
