"""The proof proves something: with one step of the protocol taken out, it fails."""

from __future__ import annotations

import pytest

from orchard import dataset, layout
from orchard.errors import ObjectExists, OrchardError, StoreUnavailable
from orchard.registry import channels, registry
from orchard.registry.channels import Channel
from orchard.registry.registry import Registry
from orchard.store.objects import ObjectBody
from tests.faults import test_publish_crashes as crashes
from tests.faults import test_publish_schedules as schedules
from tests.faults.test_publish_crashes import folders

__all__ = ["folders"]


def believe_conflicts(store, key, body, create_once=registry.create_once):
    """Takes a conflict over a version's number for somebody else's, without reading back."""
    if not key.endswith("manifest.json"):
        return create_once(store, key, body)
    try:
        return ObjectBody(body, store.create(key, body))
    except (ObjectExists, StoreUnavailable):
        return ObjectBody(b"{}", "")


def look_nowhere(self, claim, numbers, existing=Registry._existing):
    """Does not look for its content among the versions above the claim."""
    return existing(self, claim, numbers) if isinstance(numbers, list) else None


def believe_the_newest(self, identity, claim=Registry._claim):
    """Takes for granted that nothing up to the newest version has its content, whatever the claim says."""
    found, etag = claim(self, identity)
    newest = max(self.versions(), default=0)
    return registry._Claim(1, self.model, identity, newest, found.version), etag


def send_only_what_is_missing(store, model, folder, files):
    """Takes a blob of the right size for the right blob, and does not read back."""
    for file in files:
        if not store.exists(layout.blob(model, file.sha256)):
            store.put(layout.blob(model, file.sha256), b"half of it")


def catch_nothing_up(self):
    """Leaves the history to whoever was killed."""
    return self.snapshot()


def overwrite(store, key, body, etag):
    """A swap that does not compare."""
    return ObjectBody(body, store.put(key, body))


def crash(action, fault, meanwhile=crashes.nothing, start=crashes.world):
    return lambda folders: crashes.survive(folders, start, action, meanwhile, {}, fault)


def order(pair):
    return lambda folders: schedules.every_order(pair, folders)


MUTATIONS = {
    "reading back after a conflict": (
        (registry, "create_once", believe_conflicts),
        crash(crashes.publish, "reply lost"),
        "are the same",
    ),
    "looking for its own content": (
        (Registry, "_existing", look_nowhere),
        crash(crashes.publish, "killed after"),
        "are the same",
    ),
    "the number in the claim": (
        (Registry, "_claim", believe_the_newest),
        order("the same bytes"),
        "was changed, but not by a publisher",
    ),
    "reading blobs back": (
        (registry, "upload", send_only_what_is_missing),
        crash(crashes.publish, "killed before"),
        "is damaged",
    ),
    "catching the history up": (
        (Channel, "_catch_up", catch_nothing_up),
        crash(crashes.promote, "killed after"),
        "lacks generation 3",
    ),
    "comparing when a channel is swapped": (
        (channels, "swap_once", overwrite),
        order("two promotions"),
        "is not the pointer that the channel had",
    ),
    "comparing when the dataset's pointer is swapped": (
        (dataset, "swap_once", overwrite),
        schedules.test_slow_writer_never_moves_the_dataset_pointer_back,
        "the dataset's pointer went back",
    ),
}


@pytest.mark.parametrize("step", MUTATIONS)
def test_proof_fails_without(step, folders, monkeypatch):
    mutation, proof, said = MUTATIONS[step]
    proof(folders)
    monkeypatch.setattr(*mutation)

    with pytest.raises((AssertionError, OrchardError), match=said):
        proof(folders)
