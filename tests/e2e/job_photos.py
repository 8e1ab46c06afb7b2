"""Photos for a training Job of a minute: some real ones if they are here, else drawn ones."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

from orchestration.local.sample_data import SHARED

CLASSES = ("Banana", "Kiwi", "Lemon", "Plum")
EVERY = 3


def write(folder: Path) -> Path:
    """Write the photos into `folder`, unless it exists; returns it."""
    if folder.exists():
        return folder
    archive, half = SHARED / "fruits.tar.gz", folder.with_name(folder.name + ".half")
    if archive.exists():
        _extract(archive, half)
    else:
        drawn = ["synthetic", str(half), "--classes", str(len(CLASSES)), "--photos", "1000"]
        subprocess.run([sys.executable, "-m", "orchard", *drawn], check=True, timeout=600)
    half.rename(folder)
    return folder


def _extract(archive: Path, folder: Path) -> None:
    """Extract every third turntable photo of the classes."""
    number = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if not member.isfile() or len(parts) < 3 or parts[-2] not in CLASSES:
                continue
            number += 1
            body = tar.extractfile(member)
            if number % EVERY or body is None:
                continue
            path = folder.joinpath(*parts[-3:])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body.read())


def sample(workspace: Path, count: int = 60) -> list[bytes]:
    """Return small test photos from the dataset, one class after the other."""
    import pyarrow.parquet as parquet

    photos: dict[str, list[bytes]] = {}
    for path in sorted((workspace / "data").glob("*/*.parquet")):
        table = parquet.read_table(path, columns=["image", "label", "split"])
        for row in table.to_pylist():
            body = row["image"]["bytes"]
            if row["split"] == "test" and len(body) < 10_000:
                photos.setdefault(row["label"], []).append(body)
    each = -(-count // len(photos))
    return [body for label in sorted(photos) for body in photos[label][:each]][:count]
