"""The reporter: what reaches stdout and stderr, on a terminal and elsewhere."""

from __future__ import annotations

import io
import sys
import threading
import time

import pytest

import orchard.reporter
from orchard.reporter import Reporter, is_interactive, wants_colour


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch, **environment):
    """Make standard error a terminal with colours, with these variables in the environment; returns it."""
    for name, value in {"TERM": "xterm-256color", "NO_COLOR": "", **environment}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)  # in the test itself: pytest sets its own stream after the fixtures
    return stream


def work(reporter):
    """Report in every way but the result; returns the items."""
    reporter.note("a note")
    with reporter.status("a status"):
        pass
    return [*reporter.track([1, 2], "items"), *reporter.track([3], "quiet items", announce=False)]


def test_progress_elsewhere_than_on_a_terminal_is_one_line_each(capsys):
    assert work(Reporter()) == [1, 2, 3]

    assert capsys.readouterr() == ("", "a note\na status\nitems …\n")


def lines_of(capsys, number):
    """Wait until so many lines are on standard error; return them."""
    lines, end = "", time.monotonic() + 60
    while lines.count("\n") < number:
        lines += capsys.readouterr().err
        assert time.monotonic() < end, lines
    return lines.splitlines()


def test_long_work_elsewhere_than_on_a_terminal_prints_a_line_again_and_again(capsys, monkeypatch):
    monkeypatch.setattr(orchard.reporter, "PROGRESS_SECONDS", 0.01)
    with Reporter().status("uploading"):
        first, *others = lines_of(capsys, 3)
    items = Reporter().track(["a", "b", "c"], "decoding")
    next(items)
    next(items)
    announced, *counted = lines_of(capsys, 3)
    assert list(items) == ["c"]
    capsys.readouterr()
    running = {thread.name for thread in threading.enumerate()}

    assert first == "uploading"
    assert set(others) == {"uploading: 0 s"}
    assert announced == "decoding …"
    assert counted[-1] == "decoding: 1 of 3, 0 s"
    assert "progress" not in running


@pytest.mark.parametrize("reporter", [Reporter.silent, lambda: Reporter(as_json=True)])
def test_quiet_reporter_prints_no_progress(reporter, capsys):
    assert work(reporter()) == [1, 2, 3]

    assert capsys.readouterr() == ("", "")


def test_silent_reporter_prints_nothing_on_a_terminal_either(monkeypatch):
    terminal = use_terminal(monkeypatch)

    assert work(Reporter.silent()) == [1, 2, 3]

    assert terminal.getvalue() == ""


def test_result_is_text_or_json_and_goes_to_the_file_too(tmp_path, capsys):
    Reporter(json_file=tmp_path / "kept").result({"fruit": "Äpfel"}, "apples")
    Reporter(as_json=True).result({"fruit": "Äpfel"}, "apples")

    assert capsys.readouterr().out == 'apples\n{"fruit": "Äpfel"}\n'
    assert (tmp_path / "kept").read_text(encoding="utf-8") == '{"fruit": "Äpfel"}'


def test_terminal_gets_a_bar_and_a_spinner_in_colour(monkeypatch):
    terminal = use_terminal(monkeypatch)

    work(Reporter())

    assert "\x1b[3" in terminal.getvalue()
    assert "items …" not in terminal.getvalue()


def test_no_color_removes_the_colours(monkeypatch):
    terminal = use_terminal(monkeypatch, NO_COLOR="1")

    work(Reporter())

    assert "items" in terminal.getvalue()
    assert "\x1b[3" not in terminal.getvalue()


def test_dumb_terminal_gets_plain_lines(monkeypatch):
    terminal = use_terminal(monkeypatch, TERM="dumb")

    work(Reporter())

    assert terminal.getvalue() == "a note\na status\nitems …\n"


@pytest.mark.parametrize(
    ("environment", "interactive", "colour"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_environment_decides_about_colour(monkeypatch, environment, interactive, colour):
    terminal = use_terminal(monkeypatch, **environment)

    assert (is_interactive(terminal), wants_colour(terminal)) == (interactive, colour)
    assert not is_interactive(io.StringIO())
