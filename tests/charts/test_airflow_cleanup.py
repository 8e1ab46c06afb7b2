"""The CronJob that deletes old rows of Airflow's database: when it exists, its network, its variables."""

from __future__ import annotations

import pytest

from tests.charts.conftest import find, template


def pod(job):
    return job["spec"]["template"]["spec"]


def test_it_runs_one_at_a_time_with_the_migrations_variables_and_a_short_history(render):
    documents = render("airflow")
    spec = find(documents, "CronJob", "-airflow-cleanup")["spec"]
    (base,) = pod(spec["jobTemplate"])["containers"]
    (migrate,) = (item for item in documents if item["kind"] == "Job" and "-migrate-" in item["metadata"]["name"])
    (migrates,) = pod(migrate)["containers"]

    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("30 5 * * 0", "Etc/UTC", "Forbid")
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (1, 3)
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 3600
    assert base["image"] == migrates["image"]
    variables = {item["name"]: item for item in migrates["env"] if item["name"] not in ("NAME", "PASSWORD")}
    assert {item["name"]: item for item in base["env"]} == variables | {
        "KEEP_DAYS": {"name": "KEEP_DAYS", "value": "90"}
    }
    assert pod(spec["jobTemplate"])["volumes"] == pod(migrate)["volumes"]
    assert pod(spec["jobTemplate"])["serviceAccountName"] == "fruit-orchard-airflow", "an account without rights"


def test_it_reaches_only_the_database_and_dns(render):
    documents = render("airflow")
    policy = find(documents, "NetworkPolicy", "-airflow-cleanup")["spec"]
    labels = find(documents, "CronJob", "-airflow-cleanup")["spec"]["jobTemplate"]["spec"]["template"]["metadata"][
        "labels"
    ]
    database = find(documents, "NetworkPolicy", "-database")["spec"]["ingress"][0]["from"][0]["podSelector"]

    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert "ingress" not in policy
    assert [[port["port"] for port in rule["ports"]] for rule in policy["egress"]] == [[53, 53], [5432]]
    assert labels["app.kubernetes.io/component"] in database["matchExpressions"][0]["values"]
    outside = find(render("airflow-external"), "NetworkPolicy", "-airflow-cleanup")["spec"]["egress"][1]
    assert outside["to"] == [{"ipBlock": {"cidr": "203.0.113.7/32"}}]


def test_it_follows_its_values(render):
    options = (
        "airflow.databaseCleanup.keepDays=30",
        "airflow.databaseCleanup.schedule=@daily",
        "airflow.nodeSelector.a=b",
    )
    spec = find(render("airflow", "--set", ",".join(options)), "CronJob", "-airflow-cleanup")["spec"]

    assert spec["schedule"] == "@daily"
    assert {"name": "KEEP_DAYS", "value": "30"} in pod(spec["jobTemplate"])["containers"][0]["env"]
    assert pod(spec["jobTemplate"])["nodeSelector"] == {"a": "b"}


@pytest.mark.parametrize(
    ("scenario", "options"), [("airflow", ("--set", "airflow.databaseCleanup.keepDays=0")), ("default", ())]
)
def test_without_days_or_without_airflow_it_does_not_exist(render, scenario, options):
    documents = render(scenario, *options)

    assert not [item for item in documents if item["metadata"]["name"].endswith("-cleanup")]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("keepDays=6", "keepDays is 6: a run may take two days"),
        ("keepDays=-1", "minimum: got -1, want 0"),
        ("schedule=", "does not match pattern"),
        ("schedule=nightly", "does not match pattern"),
    ],
)
def test_invalid_values_are_refused_with_an_explanation(value, sentence):
    done = template("--set", "airflow.enabled=true", "--set", f"airflow.databaseCleanup.{value}")

    assert done.returncode != 0
    assert sentence in done.stderr
