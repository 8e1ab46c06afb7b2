"""Where a POST to a receiver may go, and how long it may take."""

from __future__ import annotations

import socket
import time

import pytest

from orchard.webhooks.outgoing_post import PostLimits, find_internal, post_message
from tests.orchard.webhooks.webhook_inbox import dripping, open_inbox

SHORT = PostLimits(connect_s=0.5, total_s=0.5)


@pytest.fixture(scope="module")
def inbox():
    with open_inbox() as running:
        yield running


def send(url, **options):
    return post_message(url, b"{}", {"content-type": "application/json"}, **options)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "0.0.0.0",  # noqa: S104
     "10.96.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254",
     "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "fec0::1", "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::"],
)  # fmt: skip
def test_an_address_that_is_not_in_the_open_internet_is_recognised(address):
    assert find_internal(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_an_address_of_the_open_internet_is_accepted(address):
    assert not find_internal(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0"]
)
def test_a_receiver_on_this_machine_is_refused_however_it_is_written(inbox, host):
    before, port = len(inbox.messages), inbox.url.rsplit(":", 1)[1].split("/")[0]

    result = send(f"http://{host}:{port}/events")

    assert (result.status, result.final, len(inbox.messages)) == (None, True, before)
    assert "nothing was sent" in result.problem
    assert "internal: true" in result.remedy


@pytest.mark.parametrize(
    "name", ["orchard-store.orchard.svc.cluster.local", "orchard-store.orchard.svc", "db.internal."]
)
def test_a_name_inside_a_cluster_is_refused_even_if_it_has_an_address_of_the_open_internet(monkeypatch, name):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [(2, 1, 6, "", ("93.184.216.34", 80))])

    assert "inside a network or a cluster" in send(f"http://{name}/").problem


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(inbox, monkeypatch):
    """A name that has another address a moment later (DNS rebinding) is asked for once."""
    port = int(inbox.url.rsplit(":", 1)[1].split("/")[0])
    answers, connected, connect = ["93.184.216.34", "127.0.0.1"], [], socket.create_connection
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **options: [(2, 1, 6, "", (answers.pop(0), port))])

    def create_connection(address, timeout):
        connected.append(address)
        monkeypatch.undo()  # the packet goes to the receiver of the test, whatever the address
        return connect(("127.0.0.1", port), timeout)

    monkeypatch.setattr(socket, "create_connection", create_connection)

    result = send("http://hooks.example.com/x?y=1")

    assert (result.status, connected) == (200, [("93.184.216.34", 80)])
    assert (inbox.messages[-1].headers["host"], inbox.messages[-1].path) == ("hooks.example.com", "/x?y=1")


def test_one_internal_address_among_others_is_enough_to_refuse(monkeypatch):
    found = [(2, 1, 6, "", ("93.184.216.34", 80)), (2, 1, 6, "", ("10.0.0.7", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)

    assert send("http://hooks.example.com/").problem.startswith("hooks.example.com is 10.0.0.7")


def test_an_internal_receiver_gets_its_message_where_that_is_allowed(inbox, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # no proxy is used

    assert send(inbox.url, internal=True).status == 200
    assert inbox.messages[-1].body == b"{}"


@pytest.mark.parametrize(
    ("status", "final"),
    [
        (302, True),
        (307, True),
        (400, True),
        (401, True),
        (404, True),
        (410, True),
        (408, False),
        (425, False),
        (429, False),
        (500, False),
        (503, False),
    ],
)
def test_any_other_answer_than_2xx_is_a_failure_and_redirects_are_not_followed(status, final):
    with open_inbox() as other:
        other.status, other.headers = status, {"location": other.url, "retry-after": "30"}

        result = send(other.url, internal=True)

        assert (result.status, result.final, len(other.messages)) == (status, final, 1)
        assert f"answered {status}" in result.problem
        assert result.wait_s == (0 if status < 400 else 30)


def test_a_dead_receiver_is_a_problem_and_no_error(inbox):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    result = send(f"http://127.0.0.1:{port}/", internal=True)

    assert (result.status, result.final) == (None, False)
    assert "refused" in result.problem.lower()


def test_a_name_without_an_address_is_a_problem_and_no_error():
    assert "has no address" in send("http://nothing.invalid/").problem
    assert "has no address" in send(f"http://{'a' * 64}.example/").problem


@pytest.mark.parametrize(
    "piece", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"x: y\r\n"], ids=["drops", "continue", "lines"]
)
def test_an_answer_that_never_ends_ends_with_the_time_limit(piece):
    began = time.monotonic()
    with dripping(piece, 0.05) as url:
        result = send(url, internal=True, limits=SHORT)

    assert result.status is None
    assert "within 0.5 s" in result.problem or "no answer" in result.problem
    assert time.monotonic() - began < 5


def test_a_receiver_that_accepts_and_says_nothing_ends_with_the_time_limit(inbox):
    with open_inbox() as silent:
        silent.answers.clear()

        assert "within 0.5 s" in send(silent.url, internal=True, limits=SHORT).problem


def test_tls_is_checked(authority, monkeypatch):
    with open_inbox(authority.server("127.0.0.1")) as secure:
        result = send(secure.url, internal=True)
        assert (result.status, len(secure.messages)) == (None, 0)
        assert "SSL_CERT_FILE" in result.remedy

        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file()))
        assert send(secure.url, internal=True).status == 200


def test_a_certificate_of_another_name_is_refused(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file()))
    with open_inbox(authority.server("example.com")) as other:
        assert send(other.url, internal=True).status is None
        assert other.messages == []


def test_http_at_a_port_of_https_is_a_problem_with_a_remedy(inbox):
    assert "port of https" in send(inbox.url.replace("http:", "https:"), internal=True, limits=SHORT).remedy
