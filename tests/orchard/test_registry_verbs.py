"""The verbs of the registry as somebody types them, on the real store."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import obstore
import pytest

from orchard import layout
from orchard.cli import main
from orchard.cli.annotations import note, tag
from orchard.registry.cards import ModelCard, keep_card, read_card
from orchard.runs import records
from orchard.signing import create_pair, load_key
from tests.orchard.version_fixtures import facts, registry_of, saved_model

NEXT = "next: orchard sync --serve; one that runs takes the version by itself\n"


@pytest.fixture
def run(capsys):
    def run(*args):
        verbs = {"note": note, "tag": tag}  # they work before `make setup` has registered them, too
        name, *rest = args
        code = main(rest, verbs[name]) if name in verbs else main(list(args))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def published(seaweed, workspace, monkeypatch):
    """Versions 1 to 3, and the environment of somebody who may promote."""
    pair = create_pair(workspace / "keys")
    monkeypatch.setenv("ORCHARD_SIGNING_KEY_FILE", str(pair.private))
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))
    monkeypatch.setenv("ORCHARD_ACTOR", "anna@bench")
    for number in (1, 2, 3):
        registry_of(seaweed, load_key(pair.private)).publish(saved_model(workspace / str(number), number), facts())
    return seaweed


def test_promote_history_rollback_versions(published, run):
    assert run("promote", "1", "--why", "first")[0] == 0
    code, out, _ = run("promote", "latest", "--why", "nightly run")
    assert (code, out) == (0, f"stable of fruits: version 1 → version 3 (generation 2)\n{NEXT}")
    assert run("promote", "latest", "--channel", "canary", "--why", "try it")[0] == 0

    code, out, _ = run("rollback", "--why", "takes plums for apples")
    assert (code, out) == (0, "stable of fruits: version 3 → version 1 (generation 3)\n")
    code, out, _ = run("rollback", "--why", "takes plums for apples")
    assert (code, out) == (0, "stable of fruits: already version 1 (generation 3, rollback by anna@bench)\n")

    _, out, _ = run("history")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["channel", "generation", "action", "versions", "weight", "gate", "when", "who", "why"]
    assert [row[:6] for row in rows[1:]] == [
        ["stable", "1", "promote", "-", "→", "1"],
        ["stable", "2", "promote", "1", "→", "3"],
        ["stable", "3", "rollback", "3", "→", "1"],
        ["canary", "1", "promote", "-", "→", "3"],
    ]
    assert rows[3][-4:] == ["takes", "plums", "for", "apples"]
    _, out, _ = run("versions")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["1", "stable", "fruits"],
        ["2", "-", "fruits"],
        ["3", "canary", "fruits"],
    ]
    assert "shop 96.0 %" in out


def test_a_run_promotes_the_version_that_it_published(published, run, monkeypatch):
    assert (run("promote")[0], run("promote", "2")[0]) == (2, 2), "outside of a run both are required"

    monkeypatch.setenv("ORCHARD_RUN_ID", "nightly-7")
    code, _, err = run("promote")
    assert (code, "the run nightly-7 has published no version" in err) == (4, True)

    records.record(published, "nightly-7", "publish", {"version": 2})
    code, out, _ = run("promote")
    assert (code, out) == (0, f"stable of fruits: nothing → version 2 (generation 1)\n{NEXT}")
    assert "run nightly-7" in run("history")[1]


def test_accuracy_below_a_whole_percentage_is_cut_as_on_the_gates_page(published, run, workspace):
    metrics = {"shop.accuracy": 0.92999}
    key = load_key(workspace / "keys" / "signing-key.pem")
    registry_of(published, key).publish(saved_model(workspace / "4", 4), facts(metrics=metrics))

    _, out, _ = run("versions")

    assert "shop 92.9 %" in out


def test_json_is_for_programs(published, run, monkeypatch):
    monkeypatch.setenv("ORCHARD_RUN_ID", "run-7")
    monkeypatch.setenv("ORCHARD_CHANNEL", "canary")

    code, out, err = run("promote", "2", "--why", "nightly", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert (document["action"], document["changed"], document["version"], document["channel"], document["run_id"]) == (
        "promote",
        True,
        2,
        "canary",
        "run-7",
    )
    assert json.loads(run("promote", "2", "--why", "nightly", "--json")[1])["changed"] is False

    entries = json.loads(run("history", "--channel", "canary", "--json")[1])["history"]
    assert [(entry["version"], entry["who"], entry["why"]) for entry in entries] == [(2, "anna@bench", "nightly")]
    document = json.loads(run("versions", "--json")[1])
    assert [item["channels"] for item in document["versions"]] == [[], ["canary"], []]
    assert document["versions"][0]["gate"]["verdict"] == "accepted"
    assert document["pointers"][0]["generation"] == 1


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["promote", "9", "--why", "x"], 4, "'fruits' has no version 9"),
        (["promote", "newest", "--why", "x"], 4, "neither a version's number nor latest"),
        (["promote", "0", "--why", "x"], 2, "neither a version's number nor latest"),
        (["promote", "1"], 2, "Missing option '--why'"),
        (["promote", "1", "--why", " "], 4, "needs a reason"),
        (["promote", "1", "--channel", "beta", "--why", "x"], 4, "'beta' is not a channel of 'fruits'"),
        (["promote", "1", "--channel", "latest", "--why", "x"], 2, "it stands for the newest version"),
        (["rollback", "--why", "x"], 4, "has pointed to no other version before"),
    ],
)
def test_mistake_is_named_and_changes_nothing(published, run, args, code, sentence):
    found, out, err = run(*args)

    assert (found, out) == (code, "")
    assert sentence in err
    assert run("history")[1] == f"nothing was ever promoted for fruits in {published.name}\n"


def test_version_that_cannot_be_trusted_is_shown_as_such(published, run):
    published.put("models/fruits/versions/000000000002/manifest.json", b"{}")

    code, out, err = run("versions")

    assert code == 0
    assert "manifest.json is unsigned" in err
    assert [line.split()[0] for line in out.splitlines()] == ["version", "1", "2", "3"]
    assert "2        -         not trusted" in out
    assert "is unsigned" in json.loads(run("versions", "--json")[1])["versions"][1]["error"]


def test_missing_settings_are_all_named(run, monkeypatch):
    code, _, err = run("versions")
    assert code == 3
    assert "ORCHARD_STORE_URL" in err
    assert "ORCHARD_TRUSTED_KEYS_FILE" in err


def test_empty_registry_is_reported(seaweed, workspace, run, monkeypatch):
    pair = create_pair(workspace / "keys")
    monkeypatch.setenv("ORCHARD_SIGNING_KEY_FILE", str(pair.private))
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))

    assert run("versions")[:2] == (0, f"no version of fruits has been published to {seaweed.name}\n")
    code, _, err = run("promote", "latest", "--why", "x")
    assert code == 4
    assert "'fruits' has no version" in err


def test_keys_create_makes_a_pair_once(workspace, run):
    code, out, err = run("keys", "create", "keys")

    private, public = workspace / "keys/signing-key.pem", workspace / "keys/trusted-keys.pem"
    assert code == 0
    assert out == f"export ORCHARD_SIGNING_KEY_FILE={private}\nexport ORCHARD_TRUSTED_KEYS_FILE={public}\n"
    assert "was created in keys" in err
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    document = json.loads(run("keys", "create", "keys", "--json")[1])
    assert (document["created"], document["key_id"]) == (False, load_key(private).key_id)

    public.unlink()
    code, _, err = run("keys", "create", "keys")
    assert code == 4
    assert "half of a key pair" in err


def test_a_version_is_linked_to_its_card_wherever_it_is_listed(published, run, workspace):
    keep_card(published, "fruits", 2, ModelCard(b"<p>second</p>", b"# second"))
    assert run("promote", "1", "--why", "first")[0] == 0
    assert run("promote", "2", "--why", "next")[0] == 0
    key = layout.card("fruits", 2)

    listed = json.loads(run("versions", "--json")[1])["versions"]
    assert [item["card"] for item in listed] == [None, key, None]
    changes = json.loads(run("history", "--json")[1])["history"]
    assert [item["card"] for item in changes] == [None, key]
    for verb in ("versions", "history"):
        assert f"the model card of version 2: {key} (`orchard card 2` fetches it)" in run(verb)[1]

    code, out, _ = run("card", "2", "--to", "found")
    assert (code, out) == (0, "the model card of version 2 of fruits: found/card.html, found/card.md\n")
    assert (workspace / "found" / "card.html").read_text() == "<p>second</p>"
    assert (workspace / "found" / "card.md").read_text() == "# second"


@pytest.mark.parametrize(
    ("version", "words"), [("latest", "version 3 of fruits has no model card"), ("9", "no version 9")]
)
def test_a_version_without_a_card_is_named(published, run, workspace, version, words):
    code, _, err = run("card", version)

    assert code == 4
    assert words in err
    assert not (workspace / "artifacts").exists()


def test_a_card_is_written_once_and_a_browser_shows_it(published):
    first = keep_card(published, "fruits", 1, ModelCard(b"<p>first</p>", b"# first"))

    assert keep_card(published, "fruits", 1, ModelCard(b"<p>other</p>", b"# other")) == first
    assert read_card(published, "fruits", 1) == first
    for key, kind in ((layout.card("fruits", 1), "text/html"), (layout.card("fruits", 1, ".md"), "text/markdown")):
        found = obstore.get(published._backend, key).attributes
        assert str(found["Content-Type"]).startswith(kind)


def test_the_newest_versions_are_last_and_top_shows_only_them(published, run):
    _, out, _ = run("versions", "--top", "2")
    assert [line.split()[0] for line in out.splitlines()] == ["version", "2", "3", "1"]
    assert out.splitlines()[-1] == "1 older versions are left out"

    document = json.loads(run("versions", "--top", "2", "--json")[1])
    assert ([item["version"] for item in document["versions"]], document["total"]) == ([2, 3], 3)


def test_one_version_in_full(published, run):
    assert run("promote", "2", "--why", "first")[0] == 0
    assert run("note", "stable", "takes plums\nfor grapes")[0] == 0
    assert run("tag", "2", "reviewed")[0] == 0

    code, out, _ = run("versions", "stable")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    manifest = registry_of(published, load_key(published_key())).manifest(2)
    for line in (
        "fruits 2",
        "code 0.1.0 at c0ffee",
        f"dataset fruits, version 1, digest {'d' * 64}",
        f"signature valid, by the trusted key {manifest.signed_by}",
        "size 0.0 MB in 2 files",
        "model card none",
        "tags reviewed",
        "gate accepted: all 4 checks passed",
        "parameters those of version 1",
        "photos n accuracy",
        "shop 200 96.0 % (92.3–98.0)",
    ):
        assert line in lines, out
    assert re.search(r"created +\S+Z by anna@bench\n", out)
    assert re.search(r"channels +stable \(since \S+Z, generation 1\)\n", out)
    assert re.search(r"notes\n  \S+Z anna@bench: takes plums\n    for grapes$", out.rstrip())

    document = json.loads(run("versions", "2", "--json")[1])
    assert (document["version"], document["channels"], document["tags"]) == (2, ["stable"], ["reviewed"])
    assert document["notes"][0]["text"] == "takes plums\nfor grapes"
    assert document["signature"] == {"key_id": manifest.signed_by, "trusted": True}
    assert document["figures"]["shop"]["figures"]["accuracy"]["value"] == 0.96
    assert (document["previous"], document["params_changed"]) == (1, [])


def published_key():
    return Path(os.environ["ORCHARD_SIGNING_KEY_FILE"])


@pytest.mark.parametrize("verb", [("versions", "9"), ("note", "9", "x"), ("tag", "9", "x"), ("card", "9")])
def test_a_number_that_no_version_has_is_answered_with_those_that_exist(published, run, verb):
    code, out, err = run(*verb)

    assert (code, out) == (4, "")
    assert "'fruits' has no version 9" in err
    assert "it has 1 to 3" in err


@pytest.mark.parametrize(("name", "status"), [("0", 2), ("newest", 4), ("-1", 2), ("1.5", 2), ("canari", 4)])
def test_what_is_no_version_is_refused_with_what_is_accepted(published, run, name, status):
    code, _, err = run("versions", "--", name)

    assert code == status
    assert f"{name!r} is neither a version's number nor latest nor" in err
    assert status == 2 or "expected one of stable, canary, shadow" in err
    assert name != "canari" or "did you mean canary?" in err


def test_a_channel_without_a_version_is_named(published, run):
    code, _, err = run("versions", "canary")

    assert (code, "the channel 'canary' of 'fruits' points to no version" in err) == (4, True)


def test_notes_and_tags_as_somebody_types_them(published, run):
    assert run("note", "3", "good")[:2] == (0, "version 3 of fruits: noted; it has 1 note\n")
    assert run("note", "latest", "good")[1] == "version 3 of fruits: this note is there already; it has 1 note\n"
    assert run("tag", "3", "best", "--why", "shop")[1] == "version 3 of fruits: its tags now: best\n"
    assert run("tag", "3", "best")[1] == "version 3 of fruits: nothing was changed; its tags: best\n"
    assert run("tag", "1", "old")[0] == 0

    rows = [line.split() for line in run("versions")[1].splitlines()]
    assert "tags" in rows[0]
    assert ["old" in rows[1], "-" in rows[2], "best" in rows[3]] == [True, True, True]
    listed = run("versions", "--tag", "best")[1].splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["3"]
    assert run("versions", "--tag", "none")[:2] == (0, "no version of fruits has the tag 'none'\n")

    assert run("tag", "3", "best", "--remove")[1] == "version 3 of fruits: its tags now: none\n"
    assert run("tag", "3", "best", "--remove")[1] == "version 3 of fruits: nothing was changed; its tags: none\n"
    document = json.loads(run("versions", "3", "--json")[1])
    assert [(item["kind"], item["text"], item["why"]) for item in document["tag_changes"]] == [
        ("tag", "best", "shop"),
        ("untag", "best", None),
    ]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("note", "3", "a\x1b[31m"), "control and invisible characters are refused"),
        (("note", "3", "a" * 4001), "a note has 4001 characters"),
        (("tag", "3", "two words"), "is not a valid tag"),
        (("tag", "3", "stable"), "would look like a channel"),
        (("tag", "3", "never", "--remove"), "has no tag 'never'"),
    ],
)
def test_a_note_or_a_tag_is_refused_with_the_reason(published, run, command, sentence):
    code, out, err = run(*command)

    assert (code, out) == (4, "")
    assert sentence in err
    assert "\x1b" not in err
    assert json.loads(run("versions", "3", "--json")[1])["notes"] == []
