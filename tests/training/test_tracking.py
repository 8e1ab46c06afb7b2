"""Dataset folders under DVC: a pull returns the same bytes, never wrong ones."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchard import settings
from orchard.errors import ConflictError, DataError, IntegrityError, SettingsError, StoreUnavailable
from orchard.settings import Settings
from orchard.store import clients
from tests.faults.proxy import Fault, proxy
from tests.training.tracked_folders import FILES, dvc, origin, pushed, read, write
from training.data import dvc_project, dvc_tracking

__all__ = ["origin", "pushed"]


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(body)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # DVC trusts times and sizes


def key_of(store, body: bytes) -> str:
    (key,) = [stat.key for stat in store.list("dvc") if store.get(stat.key).body == body]
    return key


def test_folder_comes_back_in_a_project_without_git(pushed):
    store, text, there = pushed

    assert dvc_tracking.pull(there, text) == len(FILES) + 1

    assert read(there) == FILES
    assert there.with_name("fruits.dvc").read_text() == text
    assert all(stat.key.startswith("dvc/files/md5/") for stat in store.list("dvc"))


def test_a_second_push_and_pull_transfer_nothing(pushed, tmp_path):
    _, text, there = pushed
    dvc_tracking.pull(there, text)

    assert dvc_tracking.track(tmp_path / "here/data/fruits") == text
    assert dvc_tracking.push(tmp_path / "here/data/fruits") == 0
    assert dvc_tracking.pull(there, text) == 0


def test_only_new_files_are_transferred_and_an_older_version_can_be_pulled_again(pushed, tmp_path):
    _, old, there = pushed
    here = tmp_path / "here/data/fruits"
    write(here, {"0004.parquet": b"new" * 1000})

    new = dvc_tracking.track(here)
    assert dvc_tracking.push(here) == 2  # the new file and the listing
    dvc_tracking.pull(there, new)
    assert read(there) == {**FILES, "0004.parquet": b"new" * 1000}
    dvc_tracking.pull(there, old)
    assert read(there) == FILES


def test_dvc_by_hand_finds_what_was_pushed_and_its_push_is_found(pushed, tmp_path):
    _, text, there = pushed
    dvc_project.init(there.parents[1])
    (there.parents[1] / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    dvc_project.remote(there.parents[1], settings.load())
    there.parent.mkdir()
    there.with_name("fruits.dvc").write_text(text)

    dvc(there.parents[1], "pull")
    assert read(there) == FILES

    write(there, {"0004.parquet": b"by hand" * 1000})
    text = dvc_tracking.track(there)
    dvc(there.parents[1], "push")
    dvc_tracking.pull(tmp_path / "here/data/fruits", text)
    assert read(tmp_path / "here/data/fruits") == read(there)


def test_flipped_byte_in_the_store_is_never_pulled(pushed):
    store, text, there = pushed
    key = key_of(store, FILES["0002.parquet"])
    store.put(key, FILES["0002.parquet"][:-1] + b"!")

    with pytest.raises(IntegrityError, match=r"other bytes for 0002\.parquet"):
        dvc_tracking.pull(there, text)

    assert read(there) == {}
    assert not there.with_name("fruits.dvc").exists()
    store.put(key, FILES["0002.parquet"])
    dvc_tracking.pull(there, text)
    assert read(there) == FILES


def test_failed_pull_leaves_the_version_that_was_there(pushed, tmp_path):
    store, old, there = pushed
    dvc_tracking.pull(there, old)
    here = write(tmp_path / "here/data/fruits", {"0004.parquet": b"new" * 1000})
    new = dvc_tracking.track(here)
    dvc_tracking.push(here)
    store.delete(key_of(store, b"new" * 1000))

    with pytest.raises(IntegrityError, match=r"lacks 0004\.parquet"):
        dvc_tracking.pull(there, new)

    assert read(there) == FILES
    assert there.with_name("fruits.dvc").read_text() == old


def test_damaged_or_lost_listing_is_named(pushed):
    store, text, there = pushed
    (listing,) = [stat.key for stat in store.list("dvc") if stat.key.endswith(".dir")]
    store.put(listing, store.get(listing).body.replace(b"0001", b"0009"))

    with pytest.raises(IntegrityError, match=r"listing of 'fruits' .* is damaged"):
        dvc_tracking.pull(there, text)
    store.delete(listing)
    with pytest.raises(IntegrityError, match="lacks the listing of 'fruits'"):
        dvc_tracking.pull(there, text)
    assert read(there) == {}


@pytest.mark.parametrize("where", ["cache", "folder"])
def test_flipped_byte_on_this_disk_is_downloaded_again(pushed, where):
    _, text, there = pushed
    dvc_tracking.pull(there, text)
    cached = [path for path in (there.parents[1] / ".dvc/cache").rglob("*") if path.is_file() and path.suffix != ".dir"]
    victims = cached if where == "cache" else list(there.iterdir())
    for path in victims:
        flip(path)
    if where == "cache":
        shutil.rmtree(there)

    dvc_tracking.pull(there, text)

    assert read(there) == FILES


def test_damaged_cache_is_not_pushed_and_tracking_repairs_it(pushed, tmp_path):
    store, _, _ = pushed
    here = write(tmp_path / "here/data/fruits", {"0004.parquet": b"new" * 1000})
    dvc_tracking.track(here)
    new = [
        path
        for path in (tmp_path / "here/.dvc/cache").rglob("*")
        if path.is_file() and path.read_bytes() == b"new" * 1000
    ]
    flip(new[0])

    with pytest.raises(IntegrityError, match="nothing was uploaded"):
        dvc_tracking.push(here)
    assert b"new" * 1000 not in [store.get(stat.key).body for stat in store.list("dvc")]

    dvc_tracking.track(here)
    assert dvc_tracking.push(here) == 2


def test_push_uploads_what_the_store_lost(pushed, tmp_path):
    store, text, there = pushed
    store.delete(key_of(store, FILES["0001.parquet"]))

    assert dvc_tracking.push(tmp_path / "here/data/fruits") == 1

    dvc_tracking.pull(there, text)
    assert read(there) == FILES


def test_store_that_is_down_is_an_error_and_nothing_changes(pushed, tmp_path, monkeypatch):
    _, text, there = pushed
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")

        with pytest.raises(StoreUnavailable):
            dvc_tracking.pull(there, text)
        with pytest.raises(StoreUnavailable):
            dvc_tracking.push(tmp_path / "here/data/fruits")

    assert read(there) == {}
    assert not there.with_name("fruits.dvc").exists()


@pytest.mark.parametrize("request_", [b"GET", b"PUT"])
def test_store_that_stops_answering_halfway_is_an_error_soon(pushed, tmp_path, monkeypatch, request_):
    store, text, there = pushed
    here = write(tmp_path / "here/data/fruits", {"0004.parquet": b"new" * 1000})
    dvc_tracking.track(here)
    for name, value in {"READ_SECONDS": 1, "RETRY_SECONDS": 1, "DOCUMENT_SECONDS": 2}.items():
        monkeypatch.setattr(clients, name, value)
    bucket = os.environ["ORCHARD_STORE_URL"].removeprefix("s3://")
    md5 = hashlib.md5(FILES["0002.parquet"] if request_ == b"GET" else b"new" * 1000).hexdigest()  # noqa: S324  as DVC names it
    silent = f"dvc/files/md5/{md5[:2]}/{md5[2:]}"
    with proxy(urlsplit(os.environ["ORCHARD_STORE_ENDPOINT"]).port, silence(request_, bucket, silent)) as running:
        monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", f"http://127.0.0.1:{running.port}")
        begin = time.monotonic()
        with pytest.raises(StoreUnavailable):
            dvc_tracking.pull(there, text) if request_ == b"GET" else dvc_tracking.push(here)
        assert time.monotonic() - begin < 20

    assert read(there) == {}
    assert len([stat for stat in store.list("dvc") if stat.key.endswith(".dir")]) == 1  # no listing without its files


def silence(request: bytes, bucket: str, key: str) -> Fault:
    return Fault("stall", request + f" /{bucket}/{key}".encode(), times=None)


def test_files_of_another_version_may_be_refused_before_anything_is_written(pushed):
    _, text, there = pushed
    seen = {}

    def refuse(files):
        seen.update(files)
        raise IntegrityError("not these")

    with pytest.raises(IntegrityError, match="not these"):
        dvc_tracking.pull(there, text, accept=refuse)

    assert set(seen) == set(FILES)
    assert not there.parent.exists()


def test_configuration_is_complete_and_holds_no_secret(pushed, seaweed_environment, tmp_path):
    here = tmp_path / "here"
    secret = Path(seaweed_environment["ORCHARD_STORE_CREDENTIALS_FILE"]).read_text().split()[-1]
    texts = {path.name: path.read_text() for path in (here / ".dvc").iterdir() if path.is_file()}

    assert not any(secret in text for text in texts.values())
    assert seaweed_environment["ORCHARD_STORE_ENDPOINT"] not in texts["config"]
    assert "/config.local" in texts[".gitignore"]
    for line in ("analytics = false", "check_update = false", "remote = store", "verify = true"):
        assert line in texts["config"]
    for line in ("endpointurl", "credentialpath", "verify = true", "read_timeout"):
        assert line in texts["config.local"]


def test_own_lines_of_the_local_configuration_stay(tmp_path, seaweed_environment, seaweed):
    dvc_project.init(tmp_path)
    local = tmp_path / ".dvc/config.local"
    local.write_text("[core]\n    checksum_jobs = 2\n['remote \"mine\"']\n    url = /srv/mine\n")

    dvc_project.remote(tmp_path, settings.load())
    once = local.read_text()
    dvc_project.remote(tmp_path, settings.load())

    assert local.read_text() == once
    assert "checksum_jobs = 2" in once
    assert "/srv/mine" in once
    assert seaweed_environment["ORCHARD_STORE_ENDPOINT"] in once


def test_git_checkout_ignores_the_photos_and_an_ignored_folder_runs_without_git(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text(".orchard/\n")
    checkout, ignored = write(tmp_path / "data/fruits"), write(tmp_path / ".orchard/demo/data/fruits")

    assert dvc_tracking.track(checkout) == dvc_tracking.track(ignored)

    status = ["git", "-C", str(tmp_path), "status", "--porcelain", "-uall"]
    listed = {
        line[3:] for line in subprocess.run(status, check=True, capture_output=True, text=True).stdout.splitlines()
    }
    assert {"data/fruits.dvc", "data/.gitignore", ".dvc/config"} <= listed
    assert not any(name.startswith(("data/fruits/", ".dvc/cache", ".dvc/config.local", ".orchard")) for name in listed)


def test_without_a_bucket_or_a_folder_it_is_an_error(tmp_path):
    write(tmp_path / "data/fruits")
    with pytest.raises(SettingsError, match=r"memory://"):
        dvc_project.remote(tmp_path, Settings(store_url="memory://"))
    with pytest.raises(DataError, match="no folder"):
        dvc_tracking.track(tmp_path / "data/none")
    with pytest.raises(DataError, match="not tracked"):
        dvc_tracking.push(tmp_path / "data/fruits", Settings(store_url="s3://any", store_endpoint="http://127.0.0.1:9"))


LOCKER = (
    "import sys, zc.lockfile\nlock = zc.lockfile.LockFile(sys.argv[1])\nprint('held', flush=True)\nsys.stdin.read()\n"
)


def test_project_held_by_another_command_ends_in_a_conflict(tmp_path, monkeypatch):
    folder = write(tmp_path / "data/fruits")
    text = dvc_tracking.track(folder)
    monkeypatch.setattr(dvc_project, "LOCK_SECONDS", 0.1)
    command = [sys.executable, "-c", LOCKER, str(tmp_path / ".dvc/tmp/lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConflictError, match="another DVC command"):
            dvc_tracking.track(folder)
        holder.stdin.close()

    assert dvc_tracking.track(folder) == text


GOOD = {"md5": "0" * 32 + ".dir", "size": 1, "nfiles": 1, "hash": "md5", "path": "fruits"}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"outs": []},
        {"outs": [GOOD, GOOD]},
        {"outs": [{**GOOD, "path": "../fruits"}]},
        {"outs": [{**GOOD, "path": "/etc"}]},
        {"outs": [{**GOOD, "md5": "0" * 32}]},
        {"outs": [{**GOOD, "md5": "../" + "0" * 29 + ".dir"}]},
        {"outs": [{**GOOD, "remote": "elsewhere"}]},
        {"outs": [GOOD], "deps": [{"path": "x"}]},
        {"outs": [GOOD], "wdir": ".."},
        {"outs": {"0": GOOD}},
    ],
)
def test_text_that_names_anything_else_is_refused(document, tmp_path):
    with pytest.raises(IntegrityError, match=r"not the \.dvc text"):
        dvc_tracking._parse(yaml.safe_dump(document), "fruits")


@given(
    st.text()
    | st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        yaml.safe_dump
    )
)
def test_no_text_breaks_the_parser(text):
    with pytest.raises(IntegrityError):
        dvc_tracking._parse(text, "fruits")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", ".", "a/.."])
def test_listing_that_leads_out_of_the_folder_is_refused(path):
    with pytest.raises(IntegrityError, match="not a valid DVC listing"):
        dvc_tracking._parse_listing(f'[{{"md5": "{"0" * 32}", "relpath": "{path}"}}]'.encode(), "fruits")


@given(st.binary())
def test_no_bytes_break_the_listing_parser(body):
    with suppress(IntegrityError):
        assert dvc_tracking._parse_listing(body, "fruits") == []
