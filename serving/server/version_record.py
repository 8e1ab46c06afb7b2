"""What the repository knows about one version: what it loaded, what is on the disk, what failed, and what is due."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serving.server.servable import Servable
from serving.server.serving_error import ServingError
from serving.server.version_files import VersionFiles
from serving.status_codes import StatusCode

__all__ = ["VersionRecord"]

_QUICK_RETRIES, _QUICK_RETRY_S = 2, 1.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 5.0, 300.0
_LOAD_SHARE = 20
"""A retry waits at least this many times as long as the load took: a large broken version takes little of the CPU."""


@dataclass(slots=True, eq=False)
class VersionRecord:
    """One version of one model.

    Attributes:
        folder: its folder.
        state: as GetModelStatus reports it.
        code: the error with which it could not be loaded; OK: none.
        message: the text of that error.
        servable: what answers its requests; None: nothing does.
        loaded: the files that `servable` was loaded from.
        present: the files at the last scan; None: they are gone.
        present_since: when they were first seen so, in seconds of the monotonic clock.
        tried: the files that could not be loaded.
        failure: why not.
        attempts: how often in succession.
        retry_at: when they are tried again.
        loading: a load is waiting or in progress.
    """

    folder: Path
    state: str = "START"
    code: StatusCode = StatusCode.OK
    message: str = ""
    servable: Servable | None = None
    loaded: VersionFiles | None = None
    present: VersionFiles | None = None
    present_since: float = 0.0
    tried: VersionFiles | None = None
    failure: ServingError | None = None
    attempts: int = 0
    retry_at: float = 0.0
    loading: bool = False

    def observe(self, folder: Path, files: VersionFiles | None, now: float) -> None:
        """Take over a scan of the version's folder."""
        self.folder = folder
        if files != self.present:
            self.present, self.present_since = files, now
        if self.is_current:  # it may have been changed and changed back
            self.forget_failure()

    @property
    def is_current(self) -> bool:
        """Whether requests are answered from the files that are on the disk."""
        return self.servable is not None and self.present is not None and self.present.same_content(self.loaded)

    @property
    def is_gone(self) -> bool:
        """Whether the version answers, but its files were removed."""
        return self.servable is not None and (self.present is None or not self.present.has_graph)

    @property
    def is_given_up(self) -> bool:
        """Whether the files on the disk cannot be loaded: a retry is not expected to help, but is made."""
        return self.failure is not None and self.attempts > _QUICK_RETRIES

    def is_due(self, now: float, now_ns: int) -> bool:
        """Whether to load the files on the disk now.

        Args:
            now: the time of the monotonic clock in seconds.
            now_ns: the time in ns since 1970.
        """
        if self.loading or self.present is None or self.is_current or self.is_gone:
            return False
        if self.failure is not None and self.present.same_content(self.tried):
            return now >= self.retry_at
        return self.present.is_settled(now - self.present_since, now_ns)

    def begin(self) -> None:
        """Note that a load begins."""
        if self.present is not None and not self.present.same_content(self.tried):
            self.attempts = 0  # other files than those that failed
        if self.servable is None and not self.is_given_up:
            self.state = "LOADING"

    def succeed(self, servable: Servable, files: VersionFiles) -> Servable | None:
        """Let a loaded servable answer; returns the one that answered before."""
        before, self.servable, self.loaded = self.servable, servable, files
        self.state = "AVAILABLE"
        self.forget_failure()
        return before

    def fail(self, error: ServingError, files: VersionFiles | None, now: float, seconds: float) -> None:
        """Note that the files could not be loaded.

        Args:
            error: why.
            files: the files.
            now: the time of the monotonic clock in seconds.
            seconds: how long the load took.
        """
        self.attempts = self.attempts + 1 if files is None or files.same_content(self.tried) else 1
        self.tried, self.failure = files, error
        if self.is_given_up:
            delay = _FIRST_RETRY_S * 2.0 ** min(self.attempts - _QUICK_RETRIES - 1, 10)
            self.retry_at = now + max(min(delay, _LONGEST_RETRY_S), _LOAD_SHARE * seconds)
        else:
            self.retry_at = now + _QUICK_RETRY_S
        if self.servable is None:
            self.code, self.message = error.code, error.message
            if self.is_given_up:
                self.state = "END"

    def postpone(self, now: float) -> None:
        """Note that the files were changed while they were loaded: they must settle first."""
        self.present_since = now
        if self.servable is None:
            self.state = "START"

    def forget_failure(self) -> None:
        """Note that nothing failed, so that the next load is a first attempt."""
        self.failure = self.tried = None
        self.attempts, self.code, self.message = 0, StatusCode.OK, ""

    def end(self) -> None:
        """Note that the version should not be served and is not."""
        self.state = "END"
        self.forget_failure()
