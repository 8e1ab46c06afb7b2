"""The state of the loop: what the registry, the runs and sync say, and nothing that anybody wrote becomes markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchard.registry.version_overview import VersionSummary
from orchard.runs.records import Run
from orchard.runs.summary import RunSummary
from serving.console.html_pages import CARD_POLICY, PAGE_POLICY, HtmlPages
from serving.console.loop_state import ChannelOverview, LoopSnapshot
from serving.console.page_assets import PageAssets
from tests.serving.console.consoles import MARKUP, Console
from tests.serving.model_registry import MODEL
from tests.serving.programs import until


def get(shown, path: str):
    return shown.console.get(path)


def test_the_page_shows_channels_versions_refusals_and_runs(shown, chromium):
    chromium.open(f"{shown.console.url}/console/loop")

    stable, canary, shadow = chromium.texts(".channels article")
    assert ("stable\nVersion 1" in stable, f"first {MARKUP}" in stable) == (True, True)
    assert "12.5 % of the clients" in canary
    assert "promoted by ben@bench" in canary
    assert ("Version 3" in shadow, "refused by sync" in shadow) == (True, True)
    rows = chromium.texts("main table")[0].splitlines()
    assert "92.5 % (80.1–97.5) shop, 40 photos" in " ".join(rows)
    refused = next(text for text in chromium.texts(".verdict.bad") if "Version 3" in text)
    assert "operations that are not allowed" in refused
    assert chromium.texts("main table")[1].splitlines()[1].startswith("nightly-1 retrain")
    assert MARKUP in chromium.texts("main table")[1]
    assert chromium.run("return document.querySelectorAll('main script, main b b').length") == 0
    assert chromium.errors() == []


def test_the_state_for_programs_is_what_the_verbs_print(shown):
    state = get(shown, "/console/api/state").json

    assert state["model"] == MODEL
    assert [one["version"] for one in state["versions"]] == [3, 2, 1]
    assert state["versions"][0]["channels"] == ["shadow"]
    assert state["channels"]["canary"]["pointer"]["weight"] == 12.5
    assert [run["run_id"] for run in state["runs"]] == ["nightly-1"]
    assert 3 in [refusal["version"] for refusal in state["sync"]["refused"]]
    assert state["problems"] == {}


def test_a_change_of_a_channel_is_seen_within_seconds(shown):
    shown.registry.promote(2, "stable", why="better on every class")
    until(
        lambda: get(shown, "/console/api/state").json["channels"]["stable"]["pointer"]["version"] == 2, "it is seen", 10
    )
    shown.registry.rollback()

    history = until(
        lambda: (
            (found := get(shown, "/console/api/state").json["channels"]["stable"]["history"])[0]["version"] == 1
            and found
        ),
        "the way back is seen",
        10,
    )
    assert [entry["action"] for entry in history] == ["rollback", "promote", "promote"]


def test_versions_are_shown_in_full_and_compared(shown, chromium):
    chromium.open(f"{shown.console.url}/console/versions/canary")
    assert chromium.text("h1").startswith("Version 2")
    assert "Gate: accepted." in chromium.text(".verdict")

    chromium.open(f"{shown.console.url}/console/loop")
    chromium.click(".compare button")
    title = "return document.querySelector('h1')?.textContent"
    chromium.wait(lambda: chromium.run(title) == "Version 1 → 3", "what is served is compared with the newest")
    chromium.open(f"{shown.console.url}/console/compare?before=1&after=2")
    assert "+35.0" in chromium.text("main")
    assert "better" in chromium.texts("td.better")


def test_a_card_is_shown_in_a_sandbox_without_scripts(shown, chromium):
    answer = get(shown, "/console/versions/2/card")

    assert answer.headers["content-security-policy"] == CARD_POLICY
    chromium.open(f"{shown.console.url}/console/versions/2/card")
    assert chromium.text("p") == "A card"
    assert chromium.run("return self.origin") == "null"
    assert get(shown, "/console/versions/1/card").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/console/versions/99", "/console/versions/0", "/console/versions/1e9", "/console/versions/..%2f..%2fkeys",
        "/console/versions/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/console/compare?before=1&after=<script>", "/console/compare",
        "/console/assets/x/..%2f..%2fconsole_app.py", "/console/assets/x/console_app.py", "/console/none", "/nope",
    ],
)  # fmt: skip
def test_what_there_is_not_is_a_page_without_anything_of_the_request_as_markup(shown, path):
    answer = get(shown, path.replace("<", "%3C").replace(">", "%3E"))

    assert answer.status == 404
    assert b"<script>alert" not in answer.body
    assert b"class ConsoleApp" not in answer.body


def test_pages_have_a_strict_policy_and_no_answer_may_be_framed_or_guessed(shown):
    for path in ("/", "/console/loop", "/console/versions/1", "/console/nope", "/console/login"):
        answer = get(shown, path)
        assert answer.headers["content-security-policy"] == PAGE_POLICY, path
        assert b"style=" not in answer.body
        assert b"onclick" not in answer.body
    for path in ("/", "/console/api/state", "/healthz", f"/v1/models/{MODEL}"):
        headers = get(shown, path).headers
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY"), path
    assert "unsafe" not in PAGE_POLICY
    assert "http" not in PAGE_POLICY


def test_all_files_of_the_page_together_are_small_and_name_no_other_host(shown):
    body = get(shown, "/").body.decode()
    folder = body.split('href="')[1].split("icon.svg")[0]

    names = ("console.css", "page.js", "corrections.js", "photos.js", "requests.js", "icon.svg")
    files = [get(shown, f"{folder}{name}") for name in names]

    assert [file.status for file in files] == [200] * len(names)
    assert sum(len(file.body) for file in files) + len(body) <= 60_000
    assert files[0].headers["cache-control"].endswith("immutable")
    assert b"://" not in b"".join(file.body for file in files[:-1])


def test_a_store_sync_and_server_that_are_away_are_sentences_and_the_page_is_there(shown, tmp_path):
    environment = {**shown.registry.environment, "ORCHARD_STORE_ENDPOINT": "http://127.0.0.1:9"}
    away = ("--sync", "http://127.0.0.1:9", "--server", "http://127.0.0.1:9")

    with Console(tmp_path, environment, *away) as console:
        state = console.send_request("GET", "/console/api/state", timeout=60).json
        page = console.get("/")
        answer = console.send_request("POST", f"/v1/models/{MODEL}:predict", b"x", {"Content-Type": "image/jpeg"})

    assert page.status == 200
    assert "sync does not answer" in state["problems"]["sync"]
    assert state["problems"]["versions"]
    assert state["channels"]["stable"]["problem"]
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.error == "The model server does not answer: is it running?"


def test_what_is_not_trusted_says_so_and_hides_nothing_else():
    untrusted = VersionSummary(4, None, (), None, None, f"its signature is not valid {MARKUP}")
    run = Run(1, "r-1", "retrain", None, MODEL, "stable", None, "2026-11-30T11:12:56+00:00", "anna")
    failed = RunSummary(run, {}, {"validate": {"message": f"no photos {MARKUP}"}})
    snapshot = LoopSnapshot(
        MODEL, "s3://here", "2026-11-30T11:13:17Z", (ChannelOverview("stable", (), f"forged {MARKUP}"),), (untrusted,), 1, (failed,)
    )  # fmt: skip
    sync = {"ready": False, "channels": {}, "problems": {"store": MARKUP}, "refused": []}
    pages = HtmlPages(PageAssets(), MODEL)

    for shown_state in (
        snapshot,
        replace(snapshot, sync=sync),
        LoopSnapshot(MODEL, "s3://here", "", problems={"runs": MARKUP}),
    ):
        text = pages.response(
            "loop.html", loop_state=shown_state, here="loop", user="anna", logs_out=True
        ).body.decode()
        assert ("<script" in text, "Log out" in text) == (False, True)
    text = pages.response("loop.html", loop_state=snapshot, here="loop", user="anybody", logs_out=False).body.decode()
    assert ("not trusted" in text, "failed at validate" in text, "forged" in text) == (True, True, True)
    assert snapshot.document["versions"][0]["error"].startswith("its signature is not valid")
    assert snapshot.model_document["versions"] == {}
