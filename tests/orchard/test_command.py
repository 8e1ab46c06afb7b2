"""The `orchard` command: errors on its streams, and where settings are listed."""

from __future__ import annotations

import io
import json
import sys
from importlib.metadata import EntryPoint, entry_points

import pytest

from orchard.cli import main
from orchard.cli.command import GROUP, registered_verb
from orchard.cli.verb import GROUPS, group_of
from orchard.settings import Settings


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["predict", "--json"], "Missing argument 'PHOTO…'.", " predict --help`"),
        (["prune", "--json", "--keep", "none"], "'none' is not a valid integer range", " prune --help`"),
        (["versions", "--no-such", "--json"], "No such option '--no-such'", " versions --help`"),
        (["predit", "--json"], "Did you mean predict?", " --help`"),
        (["predict", "-", "-", "--json"], "standard input can be read once", " predict --help`"),
    ],
)
def test_wrong_command_line_is_a_document_with_json(capsys, arguments, message, hint):
    assert main(arguments) == 2

    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert (error["kind"], error["exit_code"], err) == ("UsageError", 2, "")
    assert message in error["message"]
    assert hint in error["hint"]


def test_verb_of_another_program_is_found_by_its_name():
    assert registered_verb("diff").name == "diff"
    with pytest.raises(LookupError, match="no installed program has the verb predit"):
        registered_verb("predit")


def test_wrong_command_line_is_a_sentence_without_json(capsys):
    assert main(["predict"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert "Missing argument" in err


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_errors_are_coloured_on_a_terminal_unless_the_user_objects(monkeypatch, environment, coloured):
    for name, value in {"TERM": "xterm", "NO_COLOR": "", "ORCHARD_NOTHING": "1", **environment}.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)

    assert main(["settings"]) == 3

    assert "error: " in stream.getvalue()
    assert ("\x1b[" in stream.getvalue()) is coloured


def test_hint_names_the_command_that_lists_settings_also_while_one_is_wrong(monkeypatch, capsys):
    monkeypatch.setenv("ORCHARD_NOTHING", "1")
    assert main(["history"]) == 3
    hint = capsys.readouterr().err.splitlines()[-1]
    assert "`orchard settings` lists every setting" in hint

    assert main(["settings"]) == 3

    err = capsys.readouterr().err
    assert "ORCHARD_NOTHING: no such setting" in err
    for name, field in Settings.model_fields.items():
        assert f"ORCHARD_{name.upper()}" in err
        assert field.description in err


def listed(text: str) -> dict[str, list[str]]:
    """The verbs under each heading of a help text."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            heading = line.removesuffix(":")
        elif line.startswith("  ") and line[2:3].isalpha() and heading not in ("", "Options"):
            found.setdefault(heading, []).append(line.split()[0])
        elif not line:
            heading = ""
    return found


def test_help_lists_every_verb_in_exactly_one_group(capsys):
    groups = {point.name: group_of(point.load()) for point in entry_points(group=GROUP)}
    assert set(groups.values()) == set(GROUPS), "every verb names a group, and every group has a verb"

    assert main(["--help"]) == 0

    shown = listed(capsys.readouterr().out)
    assert tuple(shown) == GROUPS, "in the order of the work"
    assert {name: heading for heading, names in shown.items() for name in names} == groups
    assert sum(map(len, shown.values())) == len(groups)


def test_help_lists_a_verb_of_another_distribution_without_a_group_last(capsys, monkeypatch):
    foreign = EntryPoint("foreign", "orchard.cli.store:run", GROUP)
    monkeypatch.setattr("orchard.cli.command.entry_points", lambda **chosen: (foreign, *entry_points(**chosen)))

    assert main(["--help"]) == 0

    assert listed(capsys.readouterr().out)["Others"] == ["foreign"]
