"""A new version's way to its first answer, and the way back, while clients ask all the time.

    python -m bench.delivery --model cnn --rounds 5
    python -m bench.delivery --model mobilenet --rounds 5

A real store, `orchard sync` and `orchard serve` as they are started in earnest. In each round, under closed-loop load of
four connections: a version is published, then `promote` is called; seconds later `rollback`. The time counts from the
call of promote (or rollback) on, so its own requests are in it, to the first answer of the other version; answers are
told apart by what they say, and each must be right for one of the two. Nothing may fail, and the longest request after
the call is held against the longest before it.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.bench_models import KINDS, draw_photos
from bench.rounds import Threshold, judge, machine, spread
from bench.stack import ROOT, ServingStack, run

CONNECTIONS, BEFORE_S, AFTER_S = 4, 3.0, 4.0
WARM_S = 1.0
TOLERANCE = 1e-4
WITHIN = {"cnn": 0.5, "mobilenet": 1.2}
WORST = Threshold("longest request after the call over the longest before it, ms", 60, most=True)
FAILED = Threshold("requests that failed", 0, most=True)

Record = tuple[float, float, int, int, str, float]
"""When a request was sent (monotonic), its seconds, its photo, HTTP status, label, probability."""

Answers = list[tuple[str, float]]
"""What a model says of every photo: label and probability."""


@dataclass(frozen=True, slots=True)
class DeliveryFigures:
    """One change: seconds to the first answer of the new version; ms that the longest request grew by."""

    seconds: float
    worse_ms: float


def start_traffic(shop: ServingStack, photos: Path, seconds: float) -> subprocess.Popen[str]:
    """Ask the stable label all the time, in a process of its own."""
    path = "/v1/models/fruits/labels/stable:predict"
    command = ["bench.request_recorder", str(shop.port), path, str(photos), str(CONNECTIONS), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=subprocess.PIPE, text=True)


def answers_of(folder: Path, photos: Path, scratch: Path) -> Answers:
    """What a model says of every photo, in process."""
    mine = scratch / f"{folder.name}.answers.json"
    mine.write_text(photos.read_text())
    run("bench.bare_model", str(folder), str(mine), "answers")
    return [(item["label"], item["probability"]) for item in json.loads(mine.read_text())]


def is_from(record: Record, answers: Answers) -> bool:
    """Whether an answer is what a model says."""
    label, probability = answers[record[2]]
    return record[4] == label and abs(record[5] - probability) <= TOLERANCE


def change(records: list[Record], called: float, until: float, new: Answers, old: Answers) -> DeliveryFigures:
    """Read one change off the records."""
    ends = (record[0] + record[1] for record in records if is_from(record, new) and not is_from(record, old))
    first = min((end for end in ends if end >= called), default=float("inf"))
    before = [took for sent, took, *_ in records if called - BEFORE_S + WARM_S <= sent + took < called]
    after = [took for sent, took, *_ in records if called <= sent + took < until]
    return DeliveryFigures(first - called, (max(after) - max(before)) * 1e3)


def one_round(
    shop: ServingStack, photos: Path, old: Answers, new_folder: Path, scratch: Path
) -> tuple[DeliveryFigures, DeliveryFigures, int]:
    """Publish and promote, then roll back; returns both changes and how many requests failed."""
    new = answers_of(new_folder, photos, scratch)
    version = shop.publish(new_folder)
    traffic = start_traffic(shop, photos, BEFORE_S + AFTER_S + BEFORE_S + AFTER_S)
    assert traffic.stdout is not None
    traffic.stdout.readline()  # it has begun
    time.sleep(BEFORE_S)
    promoted = time.perf_counter()
    shop.promote(version)
    time.sleep(AFTER_S + BEFORE_S)
    rolled = time.perf_counter()
    shop.rollback()
    records: list[Record] = [tuple(record) for record in json.loads(traffic.stdout.read())]
    traffic.wait()
    failed = sum(record[3] != 200 or not (is_from(record, old) or is_from(record, new)) for record in records)
    there = change(records, promoted, promoted + AFTER_S, new, old)
    back = change(records, rolled, rolled + AFTER_S, old, new)
    print(f"{len(records)} requests, {failed} failed: there {there.seconds:.2f} s, worst {there.worse_ms:+.0f} ms; "
          f"back {back.seconds:.2f} s, worst {back.worse_ms:+.0f} ms", flush=True)  # fmt: skip
    return there, back, failed


def main() -> int:
    """Run the benchmark; returns 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=KINDS, default="cnn", help="small network, or MobileNetV2")
    parser.add_argument("--rounds", type=int, default=5, help="each publishes one version and rolls it back")
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        scratch = Path(name)
        for seed in range(given.rounds + 1):
            run("bench.bench_models", given.model, str(scratch / f"model{seed}"), str(seed + 1))
        photos = scratch / "photos.json"
        photos.write_text(json.dumps([{"b64": base64.b64encode(photo).decode()} for photo in draw_photos(50)]))
        shop = ServingStack.open(scratch / "shop", stack)
        first = shop.publish(scratch / "model0")
        shop.promote(first)
        shop.await_served(first)
        old = answers_of(scratch / "model0", photos, scratch)
        found = [one_round(shop, photos, old, scratch / f"model{seed}", scratch) for seed in range(1, given.rounds + 1)]
    within = WITHIN[given.model]
    there, back = [row[0] for row in found], [row[1] for row in found]
    print(
        f"\n{given.model}: there {spread([one.seconds for one in there])} s, back {spread([one.seconds for one in back])} s"
    )
    reached = [
        judge(Threshold("promote called to first answer, s", within, most=True), [one.seconds for one in there]),
        judge(Threshold("rollback called to first answer, s", within, most=True), [one.seconds for one in back]),
        judge(WORST, [one.worse_ms for one in (*there, *back)]),
        judge(FAILED, [float(sum(row[2] for row in found))]),
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
