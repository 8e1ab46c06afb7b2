"""The keys of a release, checked against a real SeaweedFS that is started with the chart's own arguments."""

from __future__ import annotations

import json
import shutil
import sysconfig

import pytest
import yaml

from orchard.access_rights import IDENTITIES
from orchard.errors import ObjectNotFound, StoreDenied, StoreUnavailable
from orchard.processes import ChildProcess
from orchard.settings import Settings
from orchard.store import open_store, ports
from orchard.store.access_check import check_access
from orchestration.cluster.bucket import PROBE, prepare
from orchestration.cluster.identities import actions, credentials, server_files, with_current_rights
from tests.charts.conftest import find, template
from tests.process_facts import listening

BUCKET = "orchard"


def chart_arguments():
    done = template()
    assert done.returncode == 0, done.stderr
    documents = [item for item in yaml.safe_load_all(done.stdout) if item]
    return find(documents, "StatefulSet", "-store")["spec"]["template"]["spec"]["containers"][0]["args"]


def adapt(arguments, folder, chosen):
    """The chart's arguments, with other folders and free ports."""
    sockets = [f"-{service}.localSocket={service}.sock" for service in ("filer", "s3")]
    arguments = [item for item in arguments if not item.startswith("-s3.port=")]
    adapted = [item.replace("/etc/seaweedfs", str(folder)).replace("-dir=/data", "-dir=data") for item in arguments]
    return [*adapted, *sockets, *(f"-{name}={port}" for name, port in chosen.items() if not name.startswith("admin"))]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A store with the chart's arguments and a bucket: its process id, and the settings of each identity."""
    folder = tmp_path_factory.mktemp("weed")
    (folder / "data").mkdir()
    files, chosen = server_files(BUCKET), ports.choose()
    for name, text in files.items():
        (folder / name).write_text(text)
    settings = {}
    for name in ("admin", *IDENTITIES):
        (folder / name).write_text(credentials(files, name))
        settings[name] = Settings(
            store_url=f"s3://{BUCKET}",
            store_endpoint=f"http://127.0.0.1:{chosen['s3.port']}",
            store_credentials_file=folder / name,
        )
    weed = shutil.which("weed", path=sysconfig.get_path("scripts"))
    command = [str(weed), *adapt(chart_arguments(), folder, chosen)]
    with ChildProcess(command, log=folder / "log", cwd=folder) as child:
        assert prepare(settings["admin"], forbid_deletes=True, timeout_s=60) is True
        yield child.pid, settings


@pytest.fixture
def store(running):
    return running[1]


def test_the_bucket_is_created_once(store):
    assert prepare(store["admin"], forbid_deletes=True, timeout_s=5) is False


def test_only_the_administrator_creates_a_bucket(store):
    with pytest.raises(StoreDenied, match="refused to create the bucket"):
        prepare(store["publisher"], forbid_deletes=True, timeout_s=5)


def test_a_missing_store_is_reported_in_time(store):
    nowhere = store["admin"].model_copy(update={"store_endpoint": "http://127.0.0.1:1"})

    with pytest.raises(StoreUnavailable, match="did not answer"):
        prepare(nowhere, forbid_deletes=True, timeout_s=1)


FOLDERS = {
    "dvc": "dvc/files/md5/aa/b",
    "datasets": "datasets/fruits/versions/000001.json",
    "models": "models/fruits/channels/stable.json",
    "runs": "runs/r/publish.json",
    "incoming": "incoming/fruits/2026-11-24/apple/1.jpg",
    "batch/in": "batch/in/2026-11-24/1.jpg",
    "batch/out": "batch/out/2026-11-24/done.json",
    "capture": "capture/fruits/2026-11-24/1.json",
    "review": f"review/fruits/photos/{'0' * 64}",
    "webhooks": "webhooks/fruits/team-chat/queue.json",
    "logs": "logs/dag_id=retrain/1.log",
}
WRITES = {
    "ingest": {"dvc", "datasets", "runs"},
    "trainer": {"runs"},
    "publisher": {"models", "runs"},
    "sync": set(),
    "console": {"review"},
    "batch": {"batch/out", "runs"},
    "housekeeping": {"models", "runs", "capture", "review", "logs"},
    "notifier": {"webhooks"},
    "airflow": {"logs"},
    "uploader": {"incoming", "batch/in"},
    "capture": {"capture"},
}
READS = {
    "ingest": WRITES["ingest"] | {"incoming"},
    "trainer": {"dvc", "datasets", "runs"},
    "publisher": WRITES["publisher"] | {"dvc", "datasets"},
    "sync": {"models"},
    "console": {"models", "runs", "datasets", "review"},
    "batch": WRITES["batch"] | {"models", "batch/in"},
    "housekeeping": WRITES["housekeeping"] | {"dvc", "datasets"},
    "notifier": {"webhooks", "models", "runs"},
    "airflow": {"logs"},
    "uploader": WRITES["uploader"] | {"batch/out"},
    "capture": set(),
}


