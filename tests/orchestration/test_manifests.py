"""Jobs from pod templates, as documents."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.errors import OrchardError, ParamsError
from orchestration.cluster.manifests import JobPlan, change_params, claims, job_manifest, job_name, project_map, steps

OWNER = {"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "1"}
PARAMS = "data: {name: fruits}\ntrain: {epochs: 30, optimizer: {name: adam}}\n"


@pytest.fixture
def template():
    def container(name):
        env = [{"name": "ORCHARD_RUN_ID", "value": "unnamed"}, {"name": "WHY", "value": "run $(ORCHARD_RUN_ID)"}]
        return {"name": name, "args": [name], "env": env}

    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    return {
        "metadata": {"name": "o-train", "uid": "7", "annotations": {"orchard.job/retries": "2"}, "labels": {}},
        "template": {
            "metadata": {"labels": {"a": "b"}, "creationTimestamp": None},
            "spec": {
                "initContainers": [container("pull"), container("train")],
                "containers": [container("promote")],
                "volumes": [
                    {"name": "workspace", "ephemeral": {"volumeClaimTemplate": claim}},
                    {"name": "project", "configMap": {"name": "o-project", "optional": True}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            },
        },
    }


def pod(job):
    return job["spec"]["template"]["spec"]


def test_a_job_starts_suspended_with_the_templates_retries(template):
    job = job_manifest(template, JobPlan("job"))

    assert job["spec"]["suspend"] is True
    assert job["spec"]["backoffLimit"] == 2
    assert pod(job)["restartPolicy"] == "Never"
    assert [item["name"] for item in pod(job)["initContainers"]] == ["pull", "train"]
    assert [item["name"] for item in pod(job)["containers"]] == ["promote"]


def test_a_job_is_deleted_with_its_release(template):
    (owner,) = job_manifest(template, JobPlan("job"))["metadata"]["ownerReferences"]

    assert owner == {"apiVersion": "v1", "kind": "PodTemplate", "name": "o-train", "uid": "7"}


def test_errors_that_a_retry_would_repeat_are_not_retried(template):
    ignored, final = job_manifest(template, JobPlan("job"))["spec"]["podFailurePolicy"]["rules"]

    assert ignored["action"] == "Ignore"
    assert final["action"] == "FailJob"
    assert set(final["onExitCodes"]["values"]) == {2, 3, 4, 5, 8, 10}


def test_the_last_step_may_be_an_earlier_one(template):
    job = job_manifest(template, JobPlan("job", until="train"))

    assert [item["name"] for item in pod(job)["initContainers"]] == ["pull"]
    assert [item["name"] for item in pod(job)["containers"]] == ["train"]


def test_a_job_of_one_step_has_no_init_containers(template):
    assert pod(job_manifest(template, JobPlan("job", until="pull")))["initContainers"] == []


def test_an_unknown_step_is_refused_with_the_names_of_all(template):
    with pytest.raises(OrchardError) as caught:
        job_manifest(template, JobPlan("job", until="deploy"))

    assert caught.value.hint == "the steps are pull, train, promote"


def test_variables_reach_every_step_once_and_before_those_that_quote_them(template):
    job = job_manifest(template, JobPlan("job", {"ORCHARD_RUN_ID": "r", "ORCHARD_DATASET": "d"}))

    for item in (*pod(job)["initContainers"], *pod(job)["containers"]):
        assert [(e["name"], e["value"]) for e in item["env"]] == [
            ("ORCHARD_RUN_ID", "r"),
            ("ORCHARD_DATASET", "d"),
            ("WHY", "run $(ORCHARD_RUN_ID)"),
        ]


def test_arguments_are_added_to_the_step_that_they_are_for(template):
    job = job_manifest(template, JobPlan("job", arguments={"pull": ("--version", "3")}))

    assert [item["args"] for item in pod(job)["initContainers"]] == [["pull", "--version", "3"], ["train"]]


def test_an_ephemeral_volume_becomes_a_claim_that_belongs_to_the_job(template):
    plan = JobPlan("job")
    workspace = pod(job_manifest(template, plan))["volumes"][0]
    (claim,) = claims(template, plan, OWNER)

    assert workspace["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"] == "job-workspace"
    assert claim["metadata"]["ownerReferences"] == [OWNER]
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"


def test_project_files_of_its_own_replace_those_of_the_release(template):
    plan = JobPlan("job", project={"params.yaml": "a: 1"})

    assert pod(job_manifest(template, plan))["volumes"][1] == {"name": "project", "configMap": {"name": "job"}}
    assert project_map(plan, OWNER, {"x": "y"})["data"] == {"params.yaml": "a: 1"}
    assert pod(job_manifest(template, JobPlan("job")))["volumes"][1]["configMap"]["name"] == "o-project"


def test_the_template_is_not_changed(template):
    before = repr(template)

    job_manifest(template, JobPlan("job", {"A": "b"}, "train", {"pull": ("x",)}, {"params.yaml": ""}))

    assert repr(template) == before
    assert len(steps(template)) == 3


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,199}", fullmatch=True))
def test_kubernetes_accepts_every_jobs_name(run_id):
    name = job_name("train", "orchard", run_id)

    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert len(f"{name}-workspace") <= 63
    assert name == job_name("train", "orchard", run_id)


@given(st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,80}", fullmatch=True), unique=True, max_size=30))
def test_two_runs_never_share_a_name(run_ids):
    assert len({job_name("train", "orchard", run_id) for run_id in run_ids}) == len(run_ids)


def test_a_simple_run_id_is_part_of_the_name():
    assert job_name("train", "orchard", "nightly-7") == "orchard-train-nightly-7"


def test_a_parameter_is_changed_and_the_others_stay():
    changed = change_params(PARAMS, ("train.optimizer.name=sgd", "train.epochs=3"))

    assert changed == {"data": {"name": "fruits"}, "train": {"epochs": 3, "optimizer": {"name": "sgd"}}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epcohs=3", "did you mean epochs?"),
        ("trains.epochs=3", "did you mean train?"),
        ("train.epochs.more=3", "there is no parameter train.epochs.more"),
        ("train.epochs", "is not KEY=VALUE"),
    ],
)
def test_an_unknown_parameter_is_refused(override, message):
    with pytest.raises(ParamsError, match=re.escape(message)):
        change_params(PARAMS, (override,))


@pytest.mark.parametrize("text", ["- a", "", "a: [", "7"])
def test_invalid_parameters_are_refused(text):
    with pytest.raises(ParamsError):
        change_params(text, ())
