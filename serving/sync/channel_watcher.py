"""Polls the channels in the store: one conditional request for each channel and poll, however many versions there are."""

from __future__ import annotations

import ipaddress
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from orchard import layout
from orchard.channel_names import DEFAULT_CHANNELS
from orchard.errors import IntegrityError, ObjectNotFound, OrchardError
from orchard.files import WatchedFile
from orchard.registry import pointers
from orchard.registry.pointers import ChannelPointer
from orchard.signing import TrustedKeys, load_trusted
from orchard.store import ObjectStore

__all__ = ["FAR_POLL_S", "NEAR_POLL_S", "ChannelWatcher", "TrustedKeysFile", "default_poll_s"]

NEAR_POLL_S, FAR_POLL_S = 0.15, 5.0
_JITTER = 0.25
_SLOWDOWN = 1.5
_LONGEST_RETRY_S = 10.0
_NO_CHANNEL = "channels"


class TrustedKeysFile(WatchedFile[TrustedKeys]):
    """The PEM file of the trusted keys; while it cannot be read, the keys before. Raises `SettingsError` at first."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, load_trusted)


class ChannelWatcher:
    """A thread that keeps the newest trusted pointer of each channel of a model.

    Args:
        store: where the channels are.
        model: the model's name.
        trust: the trusted keys.
        accepted: the highest generation of each channel that was ever trusted, and the SHA-256 of its manifest.
        channels: the channels that are followed.
        poll_s: the longest mean time between two polls, in seconds; they are more frequent after a change.
        log_event: called with an event's name and its fields.
    """

    def __init__(
        self,
        store: ObjectStore,
        model: str,
        trust: TrustedKeysFile,
        accepted: Mapping[str, tuple[int, str]],
        *,
        channels: tuple[str, ...] = DEFAULT_CHANNELS,
        poll_s: float = NEAR_POLL_S,
        log_event: Callable[..., None] = lambda event, **fields: None,
    ) -> None:
        self.store = store
        self.model = model
        self.trust = trust
        self._channels = channels
        self._accepted = dict(accepted)
        self._poll_s = poll_s
        self._wait_s = min(NEAR_POLL_S, poll_s)
        self._log_event = log_event
        self._etags: dict[str, str] = {}  # of trusted pointers: another is read whole, until it is trusted
        self._judged_by: TrustedKeys | None = None
        self._stop = threading.Event()
        self.pointers: dict[str, ChannelPointer] = {}
        self.problems: dict[str, str] = {}
        self.advice: dict[str, dict[str, str]] = {}
        self.last_success = 0.0
        self.requests = 0

    def start(self, changed: Callable[[], None]) -> None:
        """Poll in a thread, which calls `changed` after each poll that found something new or failed."""
        threading.Thread(target=self._run, args=(changed,), name="channels", daemon=True).start()

    def stop(self) -> None:
        """Stop polling, without a wait for a request in flight."""
        self._stop.set()

    def _run(self, changed: Callable[[], None]) -> None:
        while not self._stop.is_set():
            self._stop.wait(self.poll(changed))

    def poll(self, changed: Callable[[], None] = lambda: None) -> float:
        """Read every channel, whether the store answers or not; returns the seconds until the next poll."""
        try:
            news = self.read_channels()
        except OrchardError as error:
            self._report(error)
            self._wait_s = min(self._wait_s * 2, max(self._poll_s, _LONGEST_RETRY_S))
            changed()
        else:
            self._wait_s = min(NEAR_POLL_S if news else self._wait_s * _SLOWDOWN, self._poll_s)
            if news:
                changed()
        return self._wait_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  jitter is not a secret

    def _report(self, error: OrchardError) -> None:
        """Keep what is wrong with the store, and log it once for each cause."""
        advice = {"code": error.code or error.kind, "fix": error.hint}
        if self.advice.get("store", {}).get("code") != advice["code"]:
            self._log_event("store", reason=error.message, **advice)
        self.problems["store"], self.advice["store"] = error.message, advice

    def read_channels(self) -> bool:
        """Request every channel once; returns whether something is new.

        A channel whose new pointer is not trusted keeps its last one; `problems` has the reason.

        Raises:
            StoreError: the store did not answer or refused.
        """
        trusted = self.trust.current()
        if trusted is not self._judged_by:  # the pointers of keys that are not trusted any more are judged again
            self._judged_by = trusted
            self._etags.clear()
        news = [self._read_channel(channel, trusted) for channel in self._channels]
        self.last_success = time.time()
        self.problems.pop("store", None)
        if self.advice.pop("store", None):
            self._log_event("store answers")
        if self._accepted or any(channel in self.problems for channel in self._channels):
            self.problems.pop(_NO_CHANNEL, None)
        elif _NO_CHANNEL not in self.problems:
            self.problems[_NO_CHANNEL] = (
                f"nothing was ever promoted to a channel of {self.model!r}; `orchard promote` does it"
            )
            self._log_event("waiting", reason=self.problems[_NO_CHANNEL])
        return any(news)

    def _read_channel(self, channel: str, trusted: TrustedKeys) -> bool:
        """Request a channel; returns whether its pointer or its problem is another than before."""
        self.requests += 1
        before = self.pointers.get(channel), self.problems.get(channel)
        try:
            changed = self.store.get_if_changed(layout.channel(self.model, channel), self._etags.get(channel))
        except ObjectNotFound:
            self._etags.pop(channel, None)
            self.problems.pop(channel, None)  # an untrusted pointer, which has been removed
            if channel in self._accepted:
                self.problems[channel] = _missing(self._accepted[channel][0])
        else:
            if changed is None:
                return False
            self._etags.pop(channel, None)
            try:
                self._accept(channel, changed.body, trusted)
                self._etags[channel] = changed.etag
            except IntegrityError as error:
                self.problems[channel] = f"{error.message} ({error.hint})" if error.hint else error.message
        return before != (self.pointers.get(channel), self.problems.get(channel))

    def _accept(self, channel: str, body: bytes, trusted: TrustedKeys) -> None:
        generation, manifest = self._accepted.get(channel, (0, ""))
        pointer = pointers.read_bytes(body, self.model, channel, trusted, seen=generation)
        if pointer.generation == generation and manifest not in ("", pointer.manifest_sha256):
            raise IntegrityError(
                f"channel {channel} has two pointers of generation {generation}: one of them is forged"
            )
        self._accepted[channel] = (pointer.generation, pointer.manifest_sha256)
        self.pointers[channel] = pointer
        self.problems.pop(channel, None)


def _missing(generation: int) -> str:
    return (
        "its pointer is missing from the store; the last trusted one stays in use "
        f"(`orchard promote VERSION --after-generation {generation}` writes another)"
    )


def default_poll_s(endpoint: str | None) -> float:
    """The longest time between two polls of a store: short on this machine and in the cluster, where requests are free.

    Args:
        endpoint: the store's address; None: that of a cloud.
    """
    host = (urlsplit(endpoint).hostname or "") if endpoint else ""
    try:
        near = ipaddress.ip_address(host).is_private
    except ValueError:
        local_name = "." not in host or host.endswith((".localhost", ".svc", ".cluster.local"))
        near = bool(host) and local_name
    return NEAR_POLL_S if near else FAR_POLL_S
