"""How hypothesis behaves here: a busy machine is no failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("orchard", deadline=None, print_blob=True)
settings.load_profile("orchard")
