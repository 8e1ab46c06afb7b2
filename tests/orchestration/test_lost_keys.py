"""A key that data depends on is created once: if it is lost, it is restored, never replaced without a word."""

from __future__ import annotations

import base64

import pytest
from kubernetes.client.exceptions import ApiException

from orchard.errors import DataError
from orchestration.cluster.identities import SecretsClient, make_airflow, make_database, make_signing, make_store
from orchestration.cluster.kube_client import ClusterConnection


class MemoryCore:
    """The used part of the API server: Secrets and ConfigMaps by name, kept in memory."""

    def __init__(self):
        self.objects = {}
        self.api_client = self

    def sanitize_for_serialization(self, model):
        return model

    def _read(self, kind, name):
        if (kind, name) not in self.objects:
            raise ApiException(status=404, reason="Not Found")
        return self.objects[kind, name]

    def _create(self, kind, body):
        name = body["metadata"]["name"]
        if (kind, name) in self.objects:
            raise ApiException(status=409, reason="Conflict")
        self.objects[kind, name] = {**body, "metadata": {**body["metadata"], "uid": f"uid of {name}"}}

    def read_namespaced_secret(self, name, namespace):
        return self._read("Secret", name)

    def create_namespaced_secret(self, namespace, body):
        self._create("Secret", body)

    def patch_namespaced_secret(self, name, namespace, body):
        self._read("Secret", name)["data"].update(body["data"])

    def read_namespaced_config_map(self, name, namespace):
        return self._read("ConfigMap", name)

    def create_namespaced_config_map(self, namespace, body):
        self._create("ConfigMap", body)

    def patch_namespaced_config_map(self, name, namespace, body):
        self._read("ConfigMap", name)["data"].update(body["data"])


@pytest.fixture
def core():
    return MemoryCore()


@pytest.fixture
def client(core):
    return SecretsClient(ClusterConnection(core, None, "fruit"), {"app": "orchard"}, None, "orchard-keys")


LASTING = pytest.mark.parametrize("make", [make_signing, make_airflow, make_database])


@LASTING
def test_a_key_is_created_once_and_kept(client, core, make):
    assert make(client, "key") == ["key"]
    first = dict(core.objects["Secret", "key"]["data"])

    assert make(client, "key") == []
    assert core.objects["Secret", "key"]["data"] == first


@LASTING
def test_a_lost_key_is_not_replaced_and_its_restored_copy_is_used(client, core, make):
    make(client, "key")
    backup = core.objects.pop(("Secret", "key"))

    with pytest.raises(DataError, match=r"the Secret key, created by 20.*, is missing; with a new one") as error:
        make(client, "key")

    assert "restore it from a backup" in str(error.value.hint)
    assert "delete configmap orchard-keys" in str(error.value.hint)
    assert ("Secret", "key") not in core.objects
    core.objects["Secret", "key"] = backup
    assert make(client, "key") == []


@LASTING
def test_a_key_of_an_older_version_is_recorded_when_it_is_found(client, core, make):
    make(client, "key")
    del core.objects["ConfigMap", "orchard-keys"]
    make(client, "key")
    del core.objects["Secret", "key"]

    with pytest.raises(DataError):
        make(client, "key")


@LASTING
def test_who_accepts_the_loss_deletes_the_record(client, core, make):
    make(client, "key")
    del core.objects["Secret", "key"], core.objects["ConfigMap", "orchard-keys"]

    assert make(client, "key") == ["key"]


def test_the_record_names_secrets_and_no_key(client, core):
    for make, name in ((make_signing, "signing"), (make_airflow, "airflow"), (make_database, "database")):
        make(client, name)
    record = core.objects["ConfigMap", "orchard-keys"]["data"]
    values = [
        base64.b64decode(text).decode()
        for item in ("signing", "airflow", "database")
        for text in core.objects["Secret", item]["data"].values()
    ]

    assert set(record) == {"signing", "airflow", "database"}
    assert not [text for text in values if text in str(record)]


def test_keys_of_the_store_are_created_again_because_no_data_depends_on_them(client, core):
    created = make_store(client, "store", "orchard")
    for name in created:
        del core.objects["Secret", name]

    assert make_store(client, "store", "orchard") == created


def test_the_record_is_deleted_with_its_owner(core):
    core.create_namespaced_config_map("fruit", {"metadata": {"name": "release"}, "data": {}})
    client = SecretsClient(ClusterConnection(core, None, "fruit"), {}, "release", "orchard-keys")

    make_signing(client, "signing")

    assert core.objects["ConfigMap", "orchard-keys"]["metadata"]["ownerReferences"][0]["uid"] == "uid of release"
