"""A store with a private authority: each container that talks to it has the authority's file, and no other has."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.charts.conftest import containers, pods, template

SCENARIO = "private-authority"
FILE = "/keys/store-ca/ca.crt"


def environment(container):
    return {item["name"]: item.get("value") for item in container.get("env", [])}


def mounts_authority(container):
    return {"name": "store-ca", "mountPath": "/keys/store-ca", "readOnly": True} in container.get("volumeMounts", [])


def test_every_container_with_the_stores_address_has_its_authority(render):
    seen = set()
    for where, spec in pods(render(SCENARIO)):
        for container in containers(spec):
            variables = environment(container)
            talks = "ORCHARD_STORE_URL" in variables or "AIRFLOW_CONN_LOGS" in variables
            assert mounts_authority(container) == talks, f"{where}, {container['name']}"
            if not talks:
                continue
            seen.add(where.split("-")[-1])
            if "ORCHARD_STORE_URL" in variables:
                assert variables["ORCHARD_STORE_CA_FILE"] == FILE, where
            else:
                assert json.loads(variables["AIRFLOW_CONN_LOGS"])["extra"]["verify"] == FILE, where
        volumes = [volume for volume in spec.get("volumes", []) if volume["name"] == "store-ca"]
        assert len(volumes) == any(map(mounts_authority, containers(spec))), where
        for volume in volumes:
            assert volume["secret"]["secretName"] == "shop-authority"
            assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    assert {"serving", "train", "synthetic", "scheduler", "triggerer", "processor", "api"} <= seen
    assert any("bucket" in where for where, _ in pods(render(SCENARIO)))
    assert sum("pod of the verb" in where for where, _ in pods(render(SCENARIO))) >= 8


def test_pods_with_the_clouds_identity_have_it_too(render):
    documents = render("cloud-identity", "--set", "objectStore.caSecret=shop-authority")
    sync = next(c for where, spec in pods(documents) if where.endswith("-serving") for c in containers(spec))

    assert mounts_authority(sync)
    assert environment(sync)["ORCHARD_STORE_CA_FILE"] == FILE


@pytest.mark.parametrize("scenario", ["default", "external-s3", "airflow"])
def test_without_one_nothing_of_it_is_there(render, scenario):
    for where, spec in pods(render(scenario)):
        assert "store-ca" not in json.dumps(spec), where


@pytest.mark.parametrize(
    "options",
    [("objectStore.enabled=true", "objectStore.endpoint="), ("objectStore.endpoint=http://s3.shop.internal",)],
)
def test_an_authority_for_a_store_without_tls_is_refused(options):
    values = [part for option in options for part in ("--set", option)]
    done = template("--values", "charts/orchard/ci/private-authority-values.yaml", *values)

    assert done.returncode != 0
    assert "objectStore.caSecret (shop-authority) is the authority of a store with TLS" in done.stderr


def test_the_notes_say_how_the_secret_is_made(tmp_path):
    """Only an installation renders NOTES.txt, and needs a cluster: a copy of the chart has it as a document."""
    from tests.charts.conftest import CHART, run_helm, scenario_options

    chart = tmp_path / "orchard"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "templates" / "notes.yaml")

    def notes(*options):
        done = run_helm("template", "fruit", str(chart), "--kube-version", "1.34.0", "--debug", *options)
        return done.stdout.partition("templates/notes.yaml")[2].partition("\n---")[0]

    assert "--from-file=ca.crt=YOUR-CA.pem" in notes(*scenario_options("private-authority"))
    assert "objectStore.caSecret names the Secret" in notes(*scenario_options("external-s3"))
    assert "namespace" in notes()
    assert "ca.crt" not in notes()
