"""The pages of a run in the store: what a step has written, with links to each other instead of to the workspace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchard.files import atomic_write
from orchard.runs.steps import STEPS, StepSpec
from orchard.store.objects import ObjectStore

__all__ = ["RUN_PAGES", "put_pages", "relinked"]

CONTENT_TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}

RUN_PAGES = {
    page.file.removeprefix("artifacts/"): page.key.removeprefix("runs/{run}/pages/")
    for spec in STEPS.values()
    for page in spec.pages
    if page.file and page.file.endswith(".html")
}
"""Names of a run's pages in the store, by their paths below artifacts/."""


def put_pages(store: ObjectStore, run_id: str, step: StepSpec, root: Path) -> tuple[str, ...]:
    """Upload the pages that a step has written in the folder `root`; return their keys."""
    uploaded = []
    for page in step.pages:
        if page.file and (path := root / page.file).exists():
            uploaded.append(page.key.format(run=run_id))
            with relinked(path) as file:
                store.put_file(uploaded[-1], file, CONTENT_TYPES[path.suffix])
    return tuple(uploaded)


@contextmanager
def relinked(path: Path) -> Iterator[Path]:
    """Yield a page with links to the run's pages, which lie beside it, instead of the workspace's."""
    body = path.read_bytes() if path.suffix == ".html" else b""
    if b"<nav" not in body:
        yield path
        return
    for file, name in RUN_PAGES.items():
        body = body.replace(f'href="../{file}"'.encode(), f'href="{name}"'.encode())
    copy = path.with_name(f".run-{path.name}")
    try:
        atomic_write(copy, body)
        yield copy
    finally:
        copy.unlink(missing_ok=True)
