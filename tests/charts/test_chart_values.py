"""What Kubernetes or Airflow would refuse is refused before anything is installed, and whatever is accepted is valid there."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml

from tests.charts.conftest import CHART, run_kubeconform, template, verb_texts
from tests.charts.random_values import random_values

RANDOM = 8
CLEANUP = "airflow.databaseCleanup.schedule"
REFUSED = {
    "a capital in fullnameOverride": (("fullnameOverride=Fruit",), 'fullnameOverride is "Fruit"'),
    "a dot in nameOverride": (("nameOverride=fruit.v2",), 'nameOverride is "fruit.v2"'),
    "a hyphen at the end of a name": (("fullnameOverride=fruit-",), 'fullnameOverride is "fruit-"'),
    "an hour that does not exist": ((f"{CLEANUP}=0 25 * * *",), "its hour (25) is invalid: numbers from 0 to 23"),
    "a minute that does not exist": (("airflow.schedules.batch=60 * * * *",), "airflow.schedules.batch is"),
    "a month that does not exist": ((f"{CLEANUP}=0 1 1 13 *",), "its month (13) is invalid"),
    "a day 0": ((f"{CLEANUP}=0 1 0 * *",), "its day of the month (0) is invalid"),
    "a Sunday 7": ((f"{CLEANUP}=0 1 * * 7",), "its day of the week (7) is invalid"),
    "a range that goes back": ((f"{CLEANUP}=30-10 1 * * *",), "its minute (30-10) is invalid"),
    "a step of 0": ((f"{CLEANUP}=*/0 1 * * *",), "its minute (*/0) is invalid"),
    "a word in a schedule": ((f"{CLEANUP}=0 noon * * *",), "its hour (noon) is invalid"),
    "a request over its limit": (
        ("serving.resources.engine.requests.memory=3Gi",),
        "serving.resources.engine.requests.memory is 3Gi, more than its limit of 2Gi",
    ),
    "a request over its limit in other units": (
        ("training.resources.heavy.requests.cpu=4001m",),
        "training.resources.heavy.requests.cpu is 4001m, more than its limit of 4",
    ),
    "a request over its limit, as a number": (
        ("objectStore.resources.requests.memory=4294967296",),
        "objectStore.resources.requests.memory",
    ),
    "a negative amount": (("serving.resources.sync.limits.cpu=-1",), "minimum"),
    "a pod that runs as root": (("podSecurity.uid=0",), "minimum"),
    "a host with a capital": (("serving.ingress.enabled=true", "serving.ingress.host=Fruit.example.com"), "pattern"),
    "a Secret's name with a capital": (("serving.engine=orchard", "serving.tokenSecret=Callers"), "pattern"),
    "a storage class with a space": (("training.workspace.className=very fast",), "pattern"),
    "a label of a node with a space": (("serving.nodeSelector.pool=very fast",), "/serving/nodeSelector/pool"),
    "an annotation's name with a space": (("serving.podAnnotations.a b=x",), "invalid propertyName 'a b'"),
    "an effect that no taint has": (("serving.tolerations[0].effect=NoSchedul",), "/serving/tolerations/0/effect"),
    "a variable that no shell knows": (("airflow.env[0].name=1 A",), "/airflow/env/0/name"),
    "a variable without a text": (("airflow.env[0].name=A", "airflow.env[0].value=5"), "got number, want string"),
    "a peer with a typo": (("networkPolicy.clients[0].podSelecto.a=b",), "'podSelecto' not allowed"),
    "an address that does not exist": (
        ("networkPolicy.storeAddresses[0]=300.0.0.0/8",),
        "/networkPolicy/storeAddresses/0",
    ),
    "a registry with a scheme": (("images.registry=https://mirror.example.com",), "/images/registry"),
    "an image with a space": (("images.serving=an image",), "/images/serving"),
    "a value that --reuse-values leaves out": (("airflow.databaseCleanup=null",), "use --reset-then-reuse-values"),
    "a section that --reuse-values leaves out": (("podSecurity=null",), "The value podSecurity is missing"),
    "a value that --reuse-values keeps": (("training.standin=true",), "use --reset-then-reuse-values"),
}


def options(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value.replace(",", r"\,"))]


@pytest.mark.parametrize("case", REFUSED)
def test_what_kubernetes_would_refuse_is_refused_in_a_sentence(case):
    values, sentence = REFUSED[case]

    done = template(*options(*values))

    assert done.returncode != 0
    assert sentence in done.stderr


@pytest.mark.parametrize("name", ["2fruit", "fruit.v2", "0"])
def test_a_release_name_that_no_service_may_have_is_refused(name):
    done = template(release=name)

    assert f'The release name is "{name}"' in done.stderr


@pytest.mark.parametrize("schedule", ["*/5 0-23/2 1,15 JAN-MAR MON", "@daily", "59 23 31 12 6", "0 0 * * sun,SAT"])
def test_valid_schedules_are_accepted(schedule):
    done = template(*options(f"{CLEANUP}={schedule}", f"airflow.schedules.retrain={schedule}"))

    assert done.returncode == 0, done.stderr


def test_random_cron_fields_are_accepted_exactly_within_their_ranges():
    draw = random.Random(5)  # noqa: S311  reproducible, no secret
    ranges = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
    for _ in range(12):
        fields = [draw.randint(0, 70) for _ in ranges]
        fields = [
            low + value % (high - low + 1) if draw.random() < 0.8 else value
            for value, (low, high) in zip(fields, ranges, strict=True)
        ]
        valid = all(low <= value <= high for value, (low, high) in zip(fields, ranges, strict=True))

        done = template(*options(f"{CLEANUP}={' '.join(map(str, fields))}"))

        assert (done.returncode == 0) == valid, (fields, done.stderr)


def test_every_template_checks_the_values_first():
    # helm renders templates in an order of its own, and the first that fails gives the error
    for path in (CHART / "templates").rglob("*"):
        if path.is_file() and path.suffix != ".tpl":
            first = path.read_text(encoding="utf-8").splitlines()[0]
            assert first == '{{- include "orchard.validate" . -}}', path.name


def test_random_valid_values_render_to_documents_that_kubernetes_accepts(schemas, tmp_path):
    rendered = {}
    for seed in range(RANDOM):
        release, values = random_values(seed)
        path = tmp_path / f"values-{seed}.json"
        path.write_text(json.dumps(values), encoding="utf-8")  # as YAML, 1e3 would become a number
        done = template("--values", str(path), release=release)
        assert done.returncode == 0, (seed, done.stderr)
        documents = [document for document in yaml.safe_load_all(done.stdout) if document]
        rendered[f"seed-{seed}"] = "\n---\n".join((done.stdout, *verb_texts(documents)))
    folder = tmp_path / "documents"
    folder.mkdir()

    report = run_kubeconform(schemas, rendered, folder)

    assert [(Path(item["filename"]).stem, item["name"], item["msg"]) for item in report["resources"]] == []


@pytest.mark.parametrize("number", ["null", "1000680000"])
def test_pods_run_with_the_numbers_that_are_given_or_with_none(number):
    chosen = options(*(f"podSecurity.{key}={number}" for key in ("uid", "gid", "fsGroup")))
    done = template("--values", str(CHART / "ci" / "airflow-values.yaml"), *chosen)
    pattern = {"runAsUser", "runAsGroup", "fsGroup"}
    found = [line.strip() for line in done.stdout.splitlines() if line.strip().split(":")[0] in pattern]

    assert done.returncode == 0, done.stderr
    assert {line.split(": ")[1] for line in found} == (set() if number == "null" else {number})
    assert not found or len(found) % 3 == 0
