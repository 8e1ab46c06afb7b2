"""What bounds corrections: who counts as one client, how many it may send, and what may wait in the store."""

from __future__ import annotations

import io
import ipaddress

import pytest
from starlette.requests import Request

from orchard import layout
from orchard.documents import FORMAT, sha256_hex
from orchard.review.correction import Correction, correction_id
from orchard.store import open_store
from serving.console import client_quota
from serving.console.client_digests import ROTATE_S, ClientDigests, address_of
from serving.console.client_quota import ClientQuota
from serving.console.correction_desk import CorrectionDesk, CorrectionLimits
from serving.log import EventLog
from tests.orchard.answering_store import ACCESS, SECRET, answer_all, error_document, settings_for

NETWORKS = (ipaddress.ip_network("10.0.0.0/8"),)


class QuotaClock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sent_by(address: str, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return Request({"type": "http", "headers": headers, "client": (address, 4711)})


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("198.51.100.1",), "192.0.2.1"),
        ("127.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("127.0.0.1", ("1.1.1.1, 198.51.100.1",), "198.51.100.1"),
        ("127.0.0.1", ("1.1.1.1", "198.51.100.1"), "198.51.100.1"),
        ("127.0.0.1", ("198.51.100.1, 10.9.9.9",), "198.51.100.1"),
        ("127.0.0.1", ("198.51.100.1, 11.9.9.9",), "11.9.9.9"),
        ("10.1.1.1", ("<script>",), "10.1.1.1"),
        ("10.1.1.1", ("198.51.100.1, nonsense",), "10.1.1.1"),
        ("::1", ("2001:db8:1:2:3:4:5:6",), "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", (), "192.0.2.1"),
        ("testclient", ("198.51.100.1",), "None"),
        ("127.0.0.1", (", ".join(["10.0.0.1"] * 99),), "10.0.0.1"),
    ],
)
def test_the_address_is_that_of_the_last_hop_that_is_no_proxy(peer, forwarded, address):
    assert address_of(sent_by(peer, *forwarded), NETWORKS) == address


def test_a_digest_tells_clients_apart_until_its_key_is_another():
    clock = QuotaClock()
    digests = ClientDigests(clock=clock)

    anna, ben, named = (
        digests.of(sent_by("192.0.2.1")),
        digests.of(sent_by("192.0.2.2")),
        digests.of(sent_by("192.0.2.1"), "anna"),
    )

    assert len({anna.client, ben.client, named.client}) == 3
    assert {anna.salt, ben.salt} == {named.salt}
    assert digests.of(sent_by("192.0.2.1")) == anna
    assert ClientDigests(clock=clock).of(sent_by("192.0.2.1")).salt != anna.salt, "another process has another key"
    clock.now += ROTATE_S + 1
    later = digests.of(sent_by("192.0.2.1"))
    assert (later.client == anna.client, later.salt == anna.salt) == (False, False)


def test_a_client_has_its_hour_and_many_clients_little_memory(monkeypatch):
    clock = QuotaClock()
    quota = ClientQuota(2, clock)

    assert [quota.wait_s("anna") for _ in range(3)] == [0, 0, 3600]
    clock.now += 3000
    assert (quota.wait_s("anna"), quota.wait_s("ben")) == (600, 0)
    clock.now += 600
    assert quota.wait_s("anna") == 0

    monkeypatch.setattr(client_quota, "MOST_CLIENTS", 3)
    for number in range(10):
        assert quota.wait_s(f"client {number}") == 0
    assert len(quota._counts) <= 3


def correction_of(photo: bytes, client: str = "0" * 16) -> Correction:
    sha256 = sha256_hex(photo)
    return Correction(
        FORMAT, correction_id(sha256, "Kiwi", client), "fruits", sha256, "Kiwi", True, "Plum", 7, "stable",
        "2026-11-24T20:00:00Z", client, "0" * 8,
    )  # fmt: skip


def desk_of(store, limits=None, clock=None) -> tuple[CorrectionDesk, io.StringIO]:
    log = io.StringIO()
    return CorrectionDesk(
        store, "fruits", limits or CorrectionLimits(), EventLog(as_json=False, stream=log), clock or QuotaClock()
    ), log


def test_what_may_wait_for_review_ends_with_a_sentence_and_goes_on_after_the_review(memory):
    clock = QuotaClock()
    desk, _ = desk_of(memory, CorrectionLimits(space=8), clock)

    assert desk.problem() == ""
    assert desk.keep(correction_of(b"12345678"), b"12345678", "image/jpeg") is True
    assert desk.keep(correction_of(b"12345678"), b"12345678", "image/jpeg") is False

    assert desk.problem().startswith("Corrections are not taken at the moment")
    assert desk_of(memory, CorrectionLimits(space=8))[0].problem() == desk.problem(), "another console counts them, too"
    for stat in list(memory.list(layout.review("fruits"))):
        memory.delete(stat.key)
    clock.now += 61
    assert desk.problem() == ""


def test_a_console_without_corrections_says_so(memory):
    assert "started without them" in desk_of(memory, CorrectionLimits(space=0))[0].problem()


def test_a_console_without_the_right_says_so_and_the_log_says_why(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
    with answer_all(status=403, body=error_document("AccessDenied")) as server:
        desk, log = desk_of(open_store(settings_for(keys, server.port)))
        problems = {desk.problem() for _ in range(3)}

    assert problems == {"Corrections are not taken here: this console has no right to store them."}
    assert log.getvalue().count("corrections ") == 1
    assert "AccessDenied" in log.getvalue()
