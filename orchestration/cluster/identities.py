"""The keys of a release, created once as Secrets: the identities of the store with their rights, and the signing pair.

Each kind of work has its own identity, so that a stolen key gives only the rights of that work::

    admin        creates the bucket; no long-running pod has it
    ingest       reads incoming; reads and writes datasets
    trainer      reads datasets
    publisher    reads and writes models; reads datasets; the bucket's policy forbids deletion
    sync         reads models: the only key in a model server's pod that does not capture
    console      reads models, runs and the list of datasets' versions; writes review
    batch        reads a day's photos and models; writes predictions
    housekeeping deletes old objects: the bucket's policy allows it only to this and to admin
    airflow      reads and writes logs of tasks
    notifier     reads models and runs; writes webhooks
    uploader     reads and writes incoming and batch/in; for those who upload photos, no pod has it
    capture      writes photos of the traffic, and reads none; a model server has it if it captures

Identities that work in a run (ingest, trainer, publisher, batch, housekeeping) also read and write the run's artifacts.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.access_rights import IDENTITIES
from orchard.errors import ConflictError, DataError
from orchard.signing import PRIVATE_NAME, PUBLIC_NAME, create_pair
from orchestration.cluster.key_record import KeyRecord
from orchestration.cluster.kube_client import ClusterConnection, ObjectMissing, translate_errors

__all__ = ["SecretsClient", "make_airflow", "make_database", "make_signing", "make_store"]

SERVER_FILE = "s3.json"
_JWT = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")


@dataclass(frozen=True, slots=True)
class SecretsClient:
    """Reads and writes the release's Secrets.

    Attributes:
        cluster: the cluster and its namespace.
        labels: labels for every Secret.
        owner: a ConfigMap; the Secrets are deleted with it. None: they stay.
        record: the name of the ConfigMap that records which Secrets were created.
    """

    cluster: ClusterConnection
    labels: Mapping[str, str]
    owner: str | None
    record: str

    def read(self, name: str) -> dict[str, str] | None:
        """Return a Secret's entries, or None if there is no such Secret."""
        try:
            with translate_errors(f"reading the Secret {name}"):
                secret = self.cluster.core.read_namespaced_secret(name, self.cluster.namespace)
        except ObjectMissing:
            return None
        data = self.cluster.plain(secret).get("data", {})
        return {key: b64decode(value).decode() for key, value in data.items()}

    def create(self, name: str, data: Mapping[str, str]) -> bool:
        """Create a Secret; False if another process created it meanwhile."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": dict(self.labels), "ownerReferences": self._owners()},
            "type": "Opaque",
            "data": {key: b64encode(value.encode()).decode() for key, value in data.items()},
        }
        try:
            with translate_errors(f"creating the Secret {name}"):
                self.cluster.core.create_namespaced_secret(self.cluster.namespace, body)
        except ConflictError:
            return False
        return True

    def create_once(self, name: str, data: Mapping[str, str]) -> bool:
        """Create a Secret unless it exists; returns whether this call created it."""
        return self.read(name) is None and self.create(name, data)

    def create_lasting(self, name: str, make: Callable[[], Mapping[str, str]], loss: str) -> list[str]:
        """Create a Secret that data depends on, unless it exists or existed; returns the names of created Secrets.

        Args:
            name: the Secret's.
            make: returns its entries.
            loss: what a new one would cost if the old one is lost, a clause.

        Raises:
            DataError: it was created before and is missing.
        """
        record = KeyRecord(self.cluster, self.record, self.labels, self._owners())
        created = []
        if self.read(name) is None:
            record.require_new(name, loss)
            created = [name] if self.create(name, make()) else []
        record.add(name)
        return created

    def replace(self, name: str, key: str, value: str) -> None:
        """Change one entry of a Secret."""
        body = {"data": {key: b64encode(value.encode()).decode()}}
        with translate_errors(f"changing the Secret {name}"):
            self.cluster.core.patch_namespaced_secret(name, self.cluster.namespace, body)

    def _owners(self) -> list[dict[str, Any]]:
        if self.owner is None:
            return []
        with translate_errors(f"reading the ConfigMap {self.owner}"):
            owner = self.cluster.plain(self.cluster.core.read_namespaced_config_map(self.owner, self.cluster.namespace))
        return [{"apiVersion": "v1", "kind": "ConfigMap", "name": self.owner, "uid": owner["metadata"]["uid"]}]


def actions(name: str, bucket: str) -> list[str]:
    """Return the rights of an identity, in SeaweedFS's terms."""
    if name == "admin":
        return ["Admin"]
    return [f"{action}:{bucket}/{folder}/*" for action, folders in IDENTITIES[name].items() for folder in folders]


