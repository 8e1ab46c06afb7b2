"""Decides which signatures of a version may run requests together.

Requests may share a run only if no answer depends on the other requests. That is proved by the graph, and tried with
generated rows; or by golden photos, if the graph does not refute it. Whatever is not proved runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchard.savedmodel.row_independence import RowAnalysis, RowVerdict
from orchard.savedmodel.signatures import SignatureDef
from orchard.savedmodel.wire import WireError
from serving.server.batching import BatchQueue
from serving.server.declared_shapes import is_batchable
from serving.server.row_probe import ProbeFailed, as_strings, find_dependence, generate_rows
from serving.server.runtime.session import TfSession
from serving.server.serving_error import ServingError

__all__ = ["BatchingMode", "BatchingVerdict", "RowProof"]

BatchingMode = Literal["off", "proved", "on"]

_GOLDEN_TOLERANCE = 1e-3
"""The largest difference between the answers of golden photos in a batch and alone."""


@dataclass(frozen=True, slots=True)
class BatchingVerdict:
    """Whether requests of a signature may run together, and why.

    Attributes:
        together: they may.
        reason: why.
        proved: it is proved that no answer depends on other requests, for inputs of the declared shapes.
    """

    together: bool
    reason: str
    proved: bool = True

    def __str__(self) -> str:
        return f"{'together' if self.together else 'alone'} ({self.reason})"


class RowProof:
    """The verdicts of one loaded version.

    Args:
        mode: `off`: every request runs alone; `proved`: those of signatures that are proved to keep rows apart run
            together; `on`: those of all signatures do that declare rows.
        folder: the version's folder.
        session: the loaded version.
    """

    def __init__(self, mode: BatchingMode, folder: Path, session: TfSession) -> None:
        self.mode = mode
        self._folder = folder
        self._session = session
        self._analysis: RowAnalysis | None = None

    def judge_declaration(self, signature: SignatureDef) -> BatchingVerdict | None:
        """Decide about a signature by what it declares, which takes no time; None: `judge` must."""
        if self.mode == "off":
            return BatchingVerdict(False, "--batching off")
        if not is_batchable(signature):
            return BatchingVerdict(False, "not every input and output declares a first dimension of any size")
        if self.mode == "on":
            return BatchingVerdict(True, "--batching on", proved=False)
        return None

    def judge(self, signature: SignatureDef, queue: BatchQueue, photos: Sequence[bytes] = ()) -> BatchingVerdict:
        """Decide about a signature by its graph and by rows.

        Args:
            signature: the signature.
            queue: its queue, which runs the rows.
            photos: its golden photos; empty: it has none.
        """
        several = len(set(photos)) > 1  # one photo shows nothing
        graph = self._read_graph(signature)
        if graph.independent is False:
            return BatchingVerdict(False, graph.reason)
        if several:
            return _with_photos(queue, photos)
        if graph.independent is None:
            return BatchingVerdict(False, f"not proved: {graph.reason}")
        return _with_generated_rows(signature, queue)

    def _read_graph(self, signature: SignatureDef) -> RowVerdict:
        try:
            if self._analysis is None:
                self._analysis = RowAnalysis(self._folder, self._session.sizes)
            return self._analysis.judge(signature)
        except (OSError, WireError) as error:
            return RowVerdict(None, f"the graph cannot be read: {error}")


def _with_photos(queue: BatchQueue, photos: Sequence[bytes]) -> BatchingVerdict:
    try:
        difference = find_dependence(queue, [[as_strings([photo])] for photo in photos], _GOLDEN_TOLERANCE)
    except ServingError as error:
        return BatchingVerdict(False, f"not proved: golden photos fail: {error.message[:200]}")
    if difference:
        return BatchingVerdict(False, f"golden photos: {difference}")
    return BatchingVerdict(True, f"proved by {len(photos)} golden photos")


def _with_generated_rows(signature: SignatureDef, queue: BatchQueue) -> BatchingVerdict:
    try:
        difference = find_dependence(queue, generate_rows(queue, signature))
    except ProbeFailed as error:
        return BatchingVerdict(True, f"proved by the graph; {error}")
    except ServingError as error:
        return BatchingVerdict(False, f"not proved: generated rows fail: {error.message[:200]}")
    if difference:
        return BatchingVerdict(False, f"generated rows: {difference}")
    return BatchingVerdict(True, "proved by the graph and by generated rows")
