"""The harness of every benchmark."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench import rounds
from bench.rounds import Contender, Table, Threshold, judge, measure, spread
from orchard.reporter import Reporter


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(rounds, "SETTLE_SECONDS", 0)


def test_every_contender_runs_in_every_round_and_odd_rounds_are_reversed():
    order: list[str] = []
    contenders = [Contender(n, lambda n=n: order.append(n), lambda n=n: order.append(f"prepare {n}")) for n in "abc"]

    table = measure(contenders, 3, Reporter.silent())

    assert [name for name in order if not name.startswith("prepare")] == list("abc" + "cba" + "abc")
    assert order[:4] == ["prepare a", "a", "prepare b", "b"]
    assert {name: len(figures) for name, figures in table.figures.items()} == {"a": 3, "b": 3, "c": 3}
    assert len(table.calibration) == len(table.foreign) == 9
    assert min(table.calibration) > 0


def test_ratios_are_taken_within_a_round_and_better_is_more():
    times = Table("s", False, {"old": [10.0, 20.0], "new": [5.0, 4.0]}, [0.01], [0.0])
    rates = Table("photos/s", True, {"old": [10.0, 20.0], "new": [5.0, 60.0]})

    assert times.ratios("new", "old") == [2.0, 5.0]
    assert rates.ratios("new", "old") == [0.5, 3.0]
    assert "3.5 (2–5)" in times.text("old")


def test_figures_that_a_contender_returns_are_not_changed():
    table = measure([Contender("a", lambda: 7.0)], 2, Reporter.silent(), unit="MB")

    assert table.figures == {"a": [7.0, 7.0]}


def test_thresholds_are_judged_by_the_median(capsys):
    assert judge(Threshold("pull", 6), [1.0, 7.0, 8.0])
    assert not judge(Threshold("pull", 6), [1.0, 5.9, 80.0])
    assert judge(Threshold("bytes", 1.3, maximum=True), [1.2])
    assert not judge(Threshold("bytes", 1.3, maximum=True), [1.4])
    assert capsys.readouterr().out.count("MISSED") == 2


def test_spread_is_median_and_range():
    assert spread([3.0, 1.0, 2.0]) == "2 (1–3)"
    assert spread([0.12345]) == "0.123 (0.123–0.123)"


def test_load_of_our_own_children_is_not_foreign():
    before = rounds._tree()
    subprocess.run([sys.executable, "-c", "for _ in range(6_000_000): pass"], check=True)

    assert rounds._tree() - before > 0.05
