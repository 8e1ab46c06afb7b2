"""A training's checkpoint in the store: another pod goes on where this one was ended."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from orchard import layout
from orchard.errors import IntegrityError, OrchardError
from orchard.reporter import Reporter
from orchard.store import ObjectStore
from training.pipeline.artifacts import fetch_unnamed, pack
from training.workspace import CHECKPOINTS

__all__ = ["CheckpointUploader", "restore"]

LOOK_SECONDS = 0.5


def restore(store: ObjectStore, run_id: str, root: Path, reporter: Reporter) -> bool:
    """Bring a run's checkpoint into a folder, if there is one; one that cannot be read costs time only.

    Returns:
        Whether there is one.
    """
    try:
        return fetch_unnamed(store, layout.run_checkpoint(run_id), root, (CHECKPOINTS,))
    except IntegrityError as error:
        reporter.note(f"the run's checkpoint is of no use, training begins anew: {error.message}")
        return False


class CheckpointUploader:
    """Brings the checkpoint to the store whenever it has changed, beside the training, from the first epoch to the last.

    Args:
        store: where to.
        run_id: the run.
        root: the folder that training runs in.
        reporter: reports that the store does not take it; the next epoch tries again.
    """

    def __init__(self, store: ObjectStore, run_id: str, root: Path, reporter: Reporter) -> None:
        self._store = store
        self._key = layout.run_checkpoint(run_id)
        self._root = root
        self._reporter = reporter
        self._seen = self._look()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="checkpoints", daemon=True)

    def _look(self) -> tuple[tuple[str, int], ...]:
        found = []
        for path in sorted((self._root / CHECKPOINTS).glob("*/*.npz")):
            try:
                found.append((path.parent.name, path.stat().st_mtime_ns))
            except FileNotFoundError:  # training has ended and removed it meanwhile
                continue
        return tuple(found)

    def _follow(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self._bring()

    def _bring(self) -> None:
        now = self._look()
        if now == self._seen or not now:
            return
        try:
            with tempfile.TemporaryDirectory(prefix="orchard-checkpoint-") as temporary:
                copies, archive = Path(temporary) / "copies", Path(temporary) / "checkpoint.tar"
                for path in (self._root / CHECKPOINTS).glob(
                    "*/*.npz"
                ):  # a copy is of one file, also while it is replaced
                    copy = copies / path.relative_to(self._root)
                    copy.parent.mkdir(parents=True)
                    shutil.copyfile(path, copy)
                with archive.open("wb") as file:
                    pack(copies, (CHECKPOINTS,), file)
                self._store.put_file(self._key, archive)
            self._seen = now
        except FileNotFoundError:  # as above
            return
        except OrchardError as error:
            self._reporter.note(f"the checkpoint did not reach the store: {error.message}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._bring()  # the last whole epoch of a training that was ended
