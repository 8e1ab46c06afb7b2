"""A router that follows the status pages of several syncs: nobody gets a canary that one of the servers has not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.log import EventLog
from serving.router.weight_follower import WeightFollower, common_weight
from serving.traffic_weights import read_weight
from tests.free_ports import free_ports
from tests.serving.programs import until
from tests.serving.router.routing import Route


def status(weight, *, ready=True, shadow=0):
    return {"ready": ready, "weights": {"canary": weight, "shadow": shadow}}


class StatusPage:
    """A status page of the tests on a free port; `document` may change."""

    def __init__(self, document):
        self.document = document
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps(page.document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def pages() -> Iterator[list[StatusPage]]:
    with ExitStack() as stack:
        yield [stack.enter_context(StatusPage(status(weight))) for weight in (10, 10)]


class Looking:
    """A follower of these addresses, and what it logs."""

    def __init__(self, folder, ports):
        self.folder, self.log = folder, StringIO()
        self.follower = WeightFollower(
            "servers", 8502, folder, EventLog(as_json=False, stream=self.log),
            addresses=lambda host, port: [("127.0.0.1", port) for port in ports],
        )  # fmt: skip

    def look(self):
        with ThreadPoolExecutor(4) as pool:
            self.follower.look(pool)
        return read_weight(self.folder)


@given(st.lists(st.tuples(st.booleans(), st.none() | st.floats(0, 100)), max_size=6))
def test_the_weight_is_the_smallest_of_the_servers_that_get_requests(servers):
    counting = [weight for ready, weight in servers if ready and weight is not None]

    found = common_weight([status(weight, ready=ready) for ready, weight in servers])

    assert found == (min(counting) if counting else None)


@pytest.mark.parametrize(
    "document", [{}, {"ready": True}, {"ready": True, "weights": None}, {"ready": True, "weights": {"stable": 1}}]
)
def test_another_page_is_no_status_page(document):
    with pytest.raises(ValueError, match="no status page of sync"):
        common_weight([status(10), document])


@pytest.mark.parametrize("weight", [-1, 100.5, "ten", [1]])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ValueError, match="no share of 0 to 100"):
        common_weight([status(weight)])


def test_one_server_without_the_canary_stops_it_and_one_that_starts_does_not(pages, tmp_path):
    looking = Looking(tmp_path, [page.port for page in pages])

    assert looking.look() == 10
    pages[1].document = status(0, ready=False)
    assert looking.look() == 10, "a server that starts gets no requests"
    pages[1].document = status(0)
    assert looking.look() == 0
    pages[1].document = status(None)
    assert looking.look() == 10, "that server does not know now"


def test_the_shadow_has_a_weight_of_its_own(pages, tmp_path):
    looking = Looking(tmp_path, [page.port for page in pages])
    for page, shadow in zip(pages, (30, 20), strict=True):
        page.document = status(10, shadow=shadow)

    assert (looking.look(), read_weight(tmp_path, "shadow")) == (10, 20)
    pages[0].document = status(10, shadow=0)
    assert (looking.look(), read_weight(tmp_path, "shadow")) == (10, 0)


def test_a_page_that_is_away_does_not_count_and_none_at_all_changes_nothing(pages, tmp_path):
    looking = Looking(tmp_path, [pages[0].port, free_ports()])
    assert looking.look() == 10

    pages[0].document = ["no status"]
    with pytest.raises(OSError, match="no status page answers at servers:8502"):
        looking.look()
    assert read_weight(tmp_path) == 10


def test_the_router_follows_a_page_from_its_first_request_on(upstream, tmp_path):
    with (
        StatusPage(status(100)) as page,
        Route(upstream.port, tmp_path, "--weights-from", f"http://127.0.0.1:{page.port}") as router,
    ):
        assert router.channel("anna") == "canary"
        page.document = status(0)
        until(lambda: router.channel("anna") == "stable", "the weight acts")
        page.document = "no status"
        until(lambda: 'weights state="not read"' in router.text, "the problem is said")
        page.document = status(100)
        until(lambda: router.channel("anna") == "canary", "the weight acts again")
        assert router.text.count("not read") == 1
