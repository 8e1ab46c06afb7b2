"""Each scenario of the chart that can run here, installed: pods come up, a version goes out, golden photos are answered."""

from __future__ import annotations

import json
import os
import secrets

import pytest
import requests

from orchestration.cluster.deploy.port_forward import forward
from orchestration.cluster.deploy.release import Release
from tests.e2e.conftest import RELEASE
from tests.e2e.releases import CHART, ROOT, apply, asked, documents, ready, release_model, released
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


def values(name: str) -> tuple[str, ...]:
    return ("--values", str(CHART / "ci" / f"{name}-values.yaml"))


def answers(release, zoo):
    """Put a version out and ask about its golden photos."""
    release_model(release, zoo, "one")
    ready(release)
    assert ": 0 of " in asked(release)


def test_a_cluster_without_any_registry(cluster, zoo):
    with released("offline", *values("offline")) as release:
        answers(release, zoo)


def test_our_engine_with_callers_who_bring_tokens(cluster, zoo):
    token = secrets.token_urlsafe(24)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "callers"}, "stringData": {"tokens": token}}
    with released("engine-orchard", *values("engine-orchard"), "--set", "serving.tokenSecret=callers") as release:
        apply(release, json.dumps(secret))
        answers(release, zoo)
        with forward(release, f"service/{release.fullname}-serving", 8501) as url:
            answered = [
                requests.get(f"{url}/v1/models/{MODEL}", headers=headers, timeout=10).status_code
                for headers in (
                    {},
                    {"Authorization": "Bearer another-token-than-that"},
                    {"Authorization": f"Bearer {token}"},
                )
            ]
        assert answered == [401, 401, 200]


def test_keys_that_are_there_are_used(deployed, zoo):
    """As from a backup: Secrets of another release, under other names."""
    names = {
        f"store-{name}": f"my-store-{name}" for name in ("server", "admin", "ingest", "trainer", "publisher", "sync")
    }
    names["signing"] = "my-signing"
    with released("existing-secret", *values("existing-secret")) as release:
        for source, name in names.items():
            data = documents(deployed.release, "secret", f"{deployed.release.fullname}-{source}")["data"]
            # under the chart's own names too: that is where the test looks for the keys it publishes with
            for wanted in (name, f"{release.fullname}-{source}"):
                secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": wanted}, "data": data}
                apply(release, json.dumps(secret))
        assert "keys" not in {item["metadata"]["labels"]["app.kubernetes.io/component"] for item in release.get("jobs")}
        answers(release, zoo)


def test_a_locked_down_release_trains_nothing_and_names_its_clients(cluster, zoo):
    apply(RELEASE, json.dumps(MONITORS))
    with released("locked-down", *values("locked-down")) as release:
        answers(release, zoo)
        assert release.get("podtemplates") == []
        (policy,) = release.get("networkpolicy", f"{release.fullname}-serving")
        assert policy["spec"]["ingress"][0]["from"][0]["podSelector"] == {"matchLabels": {"app": "web"}}
        assert release.get("servicemonitors")[0]["metadata"]["labels"]["release"] == "prometheus"
        assert release.get("ingress")[0]["spec"]["tls"] == [
            {"hosts": ["fruits.example.com"], "secretName": "fruits-tls"}
        ]


def test_the_overlay_for_kind_is_applied_by_kubectl(cluster, zoo, tmp_path):
    """As it stands but for the namespace: `make deploy`'s may be there too."""
    release = Release(RELEASE.context, "orchard-e2e-overlay", "orchard")
    base = os.path.relpath(ROOT / "k8s" / "overlays" / "kind", tmp_path.resolve())
    elsewhere = {  # the plain `namespace` field would leave the subjects of role bindings where they were
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
        ready(release)
    finally:
        release.kubectl("delete", "namespace", release.namespace, "--timeout=300s", seconds=310)
