"""Each scenario of the chart that can run here, installed: pods start, a version is promoted, golden photos are predicted."""

from __future__ import annotations

import json
import os
import secrets

import pytest
import requests

from orchestration.cluster.deploy.doctor import examine
from orchestration.cluster.deploy.install import make_namespace, remove
from orchestration.cluster.deploy.port_forward import forward
from orchestration.cluster.deploy.release import Release
from tests.charts.conftest import KUBERNETES
from tests.charts.random_values import random_values
from tests.e2e.conftest import RELEASE
from tests.e2e.releases import (
    CHART,
    ROOT,
    SMALL,
    apply,
    await_ready,
    chart_values,
    check_predictions,
    documents,
    release_model,
    released,
    run_helm_test,
)
from tests.e2e.service_traffic import MODEL

pytestmark = pytest.mark.timeout(3600)

MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                },
            }
        ],
    },
}
"""The Prometheus operator's kind, without the operator."""


ANY_USER = tuple(part for key in ("uid", "gid", "fsGroup") for part in ("--set", f"podSecurity.{key}=1000680000"))
"""As OpenShift would choose: numbers that no image knows."""


@pytest.mark.long
def test_our_engine_with_tokens_and_as_any_user(cluster, zoo):
    token = secrets.token_urlsafe(24)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "callers"}, "stringData": {"tokens": token}}
    options = (*chart_values("engine-orchard"), *ANY_USER, "--set", "serving.tokenSecret=callers")
    with released("engine-orchard", *options) as release:
        apply(release, json.dumps(secret))
        check_predictions(release, zoo)
        with forward(release, f"service/{release.fullname}-serving", 8501) as url:
            statuses = [
                requests.get(f"{url}/v1/models/{MODEL}", headers=headers, timeout=10).status_code
                for headers in (
                    {},
                    {"Authorization": "Bearer another-token-than-that"},
                    {"Authorization": f"Bearer {token}"},
                )
            ]
        assert statuses == [401, 401, 200]


@pytest.mark.long
def test_a_locked_down_release_trains_nothing_and_names_its_clients(cluster, zoo):
    apply(RELEASE, json.dumps(MONITORS))
    with released("locked-down", *chart_values("locked-down")) as release:
        check_predictions(release, zoo)
        assert release.get("podtemplates") == []
        (policy,) = release.get("networkpolicy", f"{release.fullname}-serving")
        assert policy["spec"]["ingress"][0]["from"][0]["podSelector"] == {"matchLabels": {"app": "web"}}
        assert release.get("servicemonitors")[0]["metadata"]["labels"]["release"] == "prometheus"
        assert release.get("ingress")[0]["spec"]["tls"] == [
            {"hosts": ["fruits.example.com"], "secretName": "fruits-tls"}
        ]


@pytest.mark.long
def test_the_overlay_for_kind_is_applied_by_kubectl(cluster, zoo, tmp_path):
    """Unchanged except for the namespace: `make deploy`'s may exist too."""
    release = Release(RELEASE.context, "orchard-e2e-overlay", "orchard")
    base = os.path.relpath(ROOT / "k8s" / "overlays" / "kind", tmp_path.resolve())
    elsewhere = {  # the `namespace` field would not change the subjects of role bindings
        "apiVersion": "builtin",
        "kind": "NamespaceTransformer",
        "metadata": {"name": "elsewhere", "namespace": release.namespace},
        "setRoleBindingSubjects": "allServiceAccounts",
    }
    kustomization = {"namespace": release.namespace, "resources": [base], "transformers": [json.dumps(elsewhere)]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization))
    release.kubectl("delete", "namespace", release.namespace, "--ignore-not-found", "--timeout=300s", seconds=310)
    release.kubectl("apply", "--kustomize", str(tmp_path))
    try:
        release_model(release, zoo, "one")
        await_ready(release)
    finally:
        release.kubectl("delete", "namespace", release.namespace, "--timeout=300s", seconds=310)


def own_pods(release: Release) -> set[str]:
    return {item["metadata"]["name"] for item in release.get("pods")}


def selected_pods(release: Release) -> set[str]:
    """Return the pods that any selector of a release's objects selects."""
    pods = documents(release, "pods")["items"]
    selected = set()
    for item in release.get("services,deployments,statefulsets,poddisruptionbudgets,networkpolicies,jobs"):
        spec = item["spec"]
        selector = spec.get("podSelector") or spec.get("selector") or {}
        wanted = (selector.get("matchLabels") or {} if item["kind"] != "Service" else selector).items()
        assert wanted, f"the {item['kind']} {item['metadata']['name']} selects every pod"
        selected |= {pod["metadata"]["name"] for pod in pods if wanted <= pod["metadata"]["labels"].items()}
    return selected


def test_two_releases_in_a_namespace_have_nothing_in_common(cluster, zoo):
    """Neither selects, examines or removes anything of the other. Both run without any registry."""
    with released("two", *chart_values("offline")) as first:
        second = Release(first.context, first.namespace, "second")
        small = [part for value in SMALL for part in ("--set", value)]
        second.helm("install", second.name, str(CHART), *small, *chart_values("offline"))
        for release in (first, second):
            release_model(release, zoo, "one")
            await_ready(release)
        assert not own_pods(first) & own_pods(second)
        for release in (first, second):
            assert selected_pods(release) <= own_pods(release)

        assert "namespace" not in " ".join(remove(second))

        assert own_pods(second) == set()
        assert examine(first) == []
        assert ": 0 of " in run_helm_test(first)


def test_the_api_server_accepts_what_random_valid_values_render_to(cluster, tmp_path):
    release = Release(RELEASE.context, "orchard-e2e-random", "orchard")
    apply(RELEASE, json.dumps(MONITORS))
    make_namespace(release)
    try:
        for seed in range(100, 104):
            name, chosen = random_values(seed)
            path = tmp_path / f"values-{seed}.json"
            path.write_text(json.dumps(chosen))
            options = ("--values", str(path), "--no-hooks", "--kube-version", KUBERNETES)
            rendered = release.helm("template", name, str(CHART), *options)
            release.kubectl("apply", "--dry-run=server", "--filename=-", stdin=rendered)
    finally:
        remove(release)
