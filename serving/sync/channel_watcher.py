"""What the channels say, followed in the store: one conditional request for each channel and poll, however many versions there are."""

from __future__ import annotations

import ipaddress
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from orchard import layout
from orchard.errors import IntegrityError, ObjectNotFound, OrchardError
from orchard.files import WatchedFile
from orchard.registry import pointers
from orchard.registry.pointers import CHANNELS, ChannelPointer
from orchard.signing import TrustedKeys, load_trusted
from orchard.store import ObjectStore

__all__ = ["FAR_POLL_S", "NEAR_POLL_S", "ChannelWatcher", "TrustedKeysFile", "default_poll_s"]

NEAR_POLL_S, FAR_POLL_S = 0.15, 5.0
_JITTER = 0.25
_SLOWER = 1.5
_LONGEST_RETRY_S = 10.0
_NOTHING = "channels"
_GONE = "its pointer is gone from the store; what it said last holds"


class TrustedKeysFile(WatchedFile[TrustedKeys]):
    """The file of trusted keys; a changed file is in use with the next look.

    Args:
        path: of the PEM file.

    Raises:
        SettingsError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, load_trusted)

    def keys(self) -> TrustedKeys:
        """The keys that are trusted now; while the file cannot be read, those before."""
        return self.current()


class ChannelWatcher:
    """A thread that knows what each channel of a model says.

    Args:
        store: where the channels are.
        model: the model's name.
        trust: the keys that are believed.
        seen: the highest generation of each channel that was ever believed, and the manifest that it named.
        poll_s: the longest mean time between two looks; they are more frequent after a change.
        tell: called with an event and what belongs to it.
    """

    def __init__(
        self,
        store: ObjectStore,
        model: str,
        trust: TrustedKeysFile,
        seen: Mapping[str, tuple[int, str]],
        *,
        poll_s: float = NEAR_POLL_S,
        tell: Callable[..., None] = lambda event, **fields: None,
    ) -> None:
        self.store = store
        self.model = model
        self.trust = trust
        self._seen = dict(seen)
        self._poll_s = poll_s
        self._wait = min(NEAR_POLL_S, poll_s)
        self._tell = tell
        self._etags: dict[str, str] = {}
        self._stop = threading.Event()
        self.pointers: dict[str, ChannelPointer] = {}
        self.problems: dict[str, str] = {}
        self.last_success = 0.0
        self.requests = 0

    def start(self, changed: Callable[[], None]) -> None:
        """Follow in a thread, which calls `changed` after each look that found something new or failed."""
        threading.Thread(target=self._follow, args=(changed,), name="follow", daemon=True).start()

    def stop(self) -> None:
        """Stop following; a request under way is not waited for."""
        self._stop.set()

    def _follow(self, changed: Callable[[], None]) -> None:
        while not self._stop.is_set():
            self._stop.wait(self.poll(changed))

    def poll(self, changed: Callable[[], None] = lambda: None) -> float:
        """Look at every channel, whether the store answers or not; returns the seconds until the next look."""
        try:
            found = self.look()
        except OrchardError as error:
            self.problems["store"] = error.message
            self._wait = min(self._wait * 2, max(self._poll_s, _LONGEST_RETRY_S))
            changed()
        else:
            self._wait = min(NEAR_POLL_S if found else self._wait * _SLOWER, self._poll_s)
            if found:
                changed()
        return self._wait * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  jitter is no secret

    def look(self) -> bool:
        """Request every channel once; returns whether something is new.

        A channel whose pointer is not trusted keeps what it said before; `problems` says why.

        Raises:
            StoreError: the store did not answer or refused.
        """
        found = [self._look_at(channel) for channel in CHANNELS]
        self.last_success = time.time()
        self.problems.pop("store", None)
        if self._seen or self._etags:
            self.problems.pop(_NOTHING, None)
        elif _NOTHING not in self.problems:
            self.problems[_NOTHING] = (
                f"nothing was ever promoted to a channel of {self.model!r}; `orchard promote` does it"
            )
            self._tell("waiting", reason=self.problems[_NOTHING])
        return any(found)

    def _look_at(self, channel: str) -> bool:
        """Ask for one channel; returns whether something is new."""
        self.requests += 1
        try:
            found = self.store.get_if_changed(layout.channel(self.model, channel), self._etags.get(channel))
        except ObjectNotFound:
            self._etags.pop(channel, None)
            gone = channel in self._seen and self.problems.get(channel) != _GONE
            if gone:
                self.problems[channel] = _GONE
            return gone
        if found is None:
            return False
        self._etags[channel] = found.etag
        try:
            self._believe(channel, found.body)
        except IntegrityError as error:
            self.problems[channel] = error.message
        return True

    def _believe(self, channel: str, body: bytes) -> None:
        generation, manifest = self._seen.get(channel, (0, ""))
        pointer = pointers.read_bytes(body, self.model, channel, self.trust.keys(), seen=generation)
        if pointer.generation == generation and manifest not in ("", pointer.manifest_sha256):
            raise IntegrityError(f"channel {channel} says two things at generation {generation}: one of them is forged")
        self._seen[channel] = (pointer.generation, pointer.manifest_sha256)
        self.pointers[channel] = pointer
        self.problems.pop(channel, None)


def default_poll_s(endpoint: str | None) -> float:
    """The longest time between two looks at a store: short on this machine and in the cluster, where requests cost nothing.

    Args:
        endpoint: the store's address, or None: a cloud's own.
    """
    host = (urlsplit(endpoint).hostname or "") if endpoint else ""
    try:
        near = ipaddress.ip_address(host).is_private
    except ValueError:
        service = "." not in host or host.endswith((".localhost", ".svc", ".cluster.local"))
        near = bool(host) and service
    return NEAR_POLL_S if near else FAR_POLL_S
