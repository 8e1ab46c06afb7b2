"""A healthy deployment without a cluster, in which a test breaks one thing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from orchestration.cluster.deploy.doctor import examine
from tests.orchestration.release_fixture import RELEASE, FakeAirflowServer, ReleaseFixture

__all__ = ["POD", "DoctorFixture"]

WORKLOADS = (
    "deployments",
    "deployments,statefulsets",
    "deployments,statefulsets,jobs",
    "deployments,cronjobs,jobs",
    "jobs",
)
POD = "shop-orchard-serving-1"

PROGRAM = r"""
import json, sys
from pathlib import Path
here = Path(__file__).parent
answers = json.loads((here / "programs.json").read_text())[Path(__file__).name]
line = " ".join(sys.argv[1:])
output, code = next(answer for words, answer in answers.items() if line.startswith(words))
print(output)
sys.exit(code)
"""


class DoctorFixture(ReleaseFixture):
    """Two ready model servers, their `sync`, a registry, and the programs that the doctor starts.

    Args:
        folder: the programs' folder, the only one of the PATH.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.registry_port = 5001
        self.programs: dict[str, dict[str, tuple[str, int]]] = {
            "docker": {"info": ("", 0), "ps": ("127.0.0.1:5001->5000/tcp", 0)},
            "kind": {"get clusters": ("orchard", 0)},
            "helm": {"get manifest": ("", 0)},
        }
        self.set_release()
        self.status: dict[str, Any] = {"ready": True, "problems": {}, "refused": []}
        self.server = FakeAirflowServer(lambda *_: (200, self.status))
        self.workload("Deployment", "shop-orchard-serving", 2, replicas=2, readyReplicas=2, updatedReplicas=2)
        self.pod(POD, "serving")
        self.forward(f"pod/{POD}", 8502, self.server.port)
        self.manifest("Service", "shop-orchard-serving")
        self.add("services", "shop-orchard-serving", spec={"selector": {"app": "serving"}})
        self.slice("shop-orchard-serving", ready=True)

    def set_release(self, chart: str = "orchard-0.2.0", status: str = "deployed", name: str = RELEASE.name) -> None:
        """Set what helm lists."""
        listed = [{"name": name, "chart": chart, "status": status}]
        self.programs["helm"] = {"list": (json.dumps(listed), 0), **self.programs["helm"]}
        self.programs["helm"]["list"] = (json.dumps(listed), 0)

    def workload(
        self, kind: str, name: str, wanted: int = 1, spec: Any = None, metadata: Any = None, **status: Any
    ) -> None:
        """Add a workload, a Job or a CronJob to each list that has its kind."""
        for listed in WORKLOADS:
            if f"{kind.lower()}s" in listed.split(","):
                self.add(
                    listed, name, spec={"replicas": wanted, "template": {"spec": {}}, **(spec or {})}, status=status
                )
                self.objects[listed][-1]["kind"] = kind
                self.objects[listed][-1]["metadata"] |= metadata or {}

    def pod(self, name: str, component: str = "", phase: str = "Running", metadata: Any = None, **status: Any) -> None:
        """Add a pod, which is ready unless `status` says otherwise."""
        ready = {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": []}
        spec = {"containers": [{"name": "main"}]}
        self.add("pods", name, component, spec=spec, status={"phase": phase, **ready, **status})
        self.objects["pods"][-1]["metadata"] |= metadata or {}

    def container(self, **state: Any) -> None:
        """Add a pod with one container of this state."""
        self.pod("shop-part", containerStatuses=[{"name": "main", "image": "reg/fruit:1", "state": {}, **state}])

    def manifest(self, kind: str, name: str, exists: bool = True) -> None:
        """Add an object to the release's manifest, and to the cluster if it exists."""
        text = json.dumps({"kind": kind, "metadata": {"name": name}})
        self.programs["helm"]["get manifest"] = (f"{self.programs['helm']['get manifest'][0]}\n---\n{text}", 0)
        if exists:
            self.add("manifest", name)
            self.objects["manifest"][-1]["kind"] = kind

    def slice(self, service: str, ready: bool) -> None:
        """Set the addresses behind a Service."""
        self.objects.pop("endpointslices", None)
        self.add("endpointslices", f"{service}-x", endpoints=[{"conditions": {"ready": ready}}])
        self.objects["endpointslices"][0]["metadata"]["labels"]["kubernetes.io/service-name"] = service

    def findings(self) -> list[str]:
        """Return what the doctor finds, each with its remedy."""
        self.save()
        for name in self.programs:
            path = self.folder / name
            path.write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
            path.chmod(0o755)
        (self.folder / "programs.json").write_text(json.dumps(self.programs))
        return [f"{item.wrong} {item.remedy}" for item in examine(RELEASE, self.registry_port)]
