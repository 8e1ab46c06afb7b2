"""Fixtures of a store's address where a test answers, and of Azure's emulator where it is installed."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
import urllib.request
import uuid
from contextlib import suppress

import pytest

from orchard import settings
from orchard.errors import StoreUnavailable
from orchard.store import clients, open_store
from tests.orchard.answering_store import ACCESS, SECRET, Authority, answer_all


@pytest.fixture
def impatient_store(monkeypatch):
    """The time limits of a request, shortened. The number of retries is the one in use."""
    for name, value in {"CONNECT_SECONDS": 1, "READ_SECONDS": 1, "DOCUMENT_SECONDS": 1, "RETRY_SECONDS": 1}.items():
        monkeypatch.setattr(clients, name, value)


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "credentials"
    path.write_text(f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
    return path


@pytest.fixture
def there():
    with answer_all() as running:
        yield running


@pytest.fixture
def authority(tmp_path):
    """A certificate authority."""
    return Authority(tmp_path)


AZURITE_ACCOUNT, AZURITE_KEY = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",  # documented
)


@pytest.fixture(scope="session")
def azurite_endpoint(tmp_path_factory):
    """The address of Azure's emulator, for the whole session."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not installed: npm install azurite, and its node_modules/.bin in PATH")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("azurite")
    command = [program, "--blobPort", str(port), "--location", str(folder), "--silent", "--skipApiVersionCheck"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--disableTelemetry"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}"
    finally:
        process.terminate()
        process.wait()


def create_container(endpoint, name):
    """Create a container of the emulator, signed by hand: no program of Orchard creates one."""
    date = email.utils.formatdate(usegmt=True)
    place = f"/{AZURITE_ACCOUNT}/{AZURITE_ACCOUNT}/{name}\nrestype:container"
    text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-10-04\n{place}"
    signature = base64.b64encode(hmac.digest(base64.b64decode(AZURITE_KEY), text.encode(), hashlib.sha256)).decode()
    headers = {
        "x-ms-date": date,
        "x-ms-version": "2021-10-04",
        "Content-Length": "0",
        "Authorization": f"SharedKey {AZURITE_ACCOUNT}:{signature}",
    }
    request = urllib.request.Request(f"{endpoint}/{name}?restype=container", method="PUT", headers=headers)  # noqa: S310
    urllib.request.urlopen(request, timeout=100).close()  # noqa: S310


@pytest.fixture
def azurite(azurite_endpoint, monkeypatch):
    """An empty container of Azure's emulator, with the environment set to it."""
    name = f"t{uuid.uuid4().hex[:16]}"
    for variable, value in {
        "ORCHARD_STORE_URL": f"az://{name}",
        "ORCHARD_STORE_ENDPOINT": azurite_endpoint,
        "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY,
    }.items():
        monkeypatch.setenv(variable, value)
    store = open_store(settings.load())
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:  # each request of the client tries again for a second or two
        with suppress(StoreUnavailable):
            store.exists("nothing")
            break
    create_container(azurite_endpoint, name)
    return store
