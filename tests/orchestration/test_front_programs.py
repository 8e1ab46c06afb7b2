"""`make serve`: the model server with the console and the router on one address, until Ctrl-C."""

from __future__ import annotations

import re
import signal
import sys

import pytest
import requests

from orchard.errors import OrchardError
from orchard.processes import ChildProcess
from orchestration.local.front_programs import await_listening
from tests.free_ports import free_ports
from tests.serving.conftest import registry, zoo  # noqa: F401  fixtures
from tests.serving.programs import until

COMMAND = [sys.executable, "-m", "orchestration.local.front_programs"]


def test_the_page_and_the_api_have_one_address_until_ctrl_c(registry, tmp_path):  # noqa: F811
    registry.release("one")
    environment = {**registry.environment, "ORCHARD_SERVER_URL": f"http://127.0.0.1:{free_ports()}"}
    photo = registry.test_photo()

    with ChildProcess(COMMAND, environment=environment, log=tmp_path / "log") as programs:
        found = until(lambda: re.search(r"^the page: (\S+)/$", programs.tail(100), re.M), "the page's address", 120)
        page = requests.get(f"{found[1]}/", timeout=20)
        until(lambda: requests.get(f"{found[1]}/readyz/fruits", timeout=20).ok, "the model is served", 120)
        api = requests.post(
            f"{found[1]}/v1/models/fruits:predict", data=photo, headers={"Content-Type": "image/jpeg"}, timeout=20
        )
        state = requests.get(f"{found[1]}/console/api/state", timeout=20).json()
        programs.signal(signal.SIGINT)
        code = programs.wait()
        log = programs.tail(200)

    assert (page.status_code, api.status_code, code) == (200, 200, 0), log
    assert "<h1" in page.text
    assert api.json()["channel"] == "stable"
    assert state["model"] == "fruits"
    assert "Traceback" not in log
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{found[1]}/", timeout=5)


def test_a_program_that_ends_at_once_is_an_error_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "print('no room'); raise SystemExit(3)"]

    with (
        ChildProcess(command, log=tmp_path / "log") as child,
        pytest.raises(OrchardError, match=r"(?s)the console did not start:.*no room") as caught,
    ):
        await_listening(child, free_ports(), "the console")

    assert str(tmp_path / "log") in caught.value.hint