@pytest.mark.parametrize("identity", sorted(IDENTITIES))
def test_a_key_reads_and_writes_what_its_work_needs_and_nothing_else(store, identity):
    admin, own = open_store(store["admin"]), open_store(store[identity])
    for folder, key in FOLDERS.items():
        admin.put(key, b"as it was")
        if folder in READS[identity]:
            assert own.get(key).body == b"as it was"
            with pytest.raises(ObjectNotFound):
                own.get(f"{folder}/nothing")
        else:
            with pytest.raises(StoreDenied):
                own.get(key)
        if folder in WRITES[identity]:
            etag = own.create(f"{folder}/{identity}", b"new")
            own.swap(f"{folder}/{identity}", b"newer", etag)
        else:
            for write in (own.put, own.create):
                with pytest.raises(StoreDenied):
                    write(f"{folder}/{identity}", b"stolen")
            with pytest.raises(StoreDenied):
                own.put(key, b"stolen")
        assert admin.get(key).body == b"as it was"


@pytest.mark.parametrize("identity", sorted(set(IDENTITIES) - {"housekeeping"}))
def test_only_the_administrator_deletes_published_objects(store, identity):
    admin = open_store(store["admin"])
    for folder in ("datasets", "models", "runs", "review"):
        admin.put(FOLDERS[folder], b"published")
        with pytest.raises(StoreDenied, match="AccessDenied"):
            open_store(store[identity]).delete(FOLDERS[folder])
        assert admin.get(FOLDERS[folder]).body == b"published"


def test_housekeeping_deletes_old_objects_and_no_photo(store):
    admin, own = open_store(store["admin"]), open_store(store["housekeeping"])
    for folder in ("models", "runs", "capture", "review", "logs"):
        admin.put(FOLDERS[folder], b"old")
        own.delete(FOLDERS[folder])
        assert not admin.exists(FOLDERS[folder])
    for folder in ("datasets", "dvc"):
        admin.put(FOLDERS[folder], b"photos")
        with pytest.raises(StoreDenied, match="AccessDenied"):
            own.delete(FOLDERS[folder])
        assert admin.get(FOLDERS[folder]).body == b"photos"


def test_the_probe_leaves_nothing(store):
    assert not open_store(store["admin"]).exists(PROBE)


def test_nothing_but_s3_listens_outside_the_loopback(running):
    pid, settings = running
    s3 = int(settings["admin"].store_endpoint.rsplit(":", 1)[1])
    outside = {port for port, address in listening(pid).items() if not address.endswith("0100007F")}

    assert outside == {s3, s3 + ports.GRPC_OFFSET}


def test_rights_follow_this_version_and_keys_stay():
    files = server_files(BUCKET)
    older = files["s3.json"].replace(f"Read:{BUCKET}/models/*", f"Write:{BUCKET}/*")

    current = with_current_rights(older, BUCKET)

    assert current == files["s3.json"] != older
    assert credentials({"s3.json": current}, "sync") == credentials(files, "sync")


def test_identities_that_an_older_version_lacks_get_keys():
    files = server_files(BUCKET)
    document = json.loads(files["s3.json"])
    document["identities"] = [item for item in document["identities"] if item["name"] != "batch"]

    current = with_current_rights(json.dumps(document), BUCKET)

    assert "aws_secret_access_key" in credentials({"s3.json": current}, "batch")
    assert credentials({"s3.json": current}, "sync") == credentials(files, "sync")


def test_only_the_administrator_has_all_rights():
    assert actions("admin", BUCKET) == ["Admin"]
    for name in IDENTITIES:
        assert all(item.split(":")[0] in {"Read", "List", "Write"} and "/" in item for item in actions(name, BUCKET))


@pytest.mark.parametrize("identity", sorted(IDENTITIES))
def test_the_check_of_a_store_passes_with_the_key_of_the_identity(store, identity):
    results = list(check_access(open_store(store[identity]), "fruits", "fruits", [identity]))

    assert [item for item in results if item.outcome != "ok"] == []
    checked = {item.where.split("/fruits")[0] for item in results if item.check == "put"}
    assert checked == WRITES[identity]


def test_the_check_of_a_store_names_each_missing_right_with_its_remedy(store):
    results = list(check_access(open_store(store["sync"]), "fruits", "pears", ["publisher", "housekeeping"]))

    failed = {(item.check, item.where): item for item in results if item.outcome == "failed"}
    assert set(failed) == {
        *(("list", where) for where in ("dvc", "datasets/pears", "runs", "capture/fruits", "review/fruits", "logs")),
        *(("get", where) for where in ("dvc", "datasets/pears", "runs", "capture/fruits", "review/fruits", "logs")),
        *(
            (check, where)
            for check in ("put", "delete")
            for where in ("models/fruits", "runs", "capture/fruits", "review/fruits", "logs")
        ),
    }
    assert {item.code for item in failed.values()} == {"AccessDenied"}
    put = failed["put", "models/fruits"]
    assert put.remedy == "give the key s3:PutObject on arn:aws:s3:::orchard/models/fruits/*"
    assert put.needed_by == ("publisher", "housekeeping")
    listing = failed["list", "datasets/pears"]
    assert listing.remedy == "give the key s3:ListBucket on arn:aws:s3:::orchard for the prefix datasets/pears/"
    assert {item.check for item in results if item.outcome == "not checked"} == {"If-None-Match: *", "If-Match"}
    for folder in ("models/fruits", "runs"):
        assert not open_store(store["admin"]).exists(f"{folder}/_probes/none.json"), "nothing is written or deleted"


def test_the_check_of_a_store_shows_a_policy_that_forbids_to_delete(store):
    """The publisher's own rights include it; the bucket's policy takes it away."""
    results = list(check_access(open_store(store["publisher"]), "fruits", "fruits", ["housekeeping"]))

    assert {item.where for item in results if item.check == "delete" and item.outcome == "failed"} >= {
        "models/fruits",
        "runs",
    }
