"""`orchard deploy` up to the chart's installation, with programs that record; tests/e2e deploys a project on a cluster."""

from __future__ import annotations

import ast
import json
import re
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import pytest

from orchard import __version__
from orchard.cli import main
from orchestration.cli.deploy import deploy, undeploy
from orchestration.cli.doctor import doctor
from orchestration.cluster.deploy import remedies
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.deploy.remedies import in_verbs
from tests import drawn_photos
from tests.orchestration.cluster_programs import ClusterPrograms

TRAINING, SERVING = f"orchard-training:{__version__}", f"orchard-serving:{__version__}"
SEAWEEDFS = "chrislusf/seaweedfs:4.48"
RELEASE = Release("kind-dev", "signs", "orchard")
DIGEST = "sha256:" + "d" * 64
OURS = {TRAINING: "sha256:" + "1" * 64, SERVING: "sha256:" + "2" * 64}


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The programs, with Orchard's images in this machine's Docker."""
    found = ClusterPrograms(tmp_path / "programs")
    found.change(local=OURS)
    monkeypatch.setenv("PATH", found.path())
    return found


@pytest.fixture
def project(workspace, monkeypatch):
    """A project of drawn photos, the working folder."""
    drawn_photos.fill(workspace / "photos", "arrows", 3)
    assert main(["init", "arrows", "--photos", "photos"]) == 0
    monkeypatch.chdir(workspace / "arrows")
    monkeypatch.delenv("ORCHARD_ENV_FILE", raising=False)
    return workspace / "arrows"


@pytest.fixture
def run(project, programs, capsys):
    """Run `orchard deploy`, which ends at the latest where helm installs; return the exit code and the error."""

    def call(*arguments, command=deploy):
        capsys.readouterr()
        code = main([*arguments, "--json"], command)
        return code, json.loads(capsys.readouterr().out)["error"]

    return call


def values_of(programs):
    """Return the chart's values on helm's command line."""
    (upgrade,) = programs.calls("helm", "upgrade")
    options = [word for before, word in pairwise(upgrade) if before in ("--set", "--set-string")]
    return dict(option.split("=", 1) for option in options), upgrade


def test_the_chart_gets_the_projects_image_by_digest_and_its_name(run, programs):
    code, error = run("--set", "serving.replicas=2")

    values, upgrade = values_of(programs)
    assert (code, "the test ends here" in error["message"]) == (1, True)
    assert (values["model"], values["dataset"], values["serving.replicas"]) == ("arrows", "arrows", "2")
    assert values["images.training"].startswith("localhost:5001/arrows-training@sha256:")
    assert values["images.serving"].startswith("localhost:5001/orchard-serving@sha256:")
    assert upgrade[upgrade.index("--kube-context") + 1] == "kind-dev"
    assert upgrade[upgrade.index("--namespace") + 1] == "arrows"
    assert any(word.endswith("ci/kind-values.yaml") for word in upgrade)
    assert "images.seaweedfs" not in values, "it is not here: the cluster pulls it under its own name"


def test_a_change_of_the_projects_code_is_another_image(run, programs, project):
    run()
    (project / "model.py").write_text("# a network\n")
    run()

    pushed = [words[-1] for words in programs.calls("docker", "push") if "arrows-training" in words[-1]]
    assert len(pushed) == len(set(pushed)) == 2


def test_the_build_begins_with_the_training_image_of_this_version(run, programs):
    run()

    (build,) = programs.calls("docker", "build")
    assert f"TRAINING_IMAGE={TRAINING}" in build


def test_without_a_registry_a_kind_cluster_gets_images_onto_its_nodes(run, programs):
    programs.change(registry="", local={**OURS, SEAWEEDFS: DIGEST})

    run()

    loaded = [words[-1] for words in programs.calls("kind", "load", "docker-image", "--name", "dev")]
    values, _ = values_of(programs)
    assert loaded == [values["images.training"], values["images.serving"], values["images.seaweedfs"]]
    assert values["images.serving"] == "orchard-serving:222222222222"
    assert not programs.calls("docker", "push")


def test_orchards_images_are_found_where_make_deploy_has_pushed_them(run, programs):
    remote = {f"localhost:5001/{image}": DIGEST for image in (TRAINING, SERVING, SEAWEEDFS)}
    programs.change(local={}, remote=remote)

    run()

    values, _ = values_of(programs)
    assert values["images.serving"] == f"localhost:5001/orchard-serving@{DIGEST}"
    assert values["images.seaweedfs"] == f"localhost:5001/chrislusf/seaweedfs@{DIGEST}"
    assert f"TRAINING_IMAGE=localhost:5001/{TRAINING}" in programs.calls("docker", "build")[0]
    assert [words[-1].partition(":")[0] for words in programs.calls("docker", "push")] == ["localhost"], (
        "the project's alone"
    )


@pytest.mark.parametrize("by", ["option", "setting"])
def test_a_teams_cluster_gets_images_from_its_registries(run, programs, project, by):
    programs.change(remote={f"registry.test/orchard/{image}": DIGEST for image in (TRAINING, SERVING)})
    options = ["--images", "registry.test/orchard/", "--registry", "registry.test:5000/team"]
    if by == "setting":
        options = []
        lines = "ORCHARD_IMAGES=registry.test/orchard\nORCHARD_IMAGE_REGISTRY=registry.test:5000/team\n"
        (project / ".env").write_text((project / ".env").read_text() + lines)

    run("--context", "team", *options)

    values, upgrade = values_of(programs)
    assert values["images.training"].startswith("registry.test:5000/team/arrows-training@sha256:")
    assert values["images.serving"] == f"registry.test/orchard/orchard-serving@{DIGEST}"
    assert f"TRAINING_IMAGE=registry.test/orchard/{TRAINING}" in programs.calls("docker", "build")[0]
    assert not any("kind-values" in word for word in upgrade)


def test_values_of_files_come_before_single_ones(run, programs, project):
    (project / "own.yaml").write_text("serving: {replicas: 3}\n")

    run("--set", "serving.replicas=2", "--values", "own.yaml")

    _, upgrade = values_of(programs)
    assert upgrade.index(str(project / "own.yaml")) < upgrade.index("serving.replicas=2")


@pytest.mark.parametrize("missing", [["docker"], ["helm"], ["docker", "kubectl", "helm"]])
def test_programs_that_are_missing_are_all_named_with_where_to_get_them(run, programs, monkeypatch, missing):
    for name in missing:
        (programs.folder / name).unlink()
    monkeypatch.setenv("PATH", str(programs.folder))

    code, error = run()

    assert (code, error["message"]) == (1, f"not on the PATH: {', '.join(missing)}")
    assert error["hint"].count("https://") == len(missing)


@pytest.mark.parametrize(
    ("state", "message", "hint"),
    [
        ({"docker_down": True}, "Docker is stopped", "systemctl start docker"),
        ({"contexts": []}, "no kube context is configured", "kind create cluster"),
        ({"current": ""}, "no current context", "--context names one of kind-dev, team"),
        ({"current": "gone"}, "no context gone", "kind-dev, team"),
        ({"cluster_down": True}, "kind-dev does not answer", "cluster-info"),
        ({"current": "team", "registry": ""}, "needs a registry", "--registry"),
        ({"local": {}}, f"{TRAINING} is neither in this machine's Docker nor in localhost:5001", "--images REPOSITORY"),
        ({"local": {}, "registry": ""}, "nor in the nodes of dev", "scripts/images"),
        ({"build_fails": True}, "building arrows-training failed", "Dockerfile"),
        ({"push_denied": True}, "pushing localhost:5001/arrows-training", "docker login localhost:5001"),
        ({"release": {"model": "pears"}}, "of another model, pears", "--namespace"),
        ({"release": {"images": {}}}, "of another model, fruits", "--namespace"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value),
)
def test_what_is_missing_is_said_before_the_chart_is_touched(run, programs, state, message, hint):
    programs.change(**state)

    code, error = run()

    assert code == 1
    assert message in error["message"]
    assert hint in error["hint"]
    assert not programs.calls("helm", "upgrade")


def test_a_repository_without_orchards_images_is_an_error(run, programs):
    code, error = run("--images", "registry.test/orchard")

    assert (code, f"registry.test/orchard has no image {TRAINING}" in error["message"]) == (1, True)
    assert not programs.calls("docker", "build")


def test_an_installation_without_the_extra_of_the_cluster_is_an_error_before_anything_is_built(
    run, programs, monkeypatch
):
    def version(name):
        if name == "kubernetes":
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(metadata, "version", version)

    code, error = run()

    assert (code, error["message"]) == (10, "packages are not installed: kubernetes")
    assert "[training,cluster]" in error["hint"]
    assert not programs.calls("docker", "build")


def test_a_project_without_a_dockerfile_or_photos_is_an_error(run, project, programs):
    (project.parent / "photos").rename(project.parent / "moved")
    assert "there is no " in run()[1]["message"]

    (project / "Dockerfile").unlink()
    code, error = run()

    assert (code, "has no Dockerfile" in error["message"]) == (3, True)
    assert not programs.calls("docker", "build")


@pytest.mark.parametrize("command", [deploy, undeploy])
def test_another_folder_is_no_project(run, project, monkeypatch, command):
    monkeypatch.chdir(project.parent)

    code, error = run(command=command)

    assert (code, "is not a project" in error["message"]) == (3, True)


def test_nothing_is_removed_without_yes(run, programs):
    code, error = run(command=undeploy)

    assert (code, "--yes" in error["hint"]) == (1, True)
    assert "orchard in arrows on kind-dev" in error["message"]
    assert not programs.calls("helm")


def test_remedies_name_verbs_and_the_release_instead_of_a_checkouts_targets():
    where = "--namespace signs --context kind-dev"

    assert in_verbs("`make doctor` finds the reason, `make evidence` saves the state of the cluster", RELEASE) == (
        f"`orchard doctor {where}` finds the reason"
    )
    assert in_verbs("correct that, then make deploy", RELEASE) == f"correct that, then orchard deploy {where}"
    assert in_verbs("choose another namespace: make deploy NAMESPACE=…", RELEASE).endswith(
        "orchard deploy --namespace NAME"
    )
    assert in_verbs("make room, or lower its resource requests", RELEASE).startswith("make room")


def test_every_remedy_of_a_deployment_has_its_words_for_an_installed_command():
    """What it reads of other modules is documentation, or runs in a checkout or with Airflow."""
    left = set()
    for path in Path(remedies.__file__).parent.glob("*.py"):
        if path.name in ("__main__.py", "checkout_deploy.py", "remedies.py", "retrain_run.py", "airflow_client.py"):
            continue
        tree = ast.parse(path.read_text())
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
                text = in_verbs(node.value, RELEASE)
                if re.search(r"\bmake (?!room|port-forward)[a-z]|scripts/cluster", text):
                    left.add((path.name, text))

    assert not left


def test_the_doctor_looks_at_a_release_without_a_checkout(programs, capsys):
    code = main(["--namespace", "arrows", "--json"], doctor)

    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert code == 1
    assert finding["wrong"] == "arrows holds no release orchard."
    assert finding["remedy"] == "orchard deploy --namespace arrows --context kind-dev installs it"
