"""Files replaced as a whole, hashed, locked and watched, whatever happens in between."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchard.errors import SettingsError
from orchard.files import (
    WatchedFile,
    atomic_file,
    atomic_write,
    file_stamp,
    hash_pieces,
    locked,
    md5_of,
    sha256_of,
    try_lock,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_text_and_bytes_replace_the_file_and_leave_nothing_else(tmp_path):
    path = tmp_path / "a.json"

    atomic_write(path, "Äpfel\r\n")
    assert path.read_bytes() == "Äpfel\r\n".encode()
    atomic_write(path, b"\xff", fsync=True)
    assert path.read_bytes() == b"\xff"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails", [(os, "fsync"), (Path, "replace")], ids=["fsync", "replace"])
def test_failure_leaves_the_old_file_and_no_trace(tmp_path, monkeypatch, fails):
    path = tmp_path / "state"
    atomic_write(path, "old")

    def broken(*arguments):
        raise OSError("disk failed")

    monkeypatch.setattr(*fails, broken)
    with pytest.raises(OSError, match="disk failed"):
        atomic_write(path, "new", fsync=True)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_error_in_the_block_leaves_the_old_file_and_no_trace(tmp_path):
    path = tmp_path / "state"
    atomic_write(path, "old")

    def stream():
        yield b"half of the n"
        raise SettingsError("no more")

    with pytest.raises(SettingsError), atomic_file(path) as file:
        hash_pieces(stream(), into=file)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_kill_between_write_and_replace_leaves_the_old_file(tmp_path):
    path = tmp_path / "state"
    atomic_write(path, "old")
    code = (
        "import os, pathlib, sys\nfrom orchard.files import atomic_write\n"
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "atomic_write(pathlib.Path(sys.argv[1]), 'new')"
    )

    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert path.read_text() == "old"
    atomic_write(path, "newer")
    assert path.read_text() == "newer"


def test_next_write_removes_what_killed_writers_left_and_nothing_else(tmp_path):
    path = tmp_path / "state"
    code = (
        "import os, pathlib, sys\nfrom orchard.files import atomic_file\n"
        "with atomic_file(pathlib.Path(sys.argv[1]), mode=0o444) as file:\n"
        "    os.kill(os.getpid(), 9)"
    )
    for target in (path, tmp_path / "state.other"):
        assert subprocess.run([sys.executable, "-c", code, target], check=False).returncode == -9
    (tmp_path / ".state.note").write_text("of somebody else")
    assert len(list(tmp_path.iterdir())) == 3

    atomic_write(path, "new")

    others = {found.name for found in tmp_path.iterdir()} - {"state", ".state.note"}
    assert path.read_text() == "new"
    assert len(others) == 1
    assert others.pop().startswith(".state.other.")


def test_next_write_leaves_the_file_of_a_living_writer(tmp_path):
    path = tmp_path / "state"

    with atomic_file(path) as file:
        file.write(b"slow")
        atomic_write(path, "quick")
        assert path.read_text() == "quick"

    assert path.read_text() == "slow"
    assert list(tmp_path.iterdir()) == [path]


def test_concurrent_writers_never_show_a_part_of_a_file(tmp_path):
    path = tmp_path / "state"
    bodies = [letter * 200_000 for letter in "abcd"]
    atomic_write(path, bodies[0])
    seen = set()

    def write(body):
        for _ in range(25):
            atomic_write(path, body)

    writers = [threading.Thread(target=write, args=(body,)) for body in bodies]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_text())
    for writer in writers:
        writer.join()

    assert seen <= set(bodies)
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_the_given_ones_from_the_first_byte_on(tmp_path):
    path = tmp_path / "secrets.json"
    path.write_text("readable by everybody")
    path.chmod(0o644)

    with atomic_file(path, mode=0o600) as file:
        file.write(b"key")
        (temporary,) = (found for found in tmp_path.iterdir() if found != path)
        assert mode(temporary) == 0o600
    assert mode(path) == 0o600
    atomic_write(path, "cached", mode=0o444)
    assert mode(path) == 0o444

    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "page.html", "")
    finally:
        os.umask(before)
    assert mode(tmp_path / "page.html") == 0o640


def test_hashes_are_those_of_the_bytes(tmp_path):
    body = os.urandom(3_000_000)
    path = tmp_path / "blob"
    path.write_bytes(body)
    sha256, md5 = hashlib.sha256(body).hexdigest(), hashlib.md5(body).hexdigest()  # noqa: S324  as DVC names it
    pieces = [body[:1], b"", body[1:]]

    assert (sha256_of(path), md5_of(path)) == (sha256, md5)
    assert hash_pieces(pieces, "md5") == (md5, len(body))
    with (tmp_path / "copy").open("wb") as copy:
        assert hash_pieces(pieces, into=copy) == (sha256, len(body))
    assert sha256_of(tmp_path / "copy") == sha256


@pytest.mark.parametrize("folder", [True, False], ids=["a folder", "a file"])
def test_lock_is_held_by_one_and_ends_with_its_block(tmp_path, folder):
    path = tmp_path if folder else tmp_path / "lock"
    waited = []

    with locked(path) as first, locked(path, wait_s=0.15, on_wait=lambda: waited.append(1)) as second:
        assert (first, second) == (True, False)
    assert waited == [1]
    with locked(path) as held:
        assert held
    if not folder:
        descriptor = try_lock(tmp_path / "private", 0o600)
        assert mode(tmp_path / "private") == 0o600
        assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC, "a child would hold the lock too"
        os.close(descriptor)


def test_lock_is_given_to_who_waits(tmp_path):
    descriptor = try_lock(tmp_path)
    threading.Timer(0.1, os.close, [descriptor]).start()

    with locked(tmp_path, wait_s=30) as held:
        assert held


def read_number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error


def test_watched_file_is_read_again_when_it_changes_and_only_then(tmp_path):
    path = tmp_path / "number"
    path.write_text("1")
    reads = []
    watched = WatchedFile(path, lambda found: reads.append(found) or read_number(found))

    assert [watched.current(), watched.current()] == [1, 1]
    assert len(reads) == 1
    atomic_write(path, "2")
    assert [watched.current(), watched.current()] == [2, 2]
    assert len(reads) == 2


def test_watched_file_keeps_its_content_while_the_file_cannot_be_read(tmp_path):
    path = tmp_path / "number"
    with pytest.raises(SettingsError):
        WatchedFile(path, read_number)
    path.write_text("1")
    watched = WatchedFile(path, read_number)

    atomic_write(path, "half-writ")
    assert watched.current() == 1
    path.unlink()
    assert watched.current() == 1
    assert file_stamp(path) is None
    path.write_text("3")
    assert watched.current() == 3


def test_replacement_of_the_same_size_and_time_is_a_change(tmp_path):
    path = tmp_path / "number"
    path.write_text("1")
    watched = WatchedFile(path, read_number)
    before = path.stat()

    atomic_write(path, "2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert watched.current() == 2


def test_a_broken_or_missing_file_is_reported_once_and_so_is_its_return(tmp_path):
    path, reports = tmp_path / "number", []
    path.write_text("1")
    watched = WatchedFile(path, read_number, report=reports.append)

    path.write_text("half-writ")
    assert [watched.current() for _ in range(3)] == [1, 1, 1]
    path.unlink()
    assert [watched.current() for _ in range(3)] == [1, 1, 1]
    path.write_text("4")
    assert [watched.current() for _ in range(3)] == [4, 4, 4]

    assert len(reports) == 3
    assert "half-writ" in reports[0]
    assert reports[1] == f"{path} is missing; what was read before stays in use"
    assert reports[2] == f"{path} is used again"


def test_a_link_that_is_moved_and_a_file_beside_are_changes(tmp_path):
    """As Kubernetes replaces the files of a Secret, and as two files belong together."""
    for name, text in (("..1", "1"), ("..2", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "number").write_text(text)
    data, beside = tmp_path / "..data", tmp_path / "beside"
    data.symlink_to("..1")
    (tmp_path / "number").symlink_to("..data/number")
    beside.write_text("10")
    watched = WatchedFile(tmp_path / "number", lambda path: read_number(path) + read_number(beside), beside=(beside,))
    assert watched.current() == 11

    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(data)
    assert watched.current() == 12
    beside.write_text("20")
    assert watched.current() == 22


def test_rotated_store_credentials_are_used_and_broken_ones_keep_those_before(tmp_path, caplog):
    from orchard.store.credentials import credential_provider

    def body(key: str) -> str:
        return f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n"

    path = tmp_path / "credentials"
    path.write_text(body("one"))
    provide = credential_provider(path, "default")
    assert provide()["access_key_id"] == "one"

    atomic_write(path, body("two"))
    assert provide()["access_key_id"] == "two"
    for broken in ("[default]\n", "[other]\naws_access_key_id = x\n"):
        atomic_write(path, broken)
        assert provide()["access_key_id"] == "two"
    path.unlink()
    assert provide()["access_key_id"] == "two"
    assert "stays in use" in caplog.text
    atomic_write(path, body("three"))
    assert provide()["access_key_id"] == "three"