def with_current_rights(text: str, bucket: str) -> str:
    """Return an identities file with this version's rights and identities, and with its own keys."""
    document = json.loads(text)
    present = {item["name"] for item in document["identities"]}
    document["identities"] += [_identity(name, bucket) for name in IDENTITIES if name not in present]
    for item in document["identities"]:
        if item["name"] in ("admin", *IDENTITIES):
            item["actions"] = actions(item["name"], bucket)
    return json.dumps(document, indent=1)


def _identity(name: str, bucket: str) -> dict[str, Any]:
    pair = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(24)}
    return {"name": name, "credentials": [pair], "actions": actions(name, bucket)}


def server_files(bucket: str) -> dict[str, str]:
    """Create new keys, as SeaweedFS's files: its identities, and the keys between its own parts."""
    identities = [_identity(name, bucket) for name in ("admin", *IDENTITIES)]
    inner = "\n".join(f'[{section}]\nkey = "{secrets.token_hex(24)}"\n' for section in _JWT)
    return {SERVER_FILE: json.dumps({"identities": identities}, indent=1), "security.toml": inner}


def credentials(server: Mapping[str, str], name: str) -> str:
    """Return the credentials file of one identity, in AWS's format.

    Raises:
        DataError: the store's Secret has no such identity.
    """
    try:
        pairs = {item["name"]: item["credentials"][0] for item in json.loads(server[SERVER_FILE])["identities"]}
        pair = pairs[name]
        lines = (f"aws_access_key_id = {pair['accessKey']}", f"aws_secret_access_key = {pair['secretKey']}")
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"the store's Secret has no identity {name!r}: {error!r}",
            hint="restore it from the backup; this version of the chart did not create it",
        ) from error
    return "\n".join(("[default]", *lines)) + "\n"


def make_store(client: SecretsClient, prefix: str, bucket: str) -> list[str]:
    """Create the store's Secret and one for each identity, unless they exist; keys stay, rights are updated.

    Returns:
        The names of the created or changed Secrets.

    Raises:
        DataError: an identity's Secret has other keys than the store's; then nothing is created.
    """
    changed = []
    server = client.read(f"{prefix}-server")
    if server is None:
        if client.create(f"{prefix}-server", server_files(bucket)):
            changed.append(f"{prefix}-server")
        server = client.read(f"{prefix}-server")
    assert server is not None  # noqa: S101  it was created, by us or by another process
    names = {f"{prefix}-{name}": name for name in ("admin", *IDENTITIES)}
    current = with_current_rights(server[SERVER_FILE], bucket)
    for secret, name in names.items():
        entries = client.read(secret)
        if entries is not None and entries.get("credentials") != credentials({SERVER_FILE: current}, name):
            raise DataError(
                f"the Secret {secret} has other keys than {prefix}-server",
                hint=f"delete it, and run this again: kubectl -n {client.cluster.namespace} delete secret {secret}",
            )
    if current != server[SERVER_FILE]:  # from an older version of the chart; the store reads it when it starts
        client.replace(f"{prefix}-server", SERVER_FILE, current)
        changed.append(f"{prefix}-server")
        server = client.read(f"{prefix}-server") or server  # another process may have added keys at the same time
    for secret, name in names.items():
        if client.create_once(secret, {"credentials": credentials(server, name)}):
            changed.append(secret)
    return changed


def make_signing(client: SecretsClient, name: str) -> list[str]:
    """Create the signing key pair as one Secret, unless it exists; returns the names of created Secrets."""

    def pair() -> dict[str, str]:
        with tempfile.TemporaryDirectory() as folder:
            made = create_pair(Path(folder))
            return {PRIVATE_NAME: made.private.read_text("utf-8"), PUBLIC_NAME: made.public.read_text("utf-8")}

    return client.create_lasting(name, pair, "every version that is published is untrusted and no longer served")


def make_airflow(client: SecretsClient, name: str) -> list[str]:
    """Create the keys that Airflow's parts share, and its administrator's password, as one Secret, unless it exists."""
    data = {
        "fernet-key": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "jwt-secret": secrets.token_urlsafe(64),
        "api-secret-key": secrets.token_urlsafe(64),
        "admin-password": secrets.token_urlsafe(15),
    }
    return client.create_lasting(name, lambda: data, "what Airflow's database holds encrypted cannot be read")


def make_database(client: SecretsClient, name: str) -> list[str]:
    """Create a Secret with the password and the address of Airflow's database, unless it exists.

    `name` is that of the Secret and of the database's Service.
    """
    password = secrets.token_hex(20)
    connection = f"postgresql+psycopg2://airflow:{password}@{name}:5432/airflow"
    data = {"password": password, "connection": connection}
    return client.create_lasting(name, lambda: data, "Airflow cannot log in to the database that exists")
