"""The object store: the only state that Orchard's programs share."""

from orchard.store.objects import ObjectBody, ObjectStat, ObjectStore, open_store

__all__ = ["ObjectBody", "ObjectStat", "ObjectStore", "open_store"]
