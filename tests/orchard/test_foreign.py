"""Folders that others write into, under whatever names."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchard.errors import StoreDenied, StoreError, StoreUnavailable
from orchard.settings import Settings
from orchard.store import open_store
from orchard.store.listing import flaw, list_foreign
from orchard.store.s3 import client

ODD = ("a\nb.jpg", "tab\there.jpg", "\x01.jpg", "delete\x7f.jpg", "shelf\r/c.jpg")


@given(st.text(min_size=1).filter(lambda name: not name.endswith("/")))
@example("a\nb")
@example("a//b")
@example("/a")
@example("a/../b")
@example("\x80\u202e")
def test_a_flaw_is_what_the_stores_client_refuses_and_nothing_else(name):
    store = open_store(Settings(store_url="memory://"))
    key = f"in/{name}"
    try:
        store.put(key, b"x")
    except ValueError:
        refused = True
    else:
        refused = False

    assert bool(flaw(key)) is refused
    assert refused or [stat.key for stat in list_foreign(store, "in")] == [key]


def put(store, key):
    with client(store.settings) as opened:
        opened.put_object(Bucket=store.settings.store_url.removeprefix("s3://"), Key=key, Body=b"photo")


def test_keys_that_no_request_of_ours_can_hold_are_listed_beside_the_others(seaweed):
    for name in (*ODD, "shelf/ü #%41?.jpg", "z.jpg"):
        put(seaweed, f"in/{name}")
    put(seaweed, "in2/other\n.jpg")
    with pytest.raises(StoreError, match="refused 'in'"):
        list(seaweed.list("in"))

    found = {stat.key.removeprefix("in/"): stat for stat in list_foreign(seaweed, "in")}

    assert list(found) == sorted((*ODD, "shelf/ü #%41?.jpg", "z.jpg"))
    assert {name for name in found if flaw(name)} == set(ODD)
    (plain,) = seaweed.list("in/shelf")
    same = found[plain.key.removeprefix("in/")]
    assert (same.size, same.etag, same.modified) == (5, plain.etag, plain.modified)


def test_a_listing_of_more_than_a_page_is_whole(seaweed):
    for number in range(1001):
        seaweed.put(f"in/{number:04}.jpg", b"x")
    put(seaweed, "in/last\n.jpg")

    assert len(list_foreign(seaweed, "in")) == 1002


def test_a_store_that_refuses_or_does_not_answer_is_an_error_as_ever(seaweed, tmp_path):
    (tmp_path / "keys").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    stranger = seaweed.settings.model_copy(update={"store_credentials_file": tmp_path / "keys"})
    nowhere = Settings(
        store_url="s3://nothing", store_endpoint="http://127.0.0.1:1", store_credentials_file=tmp_path / "keys"
    )

    put(seaweed, "in/a\n.jpg")
    with pytest.raises(StoreDenied):
        list_foreign(open_store(stranger), "in")
    seaweed.settings = stranger  # the first listing is answered, the second is not
    with pytest.raises(StoreDenied, match="refused to list in/"):
        list_foreign(seaweed, "in")
    seaweed.settings = nowhere
    with pytest.raises(StoreUnavailable, match="did not answer"):
        list_foreign(seaweed, "in")
