"""Fixtures for all tests: a clean environment, and object stores in memory, on SeaweedFS and on servers of two clouds' protocols."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from obstore.store import MemoryStore

from orchard import settings
from orchard.settings import Settings
from orchard.store import ObjectStore, objects, open_store
from orchard.store.embedded import EmbeddedStore
from tests.orchard.cloud_servers import AzureServer, GoogleServer, serve

hypothesis.settings.register_profile("orchard", deadline=None, print_blob=True)  # a slow machine is not a failure
hypothesis.settings.load_profile("orchard")

_OF_THE_MACHINE = ("ORCHARD_", "AWS_", "AZURE_", "GOOGLE_", "GCE_", "SSL_CERT_", "REQUESTS_CA_")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove the machine's ORCHARD_*, clouds', proxy and certificate variables, and the settings of a .env in the checkout.

    What a verb of the test puts into the environment from a `.env` of its own does not outlive the test.
    """
    before = set(os.environ)
    for name in list(os.environ):
        if name.startswith(_OF_THE_MACHINE) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ORCHARD_ENV_FILE", "none")
    yield
    monkeypatch.undo()  # now: it restores what a test unset, which may have come from its file
    for name in set(os.environ) - before:
        if name.startswith("ORCHARD_"):
            del os.environ[name]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of pytest, the same one in each worker."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def embedded_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """One real SeaweedFS for the whole session (of each xdist worker)."""
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def seaweed_environment(embedded_store: EmbeddedStore) -> dict[str, str]:
    """The ORCHARD_STORE_* variables of an empty bucket on the real store."""
    bucket = f"t{uuid.uuid4().hex[:16]}"
    embedded_store.create_bucket(bucket)
    return {**embedded_store.environment, "ORCHARD_STORE_URL": f"s3://{bucket}"}


@pytest.fixture
def seaweed(seaweed_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """An empty bucket on the real store, with the environment set to it."""
    for name, value in seaweed_environment.items():
        monkeypatch.setenv(name, value)
    return open_store(settings.load())


@pytest.fixture
def google_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    """An empty bucket on a server of Google's protocol, with the environment set to it."""
    with serve(server := GoogleServer()):
        monkeypatch.setenv("ORCHARD_STORE_URL", "gs://orchard")
        monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def azure_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureServer]:
    """An empty container on a server of Azure's protocol, with the environment set to it."""
    with serve(server := AzureServer()):
        monkeypatch.setenv("ORCHARD_STORE_URL", "az://orchard")
        monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", server.endpoint)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", server.KEY)
        yield server


@pytest.fixture
def google(google_server: GoogleServer) -> ObjectStore:
    """The store of `google_server`."""
    return open_store(settings.load())


@pytest.fixture
def azure(azure_server: AzureServer) -> ObjectStore:
    """The store of `azure_server`."""
    return open_store(settings.load())


@pytest.fixture
def memory() -> ObjectStore:
    """An empty store in memory."""
    return open_store(Settings(store_url="memory://"))


@pytest.fixture
def memory_of_verbs(monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """An empty store in memory, which the verbs of this test open too.

    `open_store` itself is not replaced: a module that a verb imports meanwhile would keep the replaced one for all later tests.
    """
    backend = MemoryStore()
    monkeypatch.setattr(objects, "MemoryStore", lambda: backend)
    monkeypatch.setenv("ORCHARD_STORE_URL", "memory://")
    return open_store(settings.load())


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the working directory of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
