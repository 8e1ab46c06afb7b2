"""Installing the chart again keeps what the release has, whoever set it, and removes nothing that holds data."""

from __future__ import annotations

import json
import sys

import pytest

from orchestration.cluster.deploy.install import current_values, install, remove
from orchestration.cluster.kube_client import ClusterError
from tests.orchestration.release_fixture import RELEASE

PROGRAM = r"""
import json, sys
from pathlib import Path
here = Path(__file__).parent
verbs = ("list", "get", "upgrade", "status", "rollout", "create", "uninstall", "delete")
verb = next(word for word in sys.argv[1:] if word in verbs)
if Path(__file__).name == "kubectl" and "namespaces" in sys.argv:
    print("namespace/fruit")
elif Path(__file__).name == "kubectl" and "--output=name" in sys.argv:
    print((here / "others.txt").read_text() if verb == "get" else "")
elif Path(__file__).name == "kubectl" and "namespace" in sys.argv:
    made = {"labels": {"orchard.deploy/made": "true"}}
    print(json.dumps({"kind": "Namespace", "metadata": made}) if verb == "get" else "")
    if verb == "delete":
        (here / "deleted").touch()
elif Path(__file__).name == "kubectl":
    started = {"containerStatuses": [{"state": {"running": {"startedAt": "2026-01-02"}}}]}
    managed = {"managedFields": [{"time": "2026-01-01"}]}
    print(json.dumps({"kind": "List", "items": []} if "--selector" in sys.argv else
                     {"kind": "Thing", "metadata": managed, "status": started}))
elif verb == "list":
    print((here / "list.json").read_text())
elif verb == "get":
    print((here / "values.json").read_text())
elif verb == "uninstall":
    pass
elif verb == "status":
    print('{"version": 2}')
else:
    files = [Path(sys.argv[n + 1]) for n, word in enumerate(sys.argv) if word == "--values"]
    (here / "upgrade.json").write_text(json.dumps({"arguments": sys.argv[1:], "files": [f.read_text() for f in files]}))
"""
IMAGES = {"serving": "localhost:5001/orchard-serving@sha256:1"}


@pytest.fixture
def helm(tmp_path, monkeypatch):
    """Programs `helm` and `kubectl` that read a release's values from files and record an upgrade."""
    for name in ("helm", "kubectl"):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def has(values):
        listed = [] if values is None else [{"name": RELEASE.name, "chart": "orchard-0.1.0"}]
        (tmp_path / "list.json").write_text(json.dumps(listed))
        (tmp_path / "values.json").write_text(json.dumps(values or None))
        return lambda: json.loads((tmp_path / "upgrade.json").read_text())

    return has


def test_what_the_release_has_replaces_the_scenario_and_new_values_replace_both(helm):
    kept = {"airflow": {"enabled": True}, "serving": {"replicas": 3}}
    upgrade = helm(kept)

    install(RELEASE, IMAGES, ("--set", "serving.replicas=2"))

    arguments, (scenario, second) = upgrade()["arguments"], upgrade()["files"]
    assert "engine: orchard" in scenario
    assert json.loads(second) == kept
    assert arguments.index("--values") < arguments.index("serving.replicas=2")


@pytest.mark.parametrize("values", [None, {}])
def test_the_first_installation_has_only_the_scenario(helm, values):
    upgrade = helm(values)

    install(RELEASE, IMAGES)

    assert current_values(RELEASE) == {}
    assert [json.loads(text) for text in upgrade()["files"][1:]] == [{}]


@pytest.mark.parametrize(
    ("kept", "value", "data"),
    [
        ({"airflow": {"enabled": True}}, "airflow.enabled=false", "Airflow's database"),
        ({"model": "fruits"}, "objectStore.enabled=false,objectStore.endpoint=https://s3", "photos and models"),
    ],
)
def test_a_part_that_holds_data_is_not_switched_off(helm, kept, value, data):
    helm(kept)

    with pytest.raises(ClusterError, match=data) as error:
        install(RELEASE, IMAGES, ("--set", value))

    assert "make undeploy" in str(error.value.hint)


def test_a_part_that_is_not_there_may_be_left_out(helm):
    upgrade = helm({"airflow": {"enabled": False}})

    install(RELEASE, IMAGES, ("--set", "airflow.enabled=false"))

    assert "airflow.enabled=false" in upgrade()["arguments"]


@pytest.mark.parametrize(
    ("releases", "others"),
    [([], ""), (["second"], ""), ([], "persistentvolumeclaim/data\n")],
    ids=["nothing else", "another release", "something of a person"],
)
def test_a_namespace_that_holds_something_of_others_stays(helm, tmp_path, releases, others):
    helm(None)
    (tmp_path / "list.json").write_text(json.dumps([{"name": name} for name in releases]))
    (tmp_path / "others.txt").write_text(others)

    remove(RELEASE)

    assert (tmp_path / "deleted").exists() == (not releases and not others)
