"""The model server's part of the chart."""

from __future__ import annotations

import json

import pytest

from tests.charts.conftest import containers, find, pods, template

PROGRAMS = {"sync", "router"}


def pod(documents):
    return find(documents, "Deployment", "-serving")["spec"]["template"]["spec"]


def engine(documents):
    return pod(documents)["containers"][0]


def test_both_engines_keep_ports_probes_and_volumes(render):
    ours, theirs = engine(render("engine-orchard")), engine(render("engine-tensorflow-serving"))

    for part in ("ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "resources"):
        assert ours[part] == theirs[part]
    assert [mount for mount in theirs["volumeMounts"] if mount["name"] != "engine"] == ours["volumeMounts"]
    assert ours["args"][0] == "serve"
    assert theirs["command"] == ["/usr/bin/tensorflow_model_server"]


def test_tensorflow_serving_is_the_default(render):
    assert engine(render())["image"].startswith("tensorflow/serving:")


def test_tensorflow_serving_restarts_with_labels_and_follows_its_file(render):
    arguments = engine(render())["args"]

    assert "--allow_version_labels_for_unavailable_models=true" in arguments
    assert "--model_config_file_poll_wait_seconds=1" in arguments
    assert "--enable_profiler=false" in arguments
    assert find(render(), "ConfigMap", "-engine")["data"]["monitoring.config"].startswith("prometheus_config")


def test_sync_is_a_sidecar_that_starts_first_and_owns_readiness(render):
    (sync,) = pod(render())["initContainers"]

    assert sync["restartPolicy"] == "Always"
    assert sync["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert sync["startupProbe"]["httpGet"]["path"] == "/healthz"


def test_the_grace_period_is_longer_than_the_drain(render):
    for scenario in ("engine-orchard", "engine-tensorflow-serving"):
        spec = pod(render(scenario, "--set", "serving.drainSeconds=11"))
        drain = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert drain == 11
        assert spec["terminationGracePeriodSeconds"] > drain


def test_a_rollout_takes_no_pod_before_another_is_ready(render):
    strategy = find(render(), "Deployment", "-serving")["spec"]["strategy"]["rollingUpdate"]

    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}


def test_an_autoscaled_deployment_names_no_number_of_pods(render):
    documents = render("ha")
    scaler = find(documents, "HorizontalPodAutoscaler")["spec"]

    assert "replicas" not in find(documents, "Deployment", "-serving")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 4)
    assert scaler["metrics"][0]["containerResource"]["container"] == "engine"


@pytest.mark.parametrize(
    ("kind", "default", "locked_down"),
    [("Ingress", 0, 1), ("ServiceMonitor", 0, 1), ("PodTemplate", 12, 0), ("HorizontalPodAutoscaler", 0, 0)],
)
def test_optional_objects_exist_when_they_are_enabled(render, kind, default, locked_down):
    def count(scenario):
        return sum(item["kind"] == kind for item in render(scenario))

    assert (count("default"), count("locked-down")) == (default, locked_down)


@pytest.mark.parametrize("scenario", ["default", "ha", "locked-down"])
def test_services_select_existing_pods_and_ports(render, scenario):
    documents = render(scenario)
    workloads = [item for item in documents if item["kind"] in {"Deployment", "StatefulSet"}]
    for service in (item for item in documents if item["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        chosen = [item for item in workloads if selector <= item["spec"]["template"]["metadata"]["labels"].items()]
        assert len(chosen) == 1, service["metadata"]["name"]
        spec = chosen[0]["spec"]["template"]["spec"]
        names = {
            port["name"]
            for part in ("initContainers", "containers")
            for item in spec.get(part, [])
            for port in item.get("ports", [])
        }
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_without_a_token_secret_no_token_is_required(render):
    assert "token" not in str(
        pod(render("engine-orchard"))["containers"] + pod(render("engine-orchard"))["initContainers"]
    )


def test_engine_sync_and_helm_test_get_the_tokens(render):
    documents = render("engine-orchard", "--set", "serving.tokenSecret=callers")
    spec, mount = pod(documents), {"name": "tokens", "mountPath": "/keys/tokens", "readOnly": True}

    assert "--token-file=/keys/tokens/tokens" in spec["containers"][0]["args"]
    assert "--engine-token-file=/keys/tokens/tokens" in spec["initContainers"][0]["args"]
    assert spec["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz/fruits"  # it sends no token
    test_pod = find(documents, "Pod", "-test")["spec"]
    for container in (*spec["containers"], *spec["initContainers"], *test_pod["containers"]):
        assert mount in container["volumeMounts"]
    for volumes in (spec["volumes"], test_pod["volumes"]):
        assert [item["secret"]["secretName"] for item in volumes if item["name"] == "tokens"] == ["callers"]


def test_scrapes_of_the_engine_send_the_configured_token(render):
    values = ("serving.tokenSecret=callers", "serviceMonitor.enabled=true", "serviceMonitor.tokenSecret=prometheus")
    status, engine = find(render("engine-orchard", "--set", ",".join(values)), "ServiceMonitor", "-serving")["spec"][
        "endpoints"
    ]

    assert engine["authorization"] == {"type": "Bearer", "credentials": {"name": "prometheus", "key": "token"}}
    assert "authorization" not in status  # sync's status needs no token


def test_channels_of_ones_own_reach_every_program_that_follows_or_changes_one(render):
    given = ("--set", "channels={stable,staging}", "--set", "channel=staging", "--set", "airflow.enabled=true")
    found = {
        (name, container["name"]): {variable["name"]: variable.get("value") for variable in container.get("env", ())}
        for name, spec in pods(render("router", *given))
        for container in containers(spec)
    }

    following = {key: values for key, values in found.items() if "ORCHARD_CHANNEL" in values or key[1] in PROGRAMS}
    assert {values.get("ORCHARD_CHANNELS") for values in following.values()} == {"stable,staging"}
    assert {name for _, name in following} > PROGRAMS
    assert "ORCHARD_CHANNELS" not in json.dumps(render("router")), "unset: the default"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("channel=staging", "Add it to the value channels"),
        ("channels={canary}", "lacks stable"),
        ("channels={stable,latest}", "/channels/1"),
        ("channels={stable,Beta}", "/channels/1"),
    ],
)
def test_channels_that_cannot_be_right_are_refused(given, sentence):
    refused = template("--set", given)

    assert (refused.returncode, sentence in refused.stderr) == (1, True), refused.stderr
