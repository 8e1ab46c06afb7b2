"""Which Secrets a release has created: a ConfigMap, so that a lost key is never replaced by a new one without a word.

Data outlives its key: versions stay signed, a database keeps its password. A new key would lock both out. So a key that
was created once, and is missing now, must be restored, unless a person deletes the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchard.errors import ConflictError, DataError
from orchestration.cluster.kube_client import ClusterConnection, ObjectMissing, translate_errors

__all__ = ["KeyRecord"]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The names of created Secrets, each with the time when the record first saw it.

    Attributes:
        cluster: the cluster and its namespace.
        name: of the ConfigMap.
        labels: its labels.
        owners: its owner references; it is deleted with its owner.
    """

    cluster: ClusterConnection
    name: str
    labels: Mapping[str, str]
    owners: list[dict[str, Any]]

    def entries(self) -> dict[str, str]:
        """Return the recorded names and times."""
        try:
            with translate_errors(f"reading the ConfigMap {self.name}"):
                found = self.cluster.core.read_namespaced_config_map(self.name, self.cluster.namespace)
        except ObjectMissing:
            return {}
        return dict(self.cluster.plain(found).get("data") or {})

    def add(self, secret: str) -> None:
        """Record a Secret that exists; nothing changes if it is recorded already."""
        if secret in self.entries():
            return
        data = {secret: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        metadata = {"name": self.name, "labels": dict(self.labels), "ownerReferences": self.owners}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        try:
            with translate_errors(f"creating the ConfigMap {self.name}"):
                self.cluster.core.create_namespaced_config_map(self.cluster.namespace, body)
        except ConflictError:
            with translate_errors(f"changing the ConfigMap {self.name}"):
                self.cluster.core.patch_namespaced_config_map(self.name, self.cluster.namespace, {"data": data})

    def require_new(self, secret: str, loss: str) -> None:
        """Check that a Secret which is missing was never created.

        Args:
            secret: its name.
            loss: what a new key would cost, a clause for the error.

        Raises:
            DataError: it was created before.
        """
        recorded = self.entries().get(secret)
        if recorded is not None:
            raise DataError(
                f"the Secret {secret}, created by {recorded}, is missing; with a new one {loss}",
                hint=f"restore it from a backup. If there is none, and you accept that {loss}: "
                f"kubectl -n {self.cluster.namespace} delete configmap {self.name}, and the next start of this Job creates "
                "a new one",
            )
