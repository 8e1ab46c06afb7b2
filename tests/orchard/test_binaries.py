"""Programs in other people's packages: checked before they run."""

from __future__ import annotations

import hashlib
import platform

import pytest

from orchard.errors import IntegrityError
from orchard.store import embedded
from orchard.store.binaries import WEED_DIGESTS, check_binary

HERE = f"{platform.system()} {platform.machine()}"


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "weed"
    path.write_bytes(b"one")
    return path


def digest_of(body: bytes) -> dict[str, str]:
    return {HERE: hashlib.sha256(body).hexdigest()}


def test_recorded_program_passes_and_another_is_refused(program):
    check_binary(program, digest_of(b"one"))

    with pytest.raises(IntegrityError, match=f"{program} has the SHA-256 .*, expected "):
        check_binary(program, digest_of(b"two"))


def test_platform_without_a_digest_is_named(program):
    with pytest.raises(IntegrityError, match=f"no digest of weed is recorded for {HERE}"):
        check_binary(program, {"Plan9 mips": "0" * 64})


def test_first_use_is_remembered_until_the_program_changes(program, tmp_path, monkeypatch):
    digests, checked = digest_of(b"one"), tmp_path / "checked"
    check_binary(program, digests, checked=checked)
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", lambda *_: pytest.fail("it was hashed again"))
        check_binary(program, digests, checked=checked)
    program.write_bytes(b"other")

    with pytest.raises(IntegrityError):
        check_binary(program, digests, checked=checked)
    with pytest.raises(IntegrityError):
        check_binary(program, digests, checked=checked)


def test_embedded_store_refuses_a_changed_program_before_it_runs(tmp_path, monkeypatch):
    weed = tmp_path / "bin" / "weed"
    weed.parent.mkdir()
    weed.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    weed.chmod(0o755)
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda _: str(weed.parent))

    with pytest.raises(IntegrityError, match="SHA-256"):
        embedded.EmbeddedStore(tmp_path / "store").start()
    assert not (tmp_path / "ran").exists()
    assert set(WEED_DIGESTS) >= {"Linux x86_64", "Linux aarch64", "Darwin arm64"}
