"""The keys of a release, made once and kept as Secrets: who may do what in the store, and the pair that signs.

One identity for each kind of work, so that a stolen key is worth no more than the work it was for::

    admin        makes the bucket; no pod that runs all the time has it
    ingest       photos in: incoming, read; datasets, read and written
    trainer      photos out: datasets, read
    publisher    models, read and written; datasets, read; the bucket's policy forbids it to delete
    sync         models, read: the only key beside a model server
    batch        photos of a day, read; predictions, written; models, read
    housekeeping what is old is deleted: the only one but admin that the bucket's policy lets
    airflow      logs of tasks
    uploader     photos of a day: incoming and batch/in, read and written; for whoever brings them, no pod has it

Who works in a run (ingest, trainer, publisher, batch, housekeeping) reads and writes what the run's steps leave, too.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.errors import ConflictError, DataError
from orchard.signing import PRIVATE_NAME, PUBLIC_NAME, create_pair
from orchestration.cluster.access import ClusterConnection, ObjectMissing, translate_errors

__all__ = ["IDENTITIES", "SecretsClient", "make_airflow", "make_database", "make_signing", "make_store"]

_DATA, _MODELS, _RUNS, _UPLOADS = ("dvc", "datasets"), ("models",), ("runs",), ("incoming", "batch/in")
_UPKEEP = (*_MODELS, *_RUNS, "capture", "logs")


def _rights(read: tuple[str, ...], write: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Who writes a folder reads it too, and who reads it lists it."""
    both = tuple(dict.fromkeys((*read, *write)))
    return {"Read": both, "List": both, **({"Write": write} if write else {})}


IDENTITIES: dict[str, dict[str, tuple[str, ...]]] = {
    "ingest": _rights(("incoming",), (*_DATA, *_RUNS)),
    "trainer": _rights(_DATA, _RUNS),
    "publisher": _rights(_DATA, (*_MODELS, *_RUNS)),
    "sync": _rights(_MODELS),
    "batch": _rights((*_MODELS, "batch/in"), ("batch/out", *_RUNS)),
    "housekeeping": _rights((*_DATA, *_UPKEEP), _UPKEEP),
    "airflow": _rights((), ("logs",)),
    "uploader": _rights(("batch/out",), _UPLOADS),
}
"""What each identity may do, and under which folders of the bucket. `admin`, which may do everything, is not listed."""

SERVER_FILE = "s3.json"
_JWT = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")


@dataclass(frozen=True, slots=True)
class SecretsClient:
    """Where Secrets are kept.

    Attributes:
        cluster: the cluster and its namespace.
        labels: of every Secret.
        owner: a ConfigMap with which the Secrets go; None: they stay.
    """

    cluster: ClusterConnection
    labels: Mapping[str, str]
    owner: str | None

    def read(self, name: str) -> dict[str, str] | None:
        """Return what a Secret holds, or None if there is none."""
        try:
            with translate_errors(f"reading the Secret {name}"):
                found = self.cluster.core.read_namespaced_secret(name, self.cluster.namespace)
        except ObjectMissing:
            return None
        data = self.cluster.plain(found).get("data", {})
        return {key: b64decode(value).decode() for key, value in data.items()}

    def create(self, name: str, data: Mapping[str, str]) -> bool:
        """Make a Secret; False if another process made it meanwhile."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": dict(self.labels), "ownerReferences": self._owners()},
            "type": "Opaque",
            "data": {key: b64encode(value.encode()).decode() for key, value in data.items()},
        }
        try:
            with translate_errors(f"making the Secret {name}"):
                self.cluster.core.create_namespaced_secret(self.cluster.namespace, body)
        except ConflictError:
            return False
        return True

    def create_once(self, name: str, data: Mapping[str, str]) -> bool:
        """Make a Secret unless it is there; whether it was made now."""
        return self.read(name) is None and self.create(name, data)

    def replace(self, name: str, key: str, value: str) -> None:
        """Change one entry of a Secret."""
        body = {"data": {key: b64encode(value.encode()).decode()}}
        with translate_errors(f"changing the Secret {name}"):
            self.cluster.core.patch_namespaced_secret(name, self.cluster.namespace, body)

    def _owners(self) -> list[dict[str, Any]]:
        if self.owner is None:
            return []
        with translate_errors(f"reading the ConfigMap {self.owner}"):
            found = self.cluster.plain(self.cluster.core.read_namespaced_config_map(self.owner, self.cluster.namespace))
        return [{"apiVersion": "v1", "kind": "ConfigMap", "name": self.owner, "uid": found["metadata"]["uid"]}]


def actions(name: str, bucket: str) -> list[str]:
    """Return what an identity may do, in SeaweedFS's terms."""
    if name == "admin":
        return ["Admin"]
    return [f"{action}:{bucket}/{folder}/*" for action, folders in IDENTITIES[name].items() for folder in folders]


