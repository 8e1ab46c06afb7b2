"""The fault tests can fail: they do when one step of the protocol is removed."""

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


def trust_conflicts(store, key, body, create_once=registry.create_once):
    """Treats a conflict over a version's number as another publisher's, without reading back."""
    if not key.endswith("manifest.json"):
        return create_once(store, key, body)
    try:
        return ObjectBody(body, store.create(key, body))
    except (ObjectExists, StoreUnavailable):
        return ObjectBody(b"{}", "")


def skip_existing(self, claim, numbers, existing=Registry._existing):
    """Does not search for its content among the versions above the claim."""
    return existing(self, claim, numbers) if isinstance(numbers, list) else None


def assume_the_newest(self, identity, claim=Registry._claim):
    """Assumes that no version up to the newest has its content, whatever the claim says."""
    original, etag = claim(self, identity)
    newest = max(self.versions(), default=0)
    return registry._Claim(1, self.model, identity, newest, original.version), etag


def upload_only_missing_blobs(store, model, folder, files):
    """Does not read back what it uploads."""
    for file in files:
        if not store.exists(layout.blob(model, file.sha256)):
            store.put(layout.blob(model, file.sha256), b"half of it")


def skip_catch_up(self):
    """Leaves the history without the entry of a killed promoter."""
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
        (registry, "create_once", trust_conflicts),
        crash(crashes.publish, "reply lost"),
        "are the same",
    ),
    "searching for its own content": (
        (Registry, "_existing", skip_existing),
        crash(crashes.publish, "killed after"),
        "are the same",
    ),
    "the number in the claim": (
        (Registry, "_claim", assume_the_newest),
        order("the same bytes"),
        "was changed, but not by a publisher",
    ),
    "reading blobs back": (
        (registry, "upload", upload_only_missing_blobs),
        crash(crashes.publish, "killed before"),
        "is damaged",
    ),
    "catching the history up": (
        (Channel, "_catch_up", skip_catch_up),
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
def test_the_fault_tests_fail_without(step, folders, monkeypatch):
    mutation, check, message = MUTATIONS[step]
    check(folders)
    monkeypatch.setattr(*mutation)

    with pytest.raises((AssertionError, OrchardError), match=message):
        check(folders)
