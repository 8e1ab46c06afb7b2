"""New photos become a live version without a person; a backfill predicts past days."""

from __future__ import annotations

import csv
import io
import json

import pytest

from orchestration.cluster.deploy.airflow_client import FINISHED
from tests.airflow_requests import backfill, list_runs
from tests.e2e.airflow.conftest import DATASET, FIRST, PARTS, Loop
from tests.e2e.airflow.run_waits import ingest, known, live, moment, retrained
from tests.e2e.job_photos import CLASSES
from tests.e2e.service_traffic import say, until

pytestmark = pytest.mark.timeout(1800)

SECOND = "2026-11-21"
DAYS = ("2026-11-18", "2026-11-19", "2026-11-20")
OVERHEAD_SECONDS = 8.0


def test_all_parts_are_healthy(loop):
    health = loop.airflow.health()

    assert {name: part["status"] for name, part in health.items()} == dict.fromkeys(
        ("metadatabase", "scheduler", "triggerer", "dag_processor"), "healthy"
    )
    assert loop.airflow.request("GET", "/importErrors")["total_entries"] == 0
    deployed = {item["metadata"]["name"] for item in loop.release.get("deployments")}
    assert {f"{loop.release.fullname}-airflow-{part}" for part in PARTS} <= deployed


def test_new_photos_become_a_live_version(loop, first):
    photo = loop.of("Lemon")["Test/Lemon/" + sorted(loop.of("Lemon"))[0].rpartition("/")[2]]

    assert loop.predict(photo)[0] == "Lemon"
    assert loop.airflow.run("retrain", first)["run_type"] == "asset_triggered"


def test_a_task_takes_little_longer_than_its_verb(loop, first):
    tasks = {task["task_id"]: task for task in loop.airflow.tasks("retrain", first)}
    verbs = loop.ended("retrain", first)
    begin = min(moment(task["start_date"]) for task in tasks.values())
    end = max(moment(task["end_date"]) for task in tasks.values())
    overhead = (end - begin - sum(ended.seconds for ended in verbs.values())) / len(tasks)
    say(f"overhead a task: {overhead:.1f} s; verbs: { {name: ended.seconds for name, ended in verbs.items()} }")

    assert overhead <= 3 * OVERHEAD_SECONDS  # the number is printed; a slow machine is no failure


def test_the_same_day_again_is_skipped(loop, first):
    before = known(loop)

    assert ingest(loop, FIRST) == "skipped"
    assert known(loop) == before


def test_another_day_changes_the_prediction(loop, first):
    photo = loop.of("Plum")["Test/Plum/" + sorted(loop.of("Plum"))[0].rpartition("/")[2]]
    before, old = known(loop), loop.predict(photo)
    loop.upload(
        f"incoming/{DATASET}/{SECOND}", {**loop.of(*CLASSES, last=True), "Training/Plum/broken.jpg": b"no photo"}
    )

    assert ingest(loop, SECOND) == "success"

    version = live(loop, retrained(loop, "asset_triggered", before))
    assert version > 1
    new = loop.predict(photo)
    say(f"version 1 predicts {old}, version {version} {new}")
    assert new[0] == "Plum"
    assert new != old


def test_past_days_are_predicted_in_order(loop, first):
    days = {}
    for day in DAYS[:2]:  # the third one is empty
        photos = [body for name, body in loop.of("Banana", "Lemon").items() if name.startswith("Test/")][:6]
        days[day] = {f"{number}.jpg": body for number, body in enumerate(photos)}
        loop.upload(f"batch/in/{day}", {**days[day], "broken.jpg": b"no photo"})

    backfill(loop.airflow, "batch_predict", DAYS[0], DAYS[-1])
    until(lambda: len(ended(loop)) == len(DAYS), 900, "the backfill ends")

    assert [item["state"] for item in ended(loop)] == ["success"] * len(DAYS)
    order = [item["logical_date"][:10] for item in sorted(ended(loop), key=lambda item: str(item["start_date"]))]
    assert order == list(DAYS)
    for day in DAYS:
        objects = loop.objects(f"batch/out/{day}")
        assert json.loads(objects[f"batch/out/{day}/done.json"])
        rows = list(csv.DictReader(io.StringIO(objects[f"batch/out/{day}/predictions.csv"].decode())))
        assert len(rows) == (len(days[day]) + 1 if day in days else 0)


def ended(loop: Loop) -> list[dict[str, object]]:
    runs = [item for item in list_runs(loop.airflow, "batch_predict") if item["run_type"] == "backfill"]
    return [item for item in runs if item["state"] in FINISHED]
