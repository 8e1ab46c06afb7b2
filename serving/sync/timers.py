"""When sync's next attempts are due: of the engine, of downloads, and of versions that were refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from serving.sync.sync_state import MAX_TRIES, RefusedVersion

__all__ = ["BUSY_S", "CALM_S", "LONGEST_REFUSAL_S", "LONGEST_RETRY_S", "PERMANENT_KINDS", "Timers"]

BUSY_S, CALM_S = 0.02, 1.0
LONGEST_RETRY_S = 30.0
LONGEST_REFUSAL_S = 300.0
"""The longest time after which a refused version is judged again, except for a rule, which rests on its bytes alone."""

PERMANENT_KINDS = ("rule", "golden", "load")
"""The kinds of failures that are final at the first time."""

_FIRST_REFUSAL_S = 5.0
_RULE_REFUSAL_S = 60.0, 3600.0
_RETRY_S = 0.5
_SLOWDOWN = 1.06


@dataclass(frozen=True, slots=True)
class Timers:
    """When the next attempts are due, in seconds of a monotonic clock.

    Attributes:
        engine_due: the next query of the engine.
        labels_due: the next query of its labels while it loads a version, which moves no label.
        pace: seconds between two queries while something is pending.
        retry_at: no download and no validation starts earlier.
        retries: the number of consecutive failed downloads.
        judge_at: when a refused version is judged again, by its manifest's SHA-256; missing (after a restart): now.
    """

    engine_due: float = 0.0
    labels_due: float = 0.0
    pace: float = BUSY_S
    retry_at: float = 0.0
    retries: int = 0
    judge_at: Mapping[str, float] = field(default_factory=dict)

    def refused(self, manifest_sha256: str, refusal: RefusedVersion, now: float) -> Timers:
        """Judge again later: after each failure twice as late as after the previous one, up to a limit."""
        first, longest = _RULE_REFUSAL_S if refusal.kind == "rule" else (_FIRST_REFUSAL_S, LONGEST_REFUSAL_S)
        rounds = max(refusal.tries - (1 if refusal.kind in PERMANENT_KINDS else MAX_TRIES), 0)
        due = now + min(first * 2 ** min(rounds, 16), longest)
        return replace(self, judge_at={**self.judge_at, manifest_sha256: due})

    def download_failed(self, now: float) -> Timers:
        """Wait twice as long as after the previous failure, up to a limit."""
        delay = min(_RETRY_S * 2 ** min(self.retries, 16), LONGEST_RETRY_S)
        return replace(self, retries=self.retries + 1, retry_at=now + delay)

    def validation_failed(self, now: float) -> Timers:
        """Wait a moment."""
        return replace(self, retry_at=now + _RETRY_S)

    def engine_queried(self, now: float, *, pending: bool) -> Timers:
        """Query again soon while something is pending, then less and less often."""
        pace = min(self.pace * _SLOWDOWN, CALM_S / 2) if pending else BUSY_S
        return replace(self, pace=pace, engine_due=now + (pace if pending else CALM_S))
