"""Every pod of the chart is unprivileged and bounded, and has no right or key that it does not need."""

from __future__ import annotations

import re

import pytest

from tests.charts.conftest import CHART, ROOT, SCENARIOS, containers, find, pods, secrets_at, verbs
from training.pipeline.job_step import JOB_VERBS

SYNC_MAY_MOUNT = {"serving", "trusted", "key-sync", "tmp-sync", "tmp-engine", "engine", "test", "tmp"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pods_keep_the_restricted_standard_and_more(render, scenario):
    for where, spec in pods(render(scenario)):
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, where
        assert security["runAsUser"] >= 10001, where
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert not set(spec) & {"hostNetwork", "hostPID", "hostIPC"}, where
        allowed = {"name", "configMap", "emptyDir", "ephemeral", "secret"}
        assert all(set(volume) <= allowed for volume in spec["volumes"]), where
        for item in containers(spec):
            context = item["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, where
            assert context["readOnlyRootFilesystem"] is True, where
            assert context["capabilities"] == {"drop": ["ALL"]}, where


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_containers_have_requests_limits_and_a_pinned_image(render, scenario):
    for where, spec in pods(render(scenario)):
        for item in containers(spec):
            resources = item["resources"]
            for kind in ("requests", "limits"):
                assert set(resources[kind]) >= {"cpu", "memory", "ephemeral-storage"}, (where, item["name"], kind)
            assert re.search(r":[\w.-]*\d", item["image"]), (where, item["image"])
            assert not item["image"].endswith(":latest")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_only_the_keys_job_and_the_parts_that_start_pods_get_a_token(render, scenario):
    documents = render(scenario)
    with_token = {where for where, spec in pods(documents) if spec["automountServiceAccountToken"]}
    starters = {f"Deployment fruit-orchard-airflow-{part}" for part in ("scheduler", "triggerer")}

    assert all(where.startswith("Job fruit-orchard-keys-") for where in with_token - starters)
    assert with_token & starters in (set(), starters)
    assert all(item["automountServiceAccountToken"] is False for item in documents if item["kind"] == "ServiceAccount")
    assert not [item for item in documents if item["kind"].startswith("ClusterRole")]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pods_use_existing_accounts(render, scenario):
    documents = render(scenario)
    accounts = {item["metadata"]["name"] for item in documents if item["kind"] == "ServiceAccount"}

    assert {spec["serviceAccountName"] for _, spec in pods(documents)} <= accounts


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_service_variable_of_the_cluster_becomes_a_setting(render, scenario):
    assert all(spec["enableServiceLinks"] is False for _, spec in pods(render(scenario)))


def dag_settings():
    """The variables that orchestration/airflow/config.py reads, and a schedule for each DAG."""
    text = (ROOT / "orchestration" / "airflow" / "config.py").read_text()
    schedules = {f"SCHEDULE_{name}" for name in ("RETRAIN", "INGEST", "BATCH", "HOUSEKEEPING")}
    return {f"ORCHARD_{name}" for name in {*re.findall(r'get\("([A-Z_]+)"', text), *schedules}}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_setting_that_a_container_gets_exists(render, scenario):
    from orchard.settings import PREFIX, Settings

    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    for where, spec in pods(render(scenario)):
        for item in containers(spec):
            valid = dag_settings() if "orchard-airflow" in item["image"] else settings
            used = {entry["name"] for entry in item.get("env", []) if entry["name"].startswith(PREFIX)}
            assert used <= valid, where


def mounted_secrets(spec, container):
    return set(secrets_at(spec, container).values())


@pytest.mark.parametrize("scenario", ["default", "existing-secret", "external-s3"])
def test_a_model_server_holds_no_key_that_writes(render, scenario):
    spec = find(render(scenario), "Deployment", "-serving")["spec"]["template"]["spec"]

    assert {volume["name"] for volume in spec["volumes"]} <= SYNC_MAY_MOUNT
    trusted = next(volume for volume in spec["volumes"] if volume["name"] == "trusted")
    assert trusted["secret"]["items"] == [{"key": "trusted-keys.pem", "path": "trusted-keys.pem"}]
    engine = next(item for item in spec["containers"] if item["name"] == "engine")
    assert mounted_secrets(spec, engine) == set()
    assert next(mount for mount in engine["volumeMounts"] if mount["name"] == "serving")["readOnly"] is True


@pytest.mark.parametrize(
    ("verb", "held"),
    [
        ("runs", {"store-trainer"}),
        ("versions", {"store-sync", "signing"}),
        ("history", {"store-sync", "signing"}),
        ("diff", {"store-publisher", "signing"}),
        ("promote", {"store-publisher", "signing"}),
        ("rollback", {"store-publisher", "signing"}),
        ("note", {"store-publisher", "signing"}),
        ("tag", {"store-publisher", "signing"}),
    ],
)
def test_a_verb_beside_the_store_holds_only_the_keys_that_it_needs(render, verb, held):
    template = find(render(), "PodTemplate", f"-{verb}")
    spec = template["template"]["spec"]
    (container,) = containers(spec)
    entries = {
        item["key"]
        for volume in spec["volumes"]
        if volume.get("secret", {}).get("secretName", "").endswith("-signing")
        for item in volume["secret"]["items"]
    }

    assert mounted_secrets(spec, container) == {f"fruit-orchard-{name}" for name in held}
    assert ("signing-key.pem" in entries) == (verb in ("promote", "canary", "shadow", "rollback", "note", "tag"))
    assert int(template["metadata"]["annotations"]["orchard.job/keep-seconds"]) <= 600
    assert int(template["metadata"]["annotations"]["orchard.job/deadline-seconds"]) <= 600
    assert "ORCHARD_RUN_ID" not in {item["name"] for item in container["env"]}


def test_a_step_of_a_job_that_holds_a_key_records_itself(render):
    spec = find(render(), "PodTemplate", "-train")["template"]["spec"]
    commands = {item["name"]: item["args"][2:] for item in containers(spec)}

    assert commands["train"] == ["orchard", "train"]
    for name in JOB_VERBS:
        assert commands[name] == ["orchard", "step", "in-job", name]


def test_steps_of_a_training_job_hold_only_the_keys_that_their_verb_needs(render):
    spec = find(render(), "PodTemplate", "-train")["template"]["spec"]
    held = {item["name"]: mounted_secrets(spec, item) for item in containers(spec)}

    reads, writes = {"fruit-orchard-store-trainer"}, {"fruit-orchard-store-publisher", "fruit-orchard-signing"}
    assert held == {
        "prepare": set(),
        "pull": reads,
        "validate": set(),
        "train": set(),
        "evaluate": set(),
        "gate": writes,
        "publish": writes,
        "promote": writes,
    }
    gate = next(item for item in spec["initContainers"] if item["name"] == "gate")
    assert "signing" not in {mount["name"] for mount in gate["volumeMounts"]}


def test_a_task_holds_only_the_keys_that_its_verb_needs(render):
    held = {}
    for pod in verbs(render("airflow")):
        (base,) = pod["spec"]["containers"]
        held[base["args"][1]] = {name.removeprefix("fruit-orchard-") for name in mounted_secrets(pod["spec"], base)}

    assert held == {
        **{verb: {"store-trainer"} for verb in ("validate", "train", "evaluate")},
        **{verb: {"store-publisher", "signing"} for verb in ("gate", "publish", "promote")},
        "ingest": {"store-ingest"},
        "batch": {"store-batch", "signing"},
        "housekeeping": {"store-housekeeping", "signing"},
    }
    signs = {pod["metadata"]["name"] for pod in verbs(render("airflow")) if "/keys/signing/" in str(pod)}
    assert signs == {"publish", "promote"}


def test_airflow_may_run_pods_and_nothing_else(render):
    documents = render("airflow")
    role = find(documents, "Role", "-airflow")
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    binding = find(documents, "RoleBinding", "-airflow")

    assert {resource for resource, _ in allowed} == {"pods", "pods/log", "events"}
    assert {verb for resource, verb in allowed if resource == "pods"} == {"create", "get", "list", "patch", "delete"}
    assert {subject["name"] for subject in binding["subjects"]} == {
        "fruit-orchard-airflow-scheduler",
        "fruit-orchard-airflow-triggerer",
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_is_denied_all_and_then_allowed_something(render, scenario):
    documents = render(scenario)
    policies = [item["spec"] for item in documents if item["kind"] == "NetworkPolicy"]
    denying = [spec for spec in policies if "ingress" not in spec and "egress" not in spec]

    assert len(denying) == 1
    assert set(denying[0]["policyTypes"]) == {"Ingress", "Egress"}
    labels = denying[0]["podSelector"]["matchLabels"]
    for item in documents:
        spec = item.get("spec", {}).get("jobTemplate", item).get("spec", {})
        template = {"PodTemplate": item.get("template"), "Pod": item}.get(item["kind"]) or spec.get("template")
        if template:
            assert labels.items() <= template["metadata"]["labels"].items()


def test_a_store_outside_is_reached_where_it_is_and_the_nodes_identity_is_not(render):
    def egress(scenario):
        return find(render(scenario), "NetworkPolicy", "-serving")["spec"]["egress"][1]["to"]

    assert egress("external-s3") == [{"ipBlock": {"cidr": "203.0.113.0/24"}}]
    assert egress("cloud-identity") == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]


def test_the_store_listens_for_s3_and_nothing_else_outside_its_pod(render):
    store = find(render(), "StatefulSet", "-store")["spec"]["template"]["spec"]["containers"][0]

    assert {"-ip.bind=127.0.0.1", "-s3.iam=false", "-filer.disableHttp", "-disableHttp"} <= set(store["args"])
    assert [port["containerPort"] for port in store["ports"]] == [8333]


def test_templates_stay_readable():
    for path in CHART.rglob("templates/**/*"):
        if path.is_file():
            assert path.read_text().count("\n") <= 150, path
