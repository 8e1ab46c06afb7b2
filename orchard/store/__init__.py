"""The object store: the only state that Orchard's programs share."""

from orchard.store.objects import Fetched, ObjectStore, Stat, open_store

__all__ = ["Fetched", "ObjectStore", "Stat", "open_store"]
