"""The time from a promotion to the new version's first answer, and of a rollback, under continuous load.

    python -m bench.delivery --model cnn --rounds 5
    python -m bench.delivery --model mobilenet --rounds 5

A real store, `orchard sync` and `orchard serve`, started as in production. In each round, under closed-loop load of four
connections: a version is published, then `promote` is called; seconds later `rollback`. The time starts with the call of
promote (or rollback), so its own requests are included, and ends with the first answer of the other version. The label
and the probability identify the version of an answer, and each answer must be right for one of the two. No request may
fail. The longest request after the call is compared with the longest before it.
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
from bench.processor import machine
from bench.rounds import Threshold, judge, spread
from bench.stack import ROOT, ServingStack, run
from bench.tally import TOLERANCE, WARM_S

CONNECTIONS, BEFORE_S, AFTER_S = 4, 3.0, 4.0
WITHIN = {"cnn": 0.5, "mobilenet": 1.2, "backbone": 1.5}
WORST = Threshold("longest request after the call over the longest before it, ms", 60, maximum=True)
FAILED = Threshold("requests that failed", 0, maximum=True)

Record = tuple[float, float, int, int, str, float]
"""When a request was sent (monotonic), its seconds, its photo, HTTP status, label, probability."""

Answers = list[tuple[str, float]]
"""A model's label and probability for every photo."""


@dataclass(frozen=True, slots=True)
class DeliveryFigures:
    """One change: seconds to the first answer of the new version; by how many ms the longest request grew."""

    seconds: float
    worse_ms: float


def start_traffic(serving: ServingStack, photos: Path, seconds: float) -> subprocess.Popen[str]:
    """Send requests to the stable label all the time, in another process."""
    path = "/v1/models/fruits/labels/stable:predict"
    command = ["bench.request_recorder", str(serving.port), path, str(photos), str(CONNECTIONS), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=subprocess.PIPE, text=True)


def answers_of(folder: Path, photos: Path, scratch: Path) -> Answers:
    """A model's answers to all photos, without a server."""
    file = scratch / f"{folder.name}.answers.json"
    file.write_text(photos.read_text())
    run("bench.bare_model", str(folder), str(file), "answers")
    return [(item["label"], item["probability"]) for item in json.loads(file.read_text())]


def is_from(record: Record, answers: Answers) -> bool:
    """Whether an answer is the model's."""
    label, probability = answers[record[2]]
    return record[4] == label and abs(record[5] - probability) <= TOLERANCE


def evaluate_change(records: list[Record], called: float, until: float, new: Answers, old: Answers) -> DeliveryFigures:
    """Compute the figures of one change from the records."""
    ends = (record[0] + record[1] for record in records if is_from(record, new) and not is_from(record, old))
    first = min((end for end in ends if end >= called), default=float("inf"))
    before = [took for sent, took, *_ in records if called - BEFORE_S + WARM_S <= sent + took < called]
    after = [took for sent, took, *_ in records if called <= sent + took < until]
    return DeliveryFigures(first - called, (max(after) - max(before)) * 1e3)


def run_round(
    serving: ServingStack, photos: Path, old: Answers, new_folder: Path, scratch: Path
) -> tuple[DeliveryFigures, DeliveryFigures, int]:
    """Publish and promote, then roll back; returns both changes and the number of failed requests."""
    new = answers_of(new_folder, photos, scratch)
    version = serving.publish(new_folder)
    traffic = start_traffic(serving, photos, BEFORE_S + AFTER_S + BEFORE_S + AFTER_S)
    assert traffic.stdout is not None
    traffic.stdout.readline()  # it has started
    time.sleep(BEFORE_S)
    promoted = time.perf_counter()
    serving.promote(version)
    time.sleep(AFTER_S + BEFORE_S)
    rolled_back = time.perf_counter()
    serving.rollback()
    records: list[Record] = [tuple(record) for record in json.loads(traffic.stdout.read())]
    traffic.wait()
    failed = sum(record[3] != 200 or not (is_from(record, old) or is_from(record, new)) for record in records)
    promotion = evaluate_change(records, promoted, promoted + AFTER_S, new, old)
    rollback = evaluate_change(records, rolled_back, rolled_back + AFTER_S, old, new)
    print(f"{len(records)} requests, {failed} failed: promote {promotion.seconds:.2f} s, longest {promotion.worse_ms:+.0f} ms; "
          f"rollback {rollback.seconds:.2f} s, longest {rollback.worse_ms:+.0f} ms", flush=True)  # fmt: skip
    return promotion, rollback, failed


def main() -> int:
    """Run the benchmark; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", choices=KINDS, default="cnn", help="small network, MobileNetV2 at 100 pixels, or at 224"
    )
    parser.add_argument("--rounds", type=int, default=5, help="each publishes one version and rolls it back")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        scratch = Path(name)
        for seed in range(options.rounds + 1):
            run("bench.bench_models", options.model, str(scratch / f"model{seed}"), str(seed + 1))
        photos = scratch / "photos.json"
        photos.write_text(json.dumps([{"b64": base64.b64encode(photo).decode()} for photo in draw_photos(50)]))
        serving = ServingStack.open(scratch / "stack", stack)
        first = serving.publish(scratch / "model0")
        serving.promote(first)
        serving.await_served(first)
        old = answers_of(scratch / "model0", photos, scratch)
        rounds = [
            run_round(serving, photos, old, scratch / f"model{seed}", scratch) for seed in range(1, options.rounds + 1)
        ]
    within = WITHIN[options.model]
    promotions, rollbacks = [row[0] for row in rounds], [row[1] for row in rounds]
    print(
        f"\n{options.model}: promote {spread([one.seconds for one in promotions])} s, "
        f"rollback {spread([one.seconds for one in rollbacks])} s"
    )
    reached = [
        judge(
            Threshold("promote called to first answer, s", within, maximum=True), [one.seconds for one in promotions]
        ),
        judge(
            Threshold("rollback called to first answer, s", within, maximum=True), [one.seconds for one in rollbacks]
        ),
        judge(WORST, [one.worse_ms for one in (*promotions, *rollbacks)]),
        judge(FAILED, [float(sum(row[2] for row in rounds))]),
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