def with_rights_of_today(text: str, bucket: str) -> str:
    """Return an identities file with the rights and the identities of this version, and the keys that it has."""
    document = json.loads(text)
    known = {item["name"] for item in document["identities"]}
    document["identities"] += [_identity(name, bucket) for name in IDENTITIES if name not in known]
    for item in document["identities"]:
        if item["name"] in ("admin", *IDENTITIES):
            item["actions"] = actions(item["name"], bucket)
    return json.dumps(document, indent=1)


def _identity(name: str, bucket: str) -> dict[str, Any]:
    pair = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(24)}
    return {"name": name, "credentials": [pair], "actions": actions(name, bucket)}


def server_files(bucket: str) -> dict[str, str]:
    """Make new keys, as SeaweedFS reads them: its identities, and the keys with which its own parts trust each other."""
    identities = [_identity(name, bucket) for name in ("admin", *IDENTITIES)]
    inner = "\n".join(f'[{section}]\nkey = "{secrets.token_hex(24)}"\n' for section in _JWT)
    return {SERVER_FILE: json.dumps({"identities": identities}, indent=1), "security.toml": inner}


def credentials(server: Mapping[str, str], name: str) -> str:
    """Return the credentials file of one identity, as AWS's clients read it.

    Raises:
        DataError: the store's Secret does not know the identity.
    """
    try:
        known = {item["name"]: item["credentials"][0] for item in json.loads(server[SERVER_FILE])["identities"]}
        pair = known[name]
        lines = (f"aws_access_key_id = {pair['accessKey']}", f"aws_secret_access_key = {pair['secretKey']}")
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"the store's Secret knows no identity {name!r}: {error!r}",
            hint="restore it from the backup; it was not made by this version of the chart",
        ) from error
    return "\n".join(("[default]", *lines)) + "\n"


def make_store(keeper: SecretsClient, prefix: str, bucket: str) -> list[str]:
    """Make the store's Secret and one for each identity, unless they are there; keys stay, rights are brought up to date.

    Returns:
        The names of those that were made or changed.

    Raises:
        DataError: one of an identity holds other keys than the store knows; nothing is made then.
    """
    made = []
    server = keeper.read(f"{prefix}-server")
    if server is None:
        if keeper.create(f"{prefix}-server", server_files(bucket)):
            made.append(f"{prefix}-server")
        server = keeper.read(f"{prefix}-server")
    assert server is not None  # noqa: S101  it was made, by us or by somebody else
    names = {f"{prefix}-{name}": name for name in ("admin", *IDENTITIES)}
    today = with_rights_of_today(server[SERVER_FILE], bucket)
    for secret, name in names.items():
        found = keeper.read(secret)
        if found is not None and found.get("credentials") != credentials({SERVER_FILE: today}, name):
            raise DataError(
                f"the Secret {secret} holds other keys than {prefix}-server knows",
                hint=f"delete it, and run this again: kubectl -n {keeper.cluster.namespace} delete secret {secret}",
            )
    if today != server[SERVER_FILE]:  # an older version of the chart made it; the store reads it when it starts
        keeper.replace(f"{prefix}-server", SERVER_FILE, today)
        made.append(f"{prefix}-server")
        server = keeper.read(f"{prefix}-server") or server  # another process may have added keys at the same time
    for secret, name in names.items():
        if keeper.create_once(secret, {"credentials": credentials(server, name)}):
            made.append(secret)
    return made


def make_signing(keeper: SecretsClient, name: str) -> list[str]:
    """Make the pair of signing keys as one Secret, unless it is there; returns the names of what was made."""
    if keeper.read(name) is not None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        pair = create_pair(Path(folder))
        data = {PRIVATE_NAME: pair.private.read_text("utf-8"), PUBLIC_NAME: pair.public.read_text("utf-8")}
    return [name] if keeper.create(name, data) else []


def make_airflow(keeper: SecretsClient, name: str) -> list[str]:
    """Make what all parts of Airflow share, and its administrator's password, as one Secret, unless it is there."""
    data = {
        "fernet-key": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "jwt-secret": secrets.token_urlsafe(64),
        "api-secret-key": secrets.token_urlsafe(64),
        "admin-password": secrets.token_urlsafe(15),
    }
    return [name] if keeper.create_once(name, data) else []


def make_database(keeper: SecretsClient, name: str) -> list[str]:
    """Make the password of Airflow's database and the address with it as one Secret, unless it is there.

    Args:
        keeper: where it is kept.
        name: of the Secret and of the Service that leads to the database.
    """
    password = secrets.token_hex(20)
    connection = f"postgresql+psycopg2://airflow:{password}@{name}:5432/airflow"
    data = {"password": password, "connection": connection}
    return [name] if keeper.create_once(name, data) else []
