"""The ports that tests give to programs: nobody else takes them before the program listens."""

import subprocess
import sys

import pytest

from orchard.store import ports
from tests.serving import programs
from tests.serving.programs import free_ports

DRAW = """
import random, sys
from tests.serving.programs import free_ports
random.seed(1)
random.SystemRandom = lambda: random
print(free_ports(2), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claims(monkeypatch):
    """The claims of one test, given back at its end."""
    own = []
    monkeypatch.setattr(programs, "_CLAIMS", own)
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
    monkeypatch.setattr(programs, "is_free", lambda port: port % 2 == 0)

    assert all(free_ports() % 2 == 0 for _ in range(20))
