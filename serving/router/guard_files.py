"""The files of tokens and of the certificate that Envoy follows, written from the user's files, again when they change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchard.files import WatchedFile, atomic_write
from serving.router.envoy_guards import Guards, TokenFiles
from serving.router.envoy_secrets import (
    CALLERS,
    CERTIFICATE,
    CHOOSERS,
    ENGINE,
    callers_document,
    certificate_document,
    choosers_document,
    engine_document,
    secret_file,
)  # fmt: skip
from serving.tls_certificate import read_pair
from serving.tokens import accepted_tokens, first_token

__all__ = ["GuardFiles"]

_Documents = dict[str, dict[str, Any]]
"""By the name of the resource."""


class GuardFiles:
    """Writes what Envoy follows into the router's own folder, which only this user may read.

    While a file of the user's is missing or invalid, what was read before stays in use, as in `orchard serve`.

    Args:
        guards: which files of the user's, and the folder.
        report: called once with the reason when a file cannot be used any more.

    Raises:
        SettingsError: a file is invalid: tokens, or a certificate and its key.
    """

    def __init__(self, guards: Guards, report: Callable[[str], None]) -> None:
        self._folder = guards.folder
        self._sources: list[WatchedFile[_Documents]] = []
        if guards.tokens:
            self._follow_tokens(guards.tokens, report)
        if guards.tls:
            certificate, key = guards.tls

            def read_certificate(path: Path) -> _Documents:
                return {CERTIFICATE: certificate_document(read_pair(path, key))}

            self._sources.append(WatchedFile(certificate, read_certificate, beside=(key,), report=report))
        self._report, self._problem = report, ""
        self._written: list[_Documents] = [{} for _ in self._sources]
        self._write()

    def _follow_tokens(self, files: TokenFiles, report: Callable[[str], None]) -> None:
        channel = files.channel

        def read_callers(path: Path) -> _Documents:
            tokens = accepted_tokens(path)
            if not channel:
                return {CALLERS: callers_document(tokens)}
            choosers = accepted_tokens(channel)
            return {CALLERS: callers_document([*tokens, *choosers]), CHOOSERS: choosers_document(choosers)}

        beside = (channel,) if channel else ()
        self._sources.append(WatchedFile(files.callers, read_callers, beside=beside, report=report))
        if files.engine:

            def read_engine(path: Path) -> _Documents:
                return {ENGINE: engine_document(first_token(path))}

            self._sources.append(WatchedFile(files.engine, read_engine, report=report))

    def refresh(self) -> None:
        """Write again what has changed. If that fails, Envoy keeps what it has, and the next call tries again."""
        try:
            self._write()
            problem = ""
        except OSError as error:
            problem = f"what has changed cannot be given to Envoy: {error.strerror}"  # not its text: it names a temporary file
        if problem and problem != self._problem:
            self._report(problem)
        self._problem = problem

    def _write(self) -> None:
        for number, source in enumerate(self._sources):
            documents = source.current()
            if documents is not self._written[number]:
                for name, document in documents.items():
                    atomic_write(secret_file(self._folder, name), json.dumps(document), mode=0o600)
                self._written[number] = documents
