"""What the channels say, followed in the store: one conditional request for each channel and poll, however many versions there are."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from orchard import layout
from orchard.errors import IntegrityError, ObjectNotFound, OrchardError
from orchard.registry import pointers
from orchard.registry.pointers import CHANNELS, ChannelPointer
from orchard.signing import TrustedKeys, load_trusted
from orchard.store import ObjectStore

__all__ = ["ChannelWatcher", "TrustedKeysFile"]

_JITTER = 0.25
_LONGEST_S = 10.0
_NOTHING = "channels"
_GONE = "its pointer is gone from the store; what it said last holds"


class TrustedKeysFile:
    """The file of trusted keys; a changed one is in use with the next look.

    Args:
        path: of the PEM file.

    Raises:
        SettingsError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._look()
        self._keys = load_trusted(path)

    def _look(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def keys(self) -> TrustedKeys:
        """The keys that are believed now; while the file cannot be read, those before."""
        stamp = self._look()
        if stamp is not None and stamp != self._stamp:
            try:
                self._keys, self._stamp = load_trusted(self._path), stamp
            except OrchardError:
                return self._keys
        return self._keys


class ChannelWatcher:
    """A thread that knows what each channel of a model says.

    Args:
        store: where the channels are.
        model: the model's name.
        trust: the keys that are believed.
        seen: the highest generation of each channel that was ever believed, and the manifest that it named.
        poll_s: the mean time between two looks.
        changed: called, in the follower's thread, after each look that found something new.
        tell: called with an event and what belongs to it.
    """

    def __init__(
        self,
        store: ObjectStore,
        model: str,
        trust: TrustedKeysFile,
        seen: Mapping[str, tuple[int, str]],
        *,
        poll_s: float,
        changed: Callable[[], None] = lambda: None,
        tell: Callable[..., None] = lambda event, **fields: None,
    ) -> None:
        self.store = store
        self.model = model
        self._trust = trust
        self._seen = dict(seen)
        self._poll_s = poll_s
        self._changed = changed
        self._tell = tell
        self._etags: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)
        self.pointers: dict[str, ChannelPointer] = {}
        self.problems: dict[str, str] = {}
        self.last_success = 0.0
        self.failures = 0
        self.requests = 0

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; a request under way is not waited for."""
        self._stop.set()

    def _follow(self) -> None:
        wait = self._poll_s
        while not self._stop.is_set():
            try:
                self.look()
                wait = self._poll_s
            except OrchardError as error:
                self.failures += 1
                self.problems["store"] = error.message
                wait = min(wait * 2, _LONGEST_S)
                self._changed()
            self._stop.wait(wait * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311  jitter is no secret

    def look(self) -> None:
        """Ask for every channel once.

        A channel that is not believed keeps what it said before; `problems` says why.

        Raises:
            StoreError: the store did not answer or refused.
        """
        found = [self._look_at(channel) for channel in CHANNELS]
        self.last_success = time.time()
        self.problems.pop("store", None)
        if any(found):
            self._changed()
        if self._seen or self._etags:
            self.problems.pop(_NOTHING, None)
        elif _NOTHING not in self.problems:
            self.problems[_NOTHING] = (
                f"nothing was ever promoted to a channel of {self.model!r}; `orchard promote` does it"
            )
            self._tell("waiting", reason=self.problems[_NOTHING])

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
        pointer = pointers.read_bytes(body, self.model, channel, self._trust.keys(), seen=generation)
        if pointer.generation == generation and manifest not in ("", pointer.manifest_sha256):
            raise IntegrityError(f"channel {channel} says two things at generation {generation}: one of them is forged")
        self._seen[channel] = (pointer.generation, pointer.manifest_sha256)
        self.pointers[channel] = pointer
        self.problems.pop(channel, None)
