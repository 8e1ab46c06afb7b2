"""A training's checkpoint in the store, so that another pod can resume where this one was terminated."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Self

from orchard import layout
from orchard.disk import temporary_folder
from orchard.errors import IntegrityError, OrchardError
from orchard.reporter import Reporter
from orchard.store import ObjectStore
from training.pipeline.artifacts import download_unverified, pack
from training.workspace import CHECKPOINTS

__all__ = ["CheckpointUploader", "restore"]

POLL_SECONDS = 0.5


def restore(store: ObjectStore, run_id: str, root: Path, reporter: Reporter) -> bool:
    """Download a run's checkpoint into a folder; return whether there is one. A damaged one is ignored: it only costs time."""
    try:
        return download_unverified(store, layout.run_checkpoint(run_id), root, (CHECKPOINTS,))
    except IntegrityError as error:
        reporter.note(f"the run's checkpoint is damaged, training begins again: {error.message}")
        return False


class CheckpointUploader:
    """Uploads the checkpoint whenever it changes, in a thread beside the training, from the first epoch to the last.

    Args:
        store: the store.
        run_id: the run.
        root: the folder that training runs in.
        reporter: reports a failed upload; the next epoch tries again.
    """

    def __init__(self, store: ObjectStore, run_id: str, root: Path, reporter: Reporter) -> None:
        self._store = store
        self._key = layout.run_checkpoint(run_id)
        self._root = root
        self._reporter = reporter
        self._uploaded = self._read_state()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="checkpoints", daemon=True)

    def _read_state(self) -> tuple[tuple[str, int], ...]:
        """The checkpoints' names and modification times in nanoseconds."""
        state = []
        for path in sorted((self._root / CHECKPOINTS).glob("*/*.npz")):
            try:
                state.append((path.parent.name, path.stat().st_mtime_ns))
            except FileNotFoundError:  # training has ended and has removed it
                continue
        return tuple(state)

    def _poll(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._upload()

    def _upload(self) -> None:
        state = self._read_state()
        if not state or state == self._uploaded:
            return
        try:
            with temporary_folder("orchard-checkpoint-") as temporary:
                copies, archive = temporary / "copies", temporary / "checkpoint.tar"
                # a copy has the bytes of one file, also while the file is replaced
                for path in (self._root / CHECKPOINTS).glob("*/*.npz"):
                    copy = copies / path.relative_to(self._root)
                    copy.parent.mkdir(parents=True)
                    shutil.copyfile(path, copy)
                with archive.open("wb") as file:
                    pack(copies, (CHECKPOINTS,), file)
                self._store.put_file(self._key, archive)
            self._uploaded = state
        except FileNotFoundError:  # as above
            return
        except OrchardError as error:
            self._reporter.note(f"the checkpoint could not be uploaded: {error.message}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._upload()  # the last whole epoch of a training that was terminated
