"""The ports that tests give to programs: nobody else takes them before the program listens."""

import random
import socket
import subprocess
import sys

import pytest

from orchard.store import ports
from tests import free_ports as module
from tests.free_ports import free_ports

DRAW = """
import random, sys
from tests.free_ports import free_ports
random.seed(1)
random.SystemRandom = lambda: random
print(free_ports(2), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claims(monkeypatch):
    """The claims of one test, given back at its end."""
    own = []
    monkeypatch.setattr(module, "_CLAIMS", own)
    yield own
    for claim in own:
        claim.close()


def test_two_processes_with_the_same_draws_have_different_ports():
    drawing = [
        subprocess.Popen([sys.executable, "-c", DRAW], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    firsts = [int(process.stdout.readline()) for process in drawing]
    for process in drawing:
        process.communicate()

    assert abs(firsts[0] - firsts[1]) >= 2


def test_an_embedded_store_never_draws_them(claims):
    drawn = {free_ports() for _ in range(500)}
    chosen = {port for _ in range(100) for port in ports.choose().values()}

    assert len(drawn) == len(claims) == 500
    assert max(drawn) < min(chosen)


def test_a_port_in_use_is_not_given(claims, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        draws = iter([port, port - 1, 2_500, 2_510, 2_520, 2_530, 2_540])
        monkeypatch.setattr(random.SystemRandom, "randrange", lambda self, *limits: next(draws))

        assert free_ports(2) in range(2_500, 2_541)
