"""`make doctor` finds deliberate faults, and no longer finds them after they are repaired."""

from __future__ import annotations

import base64
import json
import os
import subprocess

import pytest

from tests.e2e.conftest import RELEASE, ROOT, command
from tests.e2e.service_traffic import until

pytestmark = pytest.mark.timeout(3600)


def doctor(*options: str, **variables: str) -> str:
    """Return all findings as one text; empty if there are none."""
    done = subprocess.run(
        [*command("doctor", "--json"), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **variables},
        timeout=600,
    )
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == (1 if findings else 0), done.stderr
    return "\n".join(f"{item['wrong']} {item['remedy']}" for item in findings)


def await_finding(*parts: str):
    """Wait until the findings have all these parts."""
    until(lambda: all(part in doctor() for part in parts), 600, f"the doctor reports {parts}")


def await_no_finding():
    """Wait until there are no findings; the error has the last ones."""
    last = [""]

    def nothing() -> bool:
        last[0] = doctor()
        return not last[0]

    try:
        until(nothing, 600, "the doctor finds nothing")
    except AssertionError as error:
        raise AssertionError(last[0]) from error


def test_docker_that_does_not_answer(deployed):
    assert "Docker is stopped" in doctor(DOCKER_HOST="unix:///nonexistent.sock")


def test_a_cluster_and_a_release_that_are_not_there(deployed):
    assert "there is no kind cluster nowhere" in doctor("--context", "kind-nowhere")
    assert "holds no release other" in doctor("--release", "other")


def test_a_registry_elsewhere(deployed):
    assert "not at port 5999" in doctor("--registry-port", "5999")


def test_a_secret_that_is_missing(release):
    secret = release.get("secret", f"{release.fullname}-store-publisher")[0]
    for name in ("uid", "resourceVersion", "creationTimestamp"):
        secret["metadata"].pop(name)
    release.kubectl("delete", "secret", secret["metadata"]["name"])
    try:
        assert f"the Secret {secret['metadata']['name']} is missing" in doctor()
    finally:
        release.kubectl("create", "--filename=-", stdin=json.dumps(secret))
    await_no_finding()


def change_setting(release, name: str, value: str):
    """Change a setting of `sync` in the Deployment: a new pod gets it, and the others stay until that pod is ready."""
    document = release.get("deployment", f"{release.fullname}-serving")[0]
    sync = document["spec"]["template"]["spec"]["initContainers"][0]
    index = next(number for number, item in enumerate(sync["env"]) if item["name"] == name)
    path = f"/spec/template/spec/initContainers/0/env/{index}/value"
    patch = json.dumps([{"op": "replace", "path": path, "value": value}])
    release.kubectl("patch", "deployment", f"{release.fullname}-serving", "--type=json", f"--patch={patch}")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ORCHARD_STORE_ENDPOINT", "http://nowhere:8333", "objectStore.endpoint"),
        pytest.param("ORCHARD_STORE_URL", "s3://nowhere", "objectStore.bucket", marks=pytest.mark.long),
    ],
)
def test_a_wrong_endpoint_or_bucket(release, name, value, sentence):
    change_setting(release, name, value)
    try:
        await_finding("nowhere", sentence)
    finally:
        release.kubectl("rollout", "undo", f"deployment/{release.fullname}-serving")
        release.kubectl("rollout", "status", f"deployment/{release.fullname}-serving", "--timeout=600s", seconds=610)
    await_no_finding()


@pytest.mark.long
def test_a_key_that_the_store_does_not_know(release):
    name = f"{release.fullname}-store-sync"
    good = release.get("secret", name)[0]["data"]["credentials"]

    def set_key(text: str):
        patch = json.dumps({"data": {"credentials": text}})
        release.kubectl("patch", "secret", name, f"--patch={patch}")
        release.kubectl(
            "delete", "pod", release.serving_pods()[0], "--wait=false"
        )  # its successor mounts the new Secret

    wrong = "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n"
    set_key(base64.b64encode(wrong.encode()).decode())
    try:
        await_finding("the key in the Secret of `sync`", "InvalidAccessKeyId")
    finally:
        set_key(good)
    release.kubectl("rollout", "status", f"deployment/{RELEASE.fullname}-serving", "--timeout=600s", seconds=610)
    await_no_finding()


@pytest.mark.long
def test_pods_that_a_quota_refuses(release):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    release.kubectl("create", "--filename=-", stdin=json.dumps(quota))
    try:
        release.kubectl("delete", "pod", release.serving_pods()[0], "--wait=false")
        await_finding("the cluster refuses the pods of Deployment", "exceeded quota: few", "raise the ResourceQuota")
    finally:
        release.kubectl("delete", "resourcequota", "few")
    release.kubectl(
        "rollout", "restart", f"deployment/{release.fullname}-serving"
    )  # a controller waits longer each time
    release.kubectl("rollout", "status", f"deployment/{release.fullname}-serving", "--timeout=600s", seconds=610)
    await_no_finding()


def test_a_workload_without_pods(release):
    name = f"deployment/{release.fullname}-serving"
    release.kubectl("scale", name, "--replicas=0")
    try:
        await_finding("is scaled to 0", "kubectl -n orchard-e2e scale deployment")
    finally:
        release.kubectl("scale", name, "--replicas=2")
        release.kubectl("rollout", "status", name, "--timeout=600s", seconds=610)
    await_no_finding()


def test_a_lost_signing_key_is_restored_and_never_replaced(release):
    name = f"{release.fullname}-signing"
    secret = release.get("secret", name)[0]
    for field in ("uid", "resourceVersion", "creationTimestamp"):
        secret["metadata"].pop(field)
    (job,) = [
        item for item in release.get("jobs") if item["metadata"]["labels"]["app.kubernetes.io/component"] == "keys"
    ]
    again = {key: job[key] for key in ("apiVersion", "kind")}
    again["metadata"] = {key: job["metadata"][key] for key in ("name", "labels")}
    template = job["spec"]["template"]
    template["metadata"]["labels"] = {
        key: value
        for key, value in template["metadata"]["labels"].items()
        if "controller-uid" not in key and "job-name" not in key
    }
    again["spec"] = {"backoffLimit": job["spec"]["backoffLimit"], "template": template}
    release.kubectl("delete", "secret", name)
    try:
        assert "restore it from a backup: a new key makes every published version untrusted" in doctor()
        release.kubectl("delete", "job", job["metadata"]["name"])
        release.kubectl("create", "--filename=-", stdin=json.dumps(again))
        await_finding("every version that is published is untrusted and no longer served", "delete configmap")
        assert not release.kubectl("get", "secret", name, "--ignore-not-found", "--output=name")
    finally:
        release.kubectl("create", "--filename=-", stdin=json.dumps(secret))
    release.kubectl("wait", "--for=condition=Complete", f"job/{job['metadata']['name']}", "--timeout=600s", seconds=610)
    await_no_finding()
