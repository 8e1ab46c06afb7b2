"""Channels: which version each points to; promote and rollback.

`orchard.registry.pointers` explains how a channel and its history are stored, and why the history is complete.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orchard import layout
from orchard.documents import FORMAT, canonical_json
from orchard.errors import ConflictError, DataError, GateRefused, IntegrityError, ObjectChanged
from orchard.key_names import require_name
from orchard.registry.leases import lease_change
from orchard.registry.manifest import Manifest
from orchard.registry.pointers import (
    WEIGHT_STEP,
    Action,
    ChannelPointer,
    ChannelSnapshot,
    append,
    decode_pointer,
    encode_pointer,
    is_weight,
    read_bytes,
)
from orchard.registry.versions import ModelVersions
from orchard.signing import sign
from orchard.store.conditional import get_or_none, swap_once

__all__ = ["MAX_GENERATIONS", "ChangeIntent", "Channel", "ChannelChange", "Weight", "ways_back"]

MAX_GENERATIONS = 1000
"""How many pointers one promotion writes at most to become newer than what readers have seen."""


@dataclass(frozen=True, slots=True)
class ChangeIntent:
    """The actor and the reason of a change; the history keeps both permanently.

    Attributes:
        who: the person or program.
        why: the reason, in words.
        run_id: the run that the change belongs to, None outside a run. A step of a run makes its change once, however
            often it is retried.
    """

    who: str
    why: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Weight:
    """The weight that a change gives a channel: 0 to 100 percent in steps of `WEIGHT_STEP`; None: none any more."""

    percent: float | None

    def __post_init__(self) -> None:
        if self.percent is not None and not is_weight(self.percent):
            raise DataError(f"{self.percent} is not a weight; expected 0 to 100 percent, in steps of {WEIGHT_STEP}")


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """What a channel points to after a promote or a rollback, and whether this call changed it."""

    pointer: ChannelPointer
    changed: bool


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of a model: its pointer, its history, promote and rollback.

    Attributes:
        registry: the model in its store, and the keys.
        name: its name; `orchard.registry.known_channels.find_channel` refuses one that is misspelt.
    """

    registry: ModelVersions
    name: str

    def __post_init__(self) -> None:
        require_name(self.name)

    @property
    def _label(self) -> str:
        return f"{self.name!r} of {self.registry.model!r}"

    def read(self, *, seen: int = 0) -> ChannelPointer | None:
        """Return the channel's pointer, or None if nothing was ever promoted to it.

        Args:
            seen: the highest generation that the caller has seen; an older one is a replay and is refused.

        Raises:
            IntegrityError: it is unsigned, signed by a key that is not trusted, changed, of another channel, or older
                than `seen`.
        """
        return self._read(seen).pointer

    def history(self, *, after: int = 0) -> list[ChannelPointer]:
        """Return all pointers that the channel ever had, oldest first; the current one is the last.

        Args:
            after: only those of later generations than this one.

        Raises:
            IntegrityError: an entry is missing, unsigned, changed or under the wrong key.
        """
        return self._history_of(self.snapshot(), after)

    def promote(
        self,
        version: int,
        intent: ChangeIntent,
        *,
        override_reason: str | None = None,
        forward: bool = False,
        again: bool = False,
        after_generation: int | None = None,
        weight: Weight | None = None,
    ) -> ChannelChange:
        """Let the channel point to `version`, after verifying that version's manifest, verdict and blobs.

        A weight belongs to the version that it was given to: a change to another version has none, unless it gives one.

        Args:
            version: the version.
            intent: the actor and the reason.
            override_reason: why a version is promoted that the gate has not accepted.
            forward: refuse the change if the channel points to a newer version (another run was quicker).
            again: write a new generation even if the channel points to the version: every sync judges it again at once.
            after_generation: the stored pointer is lost, forged, or older than readers have seen (a backup was restored):
                continue from the newest trusted entry of the history, until the generation is greater than this one.
            weight: the channel's weight; None: that of before, if the version is the same.

        Raises:
            DataError: no such version, no reason, or `after_generation` is more than `MAX_GENERATIONS` ahead.
            GateRefused: the version's verdict is neither accepted nor overridden, and no reason was given here.
            IntegrityError: the manifest, a blob, the channel or its history is invalid.
            ConflictError: another change came in between, a prune is deleting the version's bytes, or `forward` and the
                channel points to a newer version; nothing was changed.
        """
        intent = self._check(intent, "promote")
        if after_generation is not None:
            return self._promote_after(version, intent, after_generation, override_reason)
        at = self._catch_up()
        earlier = self._earlier_change(at, "promote", intent, version, weight)
        if earlier is not None:
            return ChannelChange(earlier, changed=False)
        if forward and at.pointer is not None and at.pointer.version > version:
            raise ConflictError(
                f"{self.name} of {self.registry.model!r} already points to version {at.pointer.version}, "
                f"which is newer than {version}",
                hint="without --forward the older version is promoted",
            )
        return self._change(at, version, "promote", intent, override_reason, again=again, weight=weight)

    def _promote_after(
        self, version: int, intent: ChangeIntent, generation: int, override_reason: str | None
    ) -> ChannelChange:
        """Write pointers to `version`, whatever the stored pointer is, until one is newer than `generation`."""
        at = self._newest_trusted()
        newest = at.pointer.generation if at.pointer else 0
        if generation - newest > MAX_GENERATIONS:
            raise DataError(
                f"generation {generation} is {generation - newest} changes ahead of the history of {self._label}, "
                f"which reaches {newest}; at most {MAX_GENERATIONS} are written",
                hint="is it the generation that `orchard sync` names?",
            )
        while True:
            change = self._change(at, version, "promote", intent, override_reason, again=True)
            if change.pointer.generation > generation:
                return change
            at = self._catch_up()

    def _newest_trusted(self) -> ChannelSnapshot:
        """The channel; if its pointer is missing or not trusted: the newest entry of the history, in its place."""
        try:
            return self._catch_up()
        except IntegrityError:
            stored = get_or_none(self.registry.store, layout.channel(self.registry.model, self.name))
            etag, keys = (stored.etag if stored else None), self._entries()
            if not keys:
                return ChannelSnapshot(etag=etag)
            key = keys[max(keys)]
            body = self.registry.store.get(key).body
            pointer = decode_pointer(body, self.registry.trusted, self.registry.model, self.name, key)
            return ChannelSnapshot(pointer, body, etag)

    def rollback(self, intent: ChangeIntent, *, to: int | None = None) -> ChannelChange:
        """Let the channel point to an earlier version again, after verifying all its blobs.

        The same rollback again (same run id; without one, the same actor and reason) changes nothing, so that it can be
        repeated after a crash. To go further back, give another reason or name the version.

        Args:
            intent: the actor and the reason.
            to: the version; None: the one that the channel pointed to before the current one was promoted.

        Raises:
            DataError: there is no earlier version, no such version, or no reason.
            IntegrityError: the version is damaged, or the channel or its history is invalid.
            ConflictError: another change came in between, or a prune is deleting the version's bytes; nothing was
                changed.
        """
        intent = self._check(intent, "rollback")
        at = self._catch_up()
        earlier = self._earlier_change(at, "rollback", intent, to)
        if earlier is not None:
            return ChannelChange(earlier, changed=False)
        return self._change(at, to if to is not None else self._previous(at, intent), "rollback", intent)

    def snapshot(self) -> ChannelSnapshot:
        """Read the channel and check its generation against its history. Raises `IntegrityError`."""
        newest = max(self._entries(), default=0)  # read first: an entry is written after its pointer
        at = self._read(newest)
        if at.pointer is None and newest:
            raise IntegrityError(
                f"the channel {self.name!r} is missing, but its history reaches generation {newest}",
                hint="restore models/ from the backup, the channels last",
            )
        return at

    def _read(self, seen: int) -> ChannelSnapshot:
        stored = get_or_none(self.registry.store, layout.channel(self.registry.model, self.name))
        if stored is None:
            return ChannelSnapshot()
        pointer = read_bytes(stored.body, self.registry.model, self.name, self.registry.trusted, seen=seen)
        return ChannelSnapshot(pointer, stored.body, stored.etag)

    def _entries(self) -> dict[int, str]:
        """The keys of the channel's history by generation."""
        keys: dict[int, str] = {}
        for stat in self.registry.store.list(layout.history(self.registry.model)):
            parts = layout.parts_of_history_key(stat.key)
            if parts and parts[1] == self.name:
                if parts[0] in keys:
                    raise IntegrityError(
                        f"the history has two entries for generation {parts[0]} of {self.name}: {stat.key}"
                    )
                keys[parts[0]] = stat.key
        return keys

    def _history_of(self, at: ChannelSnapshot, after: int = 0) -> list[ChannelPointer]:
        if at.pointer is None or at.pointer.generation <= after:
            return []
        keys = self._entries()
        entries = []
        for generation in range(after + 1, at.pointer.generation):
            key = keys.get(generation)
            if key is None:
                raise IntegrityError(f"the history of {self._label} lacks generation {generation}")
            body = self.registry.store.get(key).body
            entry = decode_pointer(body, self.registry.trusted, self.registry.model, self.name, key)
            if layout.history_entry(self.registry.model, entry.generation, self.name, entry.action) != key:
                raise IntegrityError(f"{key} holds the entry of generation {entry.generation}")
            entries.append(entry)
        return [*entries, at.pointer]

    def _check(self, intent: ChangeIntent, action: Action) -> ChangeIntent:
        """Return the intent as the history keeps it. A change needs a reason and a signing key."""
        self.registry.signing_key()
        if not intent.why.strip() or not intent.who.strip():
            raise DataError(f"a {action} needs a reason; the history keeps it", hint="give it with --why …")
        return replace(intent, why=intent.why.strip())

    def _catch_up(self) -> ChannelSnapshot:
        """Read the channel, and write the newest entry of its history if the last writer was killed before it."""
        at = self.snapshot()
        if at.pointer is not None and at.body is not None:
            append(self.registry.store, at.pointer, at.body)
        return at

    def _earlier_change(
        self,
        at: ChannelSnapshot,
        action: Action,
        intent: ChangeIntent,
        version: int | None,
        weight: Weight | None = None,
    ) -> ChannelPointer | None:
        """The change that the same step of the same run made before it was killed or its reply was lost, or None."""
        if intent.run_id is None:
            return None
        for entry in reversed(self._history_of(at)):
            same = (entry.run_id, entry.action) == (intent.run_id, action) and version in {None, entry.version}
            if same and (weight is None or weight.percent == entry.weight):
                return entry
        return None

    def _previous(self, at: ChannelSnapshot, intent: ChangeIntent) -> int:
        """The target of a rollback that names no version."""
        now = at.pointer
        if now and not intent.run_id and (now.action, now.who, now.why) == ("rollback", intent.who, intent.why):
            return now.version  # the same command again, after a crash
        back = ways_back(self._history_of(at))
        if len(back) < 2:
            raise DataError(
                f"the channel {self._label} has pointed to no other version before",
                hint="`orchard canary 0 --why …` takes its traffic away"
                if now and now.weight
                else "`orchard rollback --to VERSION` goes to any version; `orchard versions` lists them",
            )
        return back[-2]

    def _change(
        self,
        at: ChannelSnapshot,
        version: int,
        action: Action,
        intent: ChangeIntent,
        override_reason: str | None = None,
        *,
        again: bool = False,
        weight: Weight | None = None,
    ) -> ChannelChange:
        """Swap the channel from the pointer that was read to `version`, after verifying that version."""
        manifest = self.registry.manifest(version)
        _require_verdict(manifest, override_reason)
        before = at.pointer
        same = before is not None and (before.version, before.manifest_sha256) == (version, manifest.document_sha256)
        if weight is None:  # it belongs to a version, and to what was decided for it
            weight = Weight(before.weight if before and same and action == "promote" else None)
        if before and same and before.weight == weight.percent and not again:
            self.registry.verify(manifest)
            return ChannelChange(before, changed=False)
        pointer = replace(self._pointer(manifest, before, action, intent, override_reason), weight=weight.percent)
        blobs = [file.sha256 for file in manifest.files]
        lease_change(self.registry.store, self.registry.model, self.name, pointer.generation, version, blobs)
        self.registry.verify(manifest)
        body = canonical_json(sign(encode_pointer(pointer), self.registry.signing_key()))
        try:
            swap_once(self.registry.store, layout.channel(self.registry.model, self.name), body, at.etag)
        except ObjectChanged as error:
            raise ConflictError(
                f"somebody else changed the channel {self._label} meanwhile; nothing was changed",
                hint="`orchard history` shows its version; run the same command again if it is still right",
            ) from error
        append(self.registry.store, pointer, body)
        return ChannelChange(pointer, changed=True)

    def _pointer(
        self,
        manifest: Manifest,
        before: ChannelPointer | None,
        action: Action,
        intent: ChangeIntent,
        override_reason: str | None,
    ) -> ChannelPointer:
        """The pointer to a version that follows `before`."""
        return ChannelPointer(
            format=FORMAT,
            model=self.registry.model,
            channel=self.name,
            version=manifest.version,
            generation=before.generation + 1 if before else 1,
            manifest_sha256=manifest.document_sha256,
            action=action,
            previous=before.version if before else None,
            who=intent.who,
            why=intent.why,
            verdict=manifest.gate.verdict,
            override_reason=override_reason if not manifest.gate.passes else None,
            run_id=intent.run_id,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
        )


def _require_verdict(manifest: Manifest, override_reason: str | None) -> None:
    if not manifest.gate.passes and not (override_reason and override_reason.strip()):
        raise GateRefused(
            f"the gate's verdict on version {manifest.version} is {manifest.gate.verdict!r}: {manifest.gate.reason}",
            hint="`--override-reason …` promotes it anyway; the history keeps the reason permanently",
        )


def ways_back(entries: list[ChannelPointer]) -> list[int]:
    """Return the stack of versions that rollbacks go down: the current version is the last, before it the one before.

    A version that was rolled back is not in the stack, because a rollback removes the versions above its target: after
    1, 2, 3 and a rollback to 2, the next rollback goes to 1, not to the bad 3.
    """
    stack: list[int] = []
    for entry in entries:
        if entry.action == "rollback" and entry.version in stack:
            while stack[-1] != entry.version:
                stack.pop()
        elif not stack or stack[-1] != entry.version:
            stack.append(entry.version)
    return stack
