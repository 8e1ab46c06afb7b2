"""A verb that needs the release's store runs beside it, in a Job: its result, its error and its exit code come back."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from orchard.cli import main
from orchard.errors import OrchardError
from orchard.reporter import Reporter
from orchestration.cluster import jobs, kube_client
from orchestration.cluster.kube_client import ClusterConnection
from orchestration.cluster.manifests import JobPlan, job_manifest
from orchestration.cluster.registry_verbs import STORE_VERBS, _arguments, _report, store_verb

CONTAINER = {"name": "history", "args": ["orchard", "history"], "env": []}
TEMPLATE = {
    "metadata": {"name": "o-history", "uid": "7", "labels": {"app.kubernetes.io/instance": "o"}, "annotations": {}},
    "template": {"metadata": {"labels": {"app.kubernetes.io/instance": "o"}}, "spec": {"containers": [CONTAINER]}},
}


class FakeJobs:
    """A cluster in which a Job runs to an end that the test chooses; records what was asked."""

    def __init__(self, log: str = "", code: int = 0, *, starts: bool = True) -> None:
        self.log, self.code, self.starts = log, code, starts
        self.jobs: list[dict] = []
        self.patches: list[dict] = []
        self.api_client = SimpleNamespace(sanitize_for_serialization=lambda model: model)

    def list_namespaced_pod_template(self, namespace, label_selector):
        assert "app.kubernetes.io/component=" in label_selector
        return {"items": [TEMPLATE]}

    def create_namespaced_job(self, namespace, job):
        job["metadata"]["uid"] = "8"
        self.jobs.append(job)
        return job

    def patch_namespaced_job(self, name, namespace, patch):
        self.patches.append(patch["spec"])

    def read_namespaced_job(self, name, namespace):
        kind = "Failed" if self.code else "Complete"
        return {"status": {"conditions": [{"type": kind, "status": "True"}] if self.starts else []}}

    def list_namespaced_pod(self, namespace, label_selector):
        state = {"terminated": {"exitCode": self.code}} if self.starts else {"waiting": {"reason": "ErrImagePull"}}
        metadata = {"name": "p", "uid": "9", "creationTimestamp": "1"}
        status = {"phase": "Pending", "containerStatuses": [{"name": "history", "state": state}]}
        return {"items": [{"metadata": metadata, "spec": {"containers": [CONTAINER]}, "status": status}]}

    def read_namespaced_pod_log(self, pod, namespace, **options):
        assert options["_request_timeout"]
        return SimpleNamespace(data=self.log.encode())


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a verb against a fake cluster; returns its exit code, its result and its notes."""

    def run(cluster, *arguments):
        monkeypatch.setattr(kube_client, "connect", lambda *_: ClusterConnection(cluster, cluster, "fruit"))
        code = main(["job", *arguments])
        return code, *capsys.readouterr()

    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0)
    monkeypatch.setenv("ORCHARD_ACTOR", "ada")
    return run


def test_the_result_is_on_stdout_and_everything_else_on_stderr(call):
    code, out, err = call(FakeJobs("verifying\n── result\nstable: 2 → 1\n"), "history")

    assert (code, out) == (0, "stable: 2 → 1\n")
    assert "verifying" in err
    assert "orchard history runs in the Job o-history-" in err


def test_json_is_the_document_of_the_verb(call):
    cluster = FakeJobs('── result\n{"history": []}\n')
    code, out, _ = call(cluster, "history", "--json")

    assert (code, json.loads(out)) == (0, {"history": []})
    (job,) = cluster.jobs
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["orchard", "history", "--json"]


def test_an_error_of_the_verb_is_the_error_here_with_its_code(call):
    code, out, err = call(FakeJobs("error: no version 9\n  fix: orchard versions\n── result\n", 4), "history")

    assert (code, out) == (4, "")
    assert "error: no version 9\n  fix: orchard versions" in err


def test_an_error_as_json_is_the_document_of_the_verb(call):
    code, out, _ = call(FakeJobs('── result\n{"error": {"message": "no"}}\n', 4), "history", "--json")

    assert (code, json.loads(out)) == (4, {"error": {"message": "no"}})


