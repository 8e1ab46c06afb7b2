"""Every command of every page exists, could run, and is run by a test or says why not; and what finds the commands."""

from __future__ import annotations

import ast
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.command_coverage import COVERAGE, READ_PAGES, Coverage, find_coverage, uncovered
from tests.contract.command_rules import find_faults, make_variables
from tests.contract.documented_commands import DocumentedCommand, read_commands, simple_commands, split_commands

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = "docs/reference/cli.md"
WHAT_TO_DO = (
    "these commands are run by nothing: add the page to READ_PAGES, or an entry to COVERAGE with the test that runs them "
    "or the reason why none does (tests/contract/command_coverage.py)"
)


@cache
def pages() -> tuple[str, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return tuple(name for name in listed.split("\0") if name and name != "CHANGELOG.md" and (ROOT / name).is_file())


@cache
def documented() -> tuple[DocumentedCommand, ...]:
    return tuple(command for page in pages() for command in read_commands(page, (ROOT / page).read_text()))


def examples() -> list[DocumentedCommand]:
    """The examples of the verbs' help, in the generated reference."""
    found, inside = [], False
    for number, line in enumerate((ROOT / REFERENCE).read_text().splitlines(), 1):
        inside = line == "  Examples:" or (inside and line.startswith("    "))
        if inside and line.startswith("    "):
            found += [DocumentedCommand(REFERENCE, number, text, "block") for _, text in split_commands([line])]
    return found


def test_pages_have_commands_of_every_kind():
    found = documented()

    assert len(pages()) > 40
    assert {command.place for command in found} == {"block", "table", "sentence"}
    assert {command.terminal for command in found if command.page == READ_PAGES[0]} == {"", "store", "serve"}
    assert len(examples()) > 80


@pytest.mark.parametrize("page", [*pages(), "examples"])
def test_documented_command_could_run(page):
    commands = examples() if page == "examples" else [command for command in documented() if command.page == page]

    faults = [f"{command}\n    {fault}" for command in commands for fault in find_faults(command)]

    assert not faults, "\n".join(faults)


def test_documented_command_is_run_or_has_a_reason():
    missing = uncovered(documented())

    assert not missing, "\n".join([*map(str, missing), WHAT_TO_DO])


def test_bash_accepts_every_command_of_a_block():
    lines = [command.text for command in documented() if command.place == "block"]

    checked = subprocess.run(["bash", "-n"], input="\n".join(lines), check=False, capture_output=True, text=True)

    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("entry", COVERAGE, ids=lambda entry: entry.pattern)
def test_entry_of_the_list_has_a_command_and_an_existing_test(entry):
    found = [command for command in documented() if command.place != "sentence" and find_coverage(command) is entry]
    assert found, "no page has such a command, or an entry before this one fits it: delete the entry"
    assert bool(entry.test) != bool(entry.reason)
    if not entry.test:
        return
    path, _, name = entry.test.partition("::")
    text = (ROOT / path).read_text()
    if name:
        assert name in {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}, (
            f"{path} has no {name}"
        )
    else:
        assert any(entry.pattern.rstrip("* ") in line for line in text.splitlines()), f"{path} runs no {entry.pattern}"


WORD = st.text(alphabet=st.sampled_from("abz019-_./:=%'\"#$ \\|&"), min_size=1, max_size=8)


@given(
    st.lists(
        st.tuples(
            st.lists(WORD, min_size=1, max_size=4), st.booleans(), st.sampled_from(["", "  # why", "  # it's so"])
        ),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_commands_of_a_block_are_found_whatever_their_words_are(commands, fenced):
    lines, expected = ["before", "", *(["```bash"] if fenced else [])], []
    for words, broken, comment in commands:
        quoted = [shlex.quote(word) for word in words]
        expected.append((len(lines) + 1, ["orchard", *words]))
        if broken:
            lines += ["orchard \\", *["  " + " ".join(quoted) + comment]]
        else:
            lines += [" ".join(["orchard", *quoted]) + comment, "", "# a line of words"]
    lines = [line if fenced or number < 2 else f"    {line}" for number, line in enumerate(lines)]
    page = "\n".join([*lines, *(["```"] if fenced else []), "", "after `orchard versions` in `words`"])

    found = [command for command in read_commands("page.md", page) if command.place == "block"]

    assert [(command.line, simple_commands(command.text)) for command in found] == [
        (line, [words]) for line, words in expected
    ]


def test_places_terminals_and_output_are_told_apart():
    page = """
`orchard versions
7` in a sentence, `orchard` alone and `FILE` are none.

```bash terminal=store
orchard store run  # until Ctrl-C
```

```text
orchard: output
```

| do | `orchard history`, `a \\| b` |

    for name in a b; do
      orchard card $name
    done
    eval "$(orchard store env)" && A=b make demo >log 2>&1 | cat
"""
    found = read_commands("page.md", page)

    assert [(command.line, command.place, command.terminal, command.text.split()[1]) for command in found] == [
        (2, "sentence", "", "versions"),
        (5 + 1, "block", "store", "store"),
        (13, "table", "", "history"),
        (15, "block", "", "name"),
        (18, "block", "", '"$(orchard'),
    ]
    assert simple_commands(found[3].text) == [["for", "name", "in", "a", "b"], ["orchard", "card", "$name"]]
    assert simple_commands(found[4].text) == [["orchard", "store", "env"], ["eval", "$…"], ["make", "demo"], ["cat"]]


@pytest.mark.parametrize(
    "line", ["orchrd versions", "orchard versions 'a", "orchard a \\", "for a in b; do", "cat <<end"]
)
def test_block_that_is_no_command_is_refused_with_its_line(line):
    with pytest.raises(ValueError, match=r"page\.md: block of line 3"):
        read_commands("page.md", f"text\n\n    {line}\n")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("orchard versionz", "no verb 'versionz'"),
        ("orchard data chex", "no verb 'chex'"),
        ("orchard versions --newest 3", "No such option"),
        ("orchard versions 7 8", "no further argument"),
        ("orchard versions --top many", "not a valid integer"),
        ("orchard diff 6", "needs AFTER"),
        ("orchard promote latest --channel Beta --why x", "'Beta' is not a valid name"),
        ("echo $(orchard gat)", "no verb 'gat'"),
        ("make demmo", "no target 'demmo'"),
        ("make demo PHOTO=a", "reads no variable PHOTO"),
        ("make promote TO=7 WHYY=x", "reads no variable WHYY"),
        ("dvc repo", "dvc repo"),
        ("dvc exp run --set-parm a=1", "dvc exp run"),
        ("python -m bench.speed", "no module bench.speed"),
        ("python -m bench.data --foto 3", "reads no --foto"),
        ("scripts/image", "no scripts/image"),
        ("helm install orchard charts/orchard --values charts/orchard/ci/none.yaml", "no charts/orchard/ci/none.yaml"),
        ("NODE_IMGE=x make deploy", "no program reads the variable NODE_IMGE"),
    ],
)
def test_command_that_could_not_run_is_found(text, fault):
    faults = find_faults(DocumentedCommand("page.md", 1, text, "block"))

    assert len(faults) == 1
    assert fault in faults[0]


def test_command_that_nothing_runs_is_found():
    wrong = DocumentedCommand("docs/images.md", 7, "orchard housekeeping --delete", "block")
    mentioned = DocumentedCommand("docs/images.md", 7, "orchard housekeeping", "sentence")

    assert uncovered([*documented(), wrong, mentioned]) == [wrong]
    assert str(wrong) == "docs/images.md:7: orchard housekeeping --delete"


def test_variables_of_a_target_are_those_that_it_and_what_it_needs_read():
    found = make_variables()

    assert found["demo"] >= {"DATA", "PARAMS", "KEEP", "PYTHON"}
    assert found["promote"] >= {"TO", "WHY", "CHANNEL", "JSON", "CLUSTER", "NAMESPACE"}
    assert "WHY" not in found["demo"]
    assert Coverage("make *").fits(DocumentedCommand("README.md", 1, "make  demo", "block"))
