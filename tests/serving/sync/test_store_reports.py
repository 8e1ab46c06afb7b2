"""What sync reports of a store that refuses it: in its log, once, and on its status page, with the cause and the fix."""

from __future__ import annotations

import json
from pathlib import Path

from orchard.settings import Settings
from orchard.signing import create_pair
from orchard.store import open_store
from serving.sync.channel_watcher import ChannelWatcher, TrustedKeysFile
from tests.orchard.answering_store import answer_all, error_document
from tests.serving.programs import until


def test_each_cause_is_logged_once_with_its_fix_and_so_is_the_recovery(tmp_path):
    (tmp_path / "keys").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    events = []
    with answer_all() as there:
        settings = Settings(
            store_url="s3://bucket",
            store_endpoint=f"http://127.0.0.1:{there.port}",
            store_credentials_file=tmp_path / "keys",
        )
        watcher = ChannelWatcher(
            open_store(settings),
            "fruits",
            TrustedKeysFile(create_pair(tmp_path / "pair").public),
            {},
            log_event=lambda event, **fields: events.append((event, fields)),
        )
        for code in ("RequestTimeTooSkewed", "RequestTimeTooSkewed", "AccessDenied", "AccessDenied"):
            there.answer(403, error_document(code))
            watcher.poll()
        there.answer(404, error_document("NoSuchKey"))
        watcher.poll()
        watcher.poll()

    assert [(event, fields.get("code")) for event, fields in events] == [
        ("store", "RequestTimeTooSkewed"),
        ("store", "AccessDenied"),
        ("store answers", None),
        ("waiting", None),
    ]
    assert "date -u" in events[0][1]["fix"]
    assert "RequestTimeTooSkewed: as the store says" in events[0][1]["reason"]
    assert "store" not in watcher.problems | watcher.advice


def test_the_status_page_has_the_stores_code_and_the_fix(registry, tmp_path):
    right = registry.environment["ORCHARD_STORE_CREDENTIALS_FILE"]
    wrong = tmp_path / "wrong"
    wrong.write_text("[default]\naws_access_key_id = nobody-here\naws_secret_access_key = nothing\n")
    registry.environment["ORCHARD_STORE_CREDENTIALS_FILE"] = str(wrong)
    with registry.sync() as sync:
        until(lambda: "store" in sync.status["problems"], "it reports the store")

        assert sync.status["advice"]["store"]["code"] == "InvalidAccessKeyId"
        assert "ORCHARD_STORE_CREDENTIALS_FILE" in sync.status["advice"]["store"]["fix"]
        assert "InvalidAccessKeyId" in sync.status["problems"]["store"]
        until(lambda: "code=InvalidAccessKeyId" in sync.text, "it is logged")
        assert "nobody-here" not in sync.text + json.dumps(sync.status)
        wrong.write_text(Path(right).read_text())
        until(lambda: "store" not in sync.status["problems"], "the new key is used")
