"""The memory of an ingest of large photos: does it grow with their number?

    python -m bench.large_photos                              # 250, 500 and 1,000 photos of 12 megapixels: about 10 minutes
    python -m bench.large_photos --photos 1000 4000           # 30 GB of disk
    python -m bench.large_photos --photos 20 --small 1000 8000

The photos come through a pipe, as `tar c photos | orchard ingest /dev/stdin` reads them; none is a file before it is in a
shard. Each is another mosaic of the same few drawn pictures: JPEG is written in bands that do not depend on each other
(restart markers), so bands are exchanged without decoding, and no two photos have the same pixels. `orchard ingest` and
`orchard validate` run in processes of their own; the figure is the most resident memory that the kernel counts for each.

What is kept of a photo until the end does not depend on its pixels. So what 100,000 photos cost is measured with small ones, which take
minutes, and is added to the memory of the large ones. A slope over a few hundred large photos would be noise.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from bench.processor import machine
from bench.rounds import Threshold, judge
from bench.stack import ROOT

__all__ = ["main", "mosaics", "pictures"]

MEMORY = Threshold("most memory of ingest and validate, for 100,000 photos, GB", 1.5, maximum=True)
SMALL = (32, 320)
"""Width and height of small photos: 20 bands, so that mosaics differ."""

PICTURES = 4
SCAN = re.compile(rb"\xff\xda")
RESTART = re.compile(rb"\xff[\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class MemoryRun:
    """One command on N photos: seconds and the most bytes of memory."""

    verb: str
    photos: int
    seconds: float
    memory: int


def pictures(width: int, height: int) -> list[bytes]:
    """Draw the pictures that mosaics are made of: JPEG with bands, gradients with the noise of a camera."""
    drawn = []
    for number in range(PICTURES):
        dice = np.random.default_rng(number)
        corners = Image.fromarray(dice.integers(0, 256, (6, 8, 3), np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        noise = dice.normal(0, 6, (height, width, 1))
        body = io.BytesIO()
        noisy = np.clip(np.asarray(corners) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(body, "JPEG", quality=85, restart_marker_rows=1)
        drawn.append(body.getvalue())
    return drawn


def mosaics(bodies: Sequence[bytes], count: int) -> Iterator[bytes]:
    """Yield JPEG files of different pixels: each has the bands of the pictures in another order.

    Args:
        bodies: of `pictures`, which have the same tables.
        count: how many.
    """
    parts = []
    for body in bodies:
        match = SCAN.search(body)
        assert match is not None
        begin = match.end() + int.from_bytes(body[match.end() : match.end() + 2])
        parts.append((body[:begin], RESTART.split(body[begin:-2])))
    header, bands = parts[0][0], [band for _, part in parts for band in part]
    for number in range(count):
        dice = random.Random(number)  # noqa: S311
        chosen = dice.sample(bands, len(parts[0][1]))
        pieces = [header, chosen[0]]
        for place, band in enumerate(chosen[1:]):
            pieces += [b"\xff" + bytes([0xD0 + place % 8]), band]
        yield b"".join([*pieces, b"\xff\xd9"])


def write_tar(file: IO[bytes], bodies: Sequence[bytes], count: int) -> None:
    """Write photos of two classes, a fifth of them for the test, as a tar, one after the other."""
    with tarfile.open(fileobj=file, mode="w|") as archive:
        for number, body in enumerate(mosaics(bodies, count)):
            split = "train" if number % 5 else "test"
            member = tarfile.TarInfo(f"phone/{split}/{'odd' if number % 2 else 'even'}/{number}.jpg")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))


def measure_run(verb: str, folder: Path, bodies: Sequence[bytes], count: int) -> MemoryRun:
    """Run `orchard ingest` or `orchard validate` in a folder; the former reads the photos from a pipe."""
    arguments = {"ingest": ["/dev/stdin", "--no-push"], "validate": []}[verb]
    command = [sys.executable, "-m", "orchard", verb, *arguments, "--dataset", "large", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begin = time.monotonic()
    with (folder / f"{verb}.log").open("w") as log:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log)
        assert child.stdin is not None
        writer = threading.Thread(target=_feed, args=(child.stdin, bodies, count if verb == "ingest" else 0))
        writer.start()
        memory = 0
        while child.poll() is None:
            memory = max(memory, _most_memory(child.pid))
            time.sleep(0.1)
        writer.join()
    if child.returncode:
        raise SystemExit((folder / f"{verb}.log").read_text()[-3000:])
    return MemoryRun(verb, count, time.monotonic() - begin, memory)


def _feed(pipe: IO[bytes], bodies: Sequence[bytes], count: int) -> None:
    with suppress(BrokenPipeError), pipe:  # the child's exit code says what was wrong
        if count:
            write_tar(pipe, bodies, count)


def _most_memory(pid: int) -> int:
    """The most resident memory of a process until now, in bytes; 0 if it has ended. `wait4` counts its parent's too."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def measure_all(width: int, height: int, counts: Sequence[int]) -> dict[str, list[int]]:
    """Measure the memory of both verbs for each number of photos, print it, and return it by verb."""
    bodies = pictures(width, height)
    memory: dict[str, list[int]] = {"ingest": [], "validate": []}
    for count in counts:
        with tempfile.TemporaryDirectory() as temporary:
            for verb, found in memory.items():
                run = measure_run(verb, Path(temporary), bodies, count)
                rate, size = count / run.seconds, len(bodies[0]) / 1e6
                print(f"{verb:8} {count:7} photos of {size:.3f} MB  {run.memory / 1e6:7.0f} MB  {rate:.1f} photos/s")
                found.append(run.memory)
    return memory


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns 1 if the threshold was missed."""
    parser = argparse.ArgumentParser(description="memory of an ingest of large photos")
    parser.add_argument("--photos", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--side", type=int, nargs=2, default=[4000, 3000], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--small", type=int, nargs=2, default=[20_000, 100_000], help="what small photos are added for")
    options = parser.parse_args(arguments)
    print(machine())
    large, small = measure_all(*options.side, options.photos), measure_all(*SMALL, options.small)
    expected = {verb: max(large[verb]) + max(0, small[verb][-1] - small[verb][0]) for verb in large}
    for verb, memory in expected.items():
        print(f"{verb:8} {memory / 1e9:.2f} GB for {options.small[-1]} large photos")
    return 0 if judge(MEMORY, [max(expected.values()) / 1e9]) else 1


if __name__ == "__main__":
    sys.exit(main())