def test_a_pod_that_was_killed_is_an_error(call):
    code, _, err = call(FakeJobs("", 137), "history")

    assert code == 137
    assert "ended with exit code 137, and wrote nothing" in err


def test_a_job_whose_pod_does_not_start_is_stopped_so_that_it_changes_nothing_later(call):
    cluster = FakeJobs(starts=False)
    code, _, err = call(cluster, "history", "--patience", "1")

    assert code == 1
    assert "has not started for 1 s: history: ErrImagePull" in err
    assert cluster.patches[-1] == {"activeDeadlineSeconds": 1}
    assert "was stopped" in err


def test_an_interrupted_call_stops_its_job(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    cluster = FakeJobs()
    monkeypatch.setattr(jobs, "_await_end", interrupted)

    with pytest.raises(KeyboardInterrupt):
        jobs.run(ClusterConnection(cluster, cluster, "fruit"), TEMPLATE, JobPlan("job"), Reporter(), 1)
    assert cluster.patches[-1] == {"activeDeadlineSeconds": 1}


def test_who_asks_reaches_the_pod(call):
    cluster = FakeJobs("── result\n")
    call(cluster, "history")

    (job,) = cluster.jobs
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"name": "ORCHARD_ACTOR", "value": "ada"} in container["env"]


def test_kubernetes_expands_no_text_of_a_person():
    plan = JobPlan("job", {"ORCHARD_ACTOR": "$(HOME)"}, arguments={"history": ["--why=cost $(HOME) & $$5"]})
    (container,) = job_manifest(TEMPLATE, plan)["spec"]["template"]["spec"]["containers"]

    assert container["args"][-1] == "--why=cost $$(HOME) & $$$$5"
    assert container["env"] == [{"name": "ORCHARD_ACTOR", "value": "$$(HOME)"}]


def job_arguments(name, options):
    return _arguments(STORE_VERBS[name], options)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("runs", {"run_id": "-x", "limit": 3, "kind": None}, ["--limit=3", "--", "-x"]),
        ("history", {"channel": "canary"}, ["--channel=canary"]),
        ("promote", {"version": 7, "forward": True, "again": False, "why": "w"}, ["--why=w", "--forward", "--", "7"]),
        ("canary", {"weight": 0.0, "version": None, "why": "plums"}, ["--why=plums", "--", "0.0"]),
        ("shadow", {"weight": 12.5, "version": "latest", "why": "w"}, ["--why=w", "--", "12.5", "latest"]),
        ("versions", {}, []),
        ("diff", {"before": 6, "after": "stable", "top": 5, "page": None}, ["--top=5", "--", "6", "stable"]),
        ("note", {"version": 7, "text": "-takes plums for grapes"}, ["--", "7", "-takes plums for grapes"]),
        (
            "tag",
            {"version": "stable", "name": "ok", "remove": True, "why": "w"},
            ["--remove", "--why=w", "--", "stable", "ok"],
        ),
    ],
)
def test_the_command_line_in_the_pod_is_the_one_here(name, options, words):
    assert job_arguments(name, options) == words


def test_every_verb_keeps_its_own_options():
    for command in STORE_VERBS.values():
        made = store_verb(command, "x")
        assert {item.name for item in command.params} - {"page"} <= {item.name for item in made.params}
        assert {"release", "namespace", "context", "patience"} <= {item.name for item in made.params}


@pytest.mark.parametrize(
    "arguments",
    [("rollback",), ("runs", "--limit", "0"), ("history", "--channel", "X"), ("diff", "6", "7", "--html", "page.html")],
)
def test_a_wrong_command_line_starts_no_job(call, arguments):
    cluster = FakeJobs()
    code, _, _ = call(cluster, *arguments)

    assert (code, cluster.jobs) == (2, [])


def test_text_without_a_result_is_an_error():
    with pytest.raises(OrchardError):
        _report(Reporter(), "j", "half", 0)
    with pytest.raises(OrchardError, match="wrote no JSON document"):
        _report(Reporter(as_json=True), "j", "── result\nnot json", 0)
