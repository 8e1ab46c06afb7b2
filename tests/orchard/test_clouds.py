"""Google Cloud Storage and Azure Blob Storage: lost replies, refusals, credentials, and `orchard store check` on both."""

from __future__ import annotations

import json

import pytest

from orchard import settings
from orchard.cli import main
from orchard.errors import ObjectChanged, ObjectExists, SettingsError, StoreDenied, StoreError, StoreUnavailable
from orchard.settings import Settings
from orchard.store import open_store
from orchard.store.access_check import check_access
from orchard.store.clients import StoreClients
from orchard.store.conditional import create_once, swap_once
from orchestration.cluster.bucket import prepare
from tests.orchard.answering_store import answer_all


@pytest.fixture(params=["google", "azure"])
def cloud(request):
    """The store and its server."""
    return request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_server")


def test_a_write_whose_answer_was_lost_and_that_landed_is_done(cloud):
    store, server = cloud
    server.lost = 1
    created = create_once(store, "once", b"mine")
    server.lost = 1
    swapped = swap_once(store, "once", b"mine too", created.etag)

    assert store.get("once") == swapped
    assert (server.lost, swapped.body) == (0, b"mine too")


def test_a_lost_answer_is_no_excuse_to_overwrite_the_write_of_another(cloud):
    store, server = cloud
    theirs = store.put("pointer", b"theirs")
    server.lost = 1

    assert create_once(store, "pointer", b"mine").body == b"theirs"
    with pytest.raises(ObjectChanged):
        swap_once(store, "pointer", b"mine", '"0x0"')
    assert (store.get("pointer").body, store.get("pointer").etag) == (b"theirs", theirs)


def test_a_busy_store_is_tried_again_and_the_tries_end(cloud):
    store, server = cloud
    server.answers = [server.error(503, "ServerBusy")] * 2
    store.put("a", b"1")
    server.answers = [server.error(503, "ServerBusy")] * 10

    with pytest.raises(StoreUnavailable) as caught:
        store.get("a")

    assert (caught.value.code, len(server.answers), caught.value.exit_code) == ("ServerBusy", 5, 6)


@pytest.mark.parametrize("key", ["a b/c d", "ü/é", "100%/50%25", "a+b&c=d#e?f", "x" * 900])
def test_a_key_comes_back_as_it_was_written(cloud, key):
    store, server = cloud
    etag = store.create(key, b"1")

    assert [stat.key for stat in store.list(key.partition("/")[0])] == ([key] if "/" in key else [])
    assert (store.head(key).etag, list(server.objects)) == (etag, [key])
    store.delete(key)
    assert not store.exists(key)


def test_a_bucket_that_is_not_there_is_named(cloud, monkeypatch, capsys):
    _, server = cloud
    server.bucket = "another"

    assert main(["store", "status", "--json"]) == 6

    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] in ("NoSuchBucket", "ContainerNotFound")
    assert "does not exist: " in error["message"]
    with pytest.raises(StoreError, match="does not exist"):
        open_store(settings.load()).delete("a")


@pytest.mark.parametrize("action", ["list", "get", "put", "delete"])
def test_a_missing_right_is_a_row_with_the_right_to_give(cloud, action):
    store, server = cloud
    server.denied = {action}

    results = list(check_access(store, "fruits", "fruits", ["housekeeping"]))

    failed = [item for item in results if item.outcome == "failed" and item.check == action]
    wrong = {item.check for item in results if item.outcome == "failed"} - {action}
    assert failed
    assert wrong <= ({"put", "If-None-Match: *", "If-Match"} if action == "get" else set())  # a swap reads first
    assert all(item.code in ("AccessDenied", "AuthorizationPermissionMismatch") for item in failed)
    assert all("roles/storage." in item.remedy or "Storage Blob Data" in item.remedy for item in failed)


def test_store_check_passes_and_leaves_one_object(cloud, capsys):
    _, server = cloud

    assert main(["store", "check", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["passed"]
    assert {"If-None-Match: *", "If-Match"} <= {item["check"] for item in document["checks"]}
    assert all(key.endswith("_probes/00.json") for key in server.objects)
    assert len(server.objects) == 1


def test_store_check_finds_a_store_that_ignores_conditions(cloud, capsys):
    _, server = cloud
    server.conditions = False

    assert main(["store", "check"]) == 6

    text = capsys.readouterr().out
    assert "put-if-absent is ignored" in text
    assert "compare-and-swap is ignored" in text


def test_a_condition_of_google_is_the_generation_of_the_etag(google, google_server):
    etag = google.put("pointer", b"1")
    google_server.requests.clear()
    google.swap("pointer", b"2", etag)
    assert [line.partition("?")[0] for line in google_server.requests] == ["HEAD pointer", "PUT pointer"]

    with pytest.raises(ObjectChanged):
        google.swap("pointer", b"3", etag)
    assert google_server.requests[-1].startswith("PUT pointer")  # the store itself refuses it
    assert google.get("pointer").body == b"2"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (412, "LeaseIdMissing", StoreError),
        (409, "ContainerBeingDeleted", StoreError),
        (409, "BlobAlreadyExists", ObjectExists),
    ],
)
def test_not_every_conflict_of_azure_is_about_the_object(azure, azure_server, status, code, kind):
    azure_server.answers = [azure_server.error(status, code)]

    with pytest.raises(StoreError) as caught:
        azure.create("a", b"1")

    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AuthenticationFailed", "is the clock right"),
        ("AuthorizationFailure", "network rules"),
        ("KeyBasedAuthenticationNotPermitted", "use a managed identity"),
    ],
)
def test_a_refusal_of_azure_has_azures_remedy_and_shows_no_key(azure, azure_server, code, words, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=TopSecretSignature%3D")
    text = f"SharedKey {azure_server.KEY} and sv=1&amp;sig=TopSecretSignature%3D are wrong"
    azure_server.answers = [azure_server.error(403, code, text)]

    with pytest.raises(StoreDenied) as caught:
        azure.get("a")

    assert (caught.value.code, words in caught.value.hint) == (code, True)
    assert "ORCHARD_STORE_CREDENTIALS_FILE" not in caught.value.hint
    assert azure_server.KEY not in caught.value.message
    assert "TopSecret" not in caught.value.message


def test_without_tls_neither_a_token_nor_a_sas_is_sent(google_server, azure_server, monkeypatch, tmp_path):
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=TopSecret")
    open_store(settings.load()).exists("a")
    assert "TopSecret" not in azure_server.requests[0]

    monkeypatch.setenv("ORCHARD_STORE_URL", "gs://orchard")
    monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", google_server.endpoint)
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "TopSecret")
    open_store(settings.load()).put("a", b"1")
    assert google_server.requests[-1].endswith(" Bearer anonymous")

    monkeypatch.setenv("ORCHARD_STORE_URL", "az://orchard")
    monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", azure_server.endpoint)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    with pytest.raises(SettingsError, match="over https:// only"):
        open_store(settings.load())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not a JSON file"),
        ('{"type": "external_account", "secret": "hidden"}', "of the kind 'external_account'"),
        ("[]", "of the kind 'None'"),
        (None, "cannot be read"),
        ('{"type": "service_account", "private_key": "hidden"}', "cannot be used"),
    ],
)
@pytest.mark.parametrize("variable", ["ORCHARD_STORE_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"])
def test_a_file_of_google_that_cannot_be_right_is_refused_before_a_request(
    tmp_path, monkeypatch, variable, text, sentence
):
    path = tmp_path / "account.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("ORCHARD_STORE_URL", "gs://orchard")
    monkeypatch.setenv(variable, str(path))

    with pytest.raises(SettingsError, match=sentence) as caught:
        open_store(settings.load())

    assert "hidden" not in f"{caught.value.message}{caught.value.hint}"
    assert variable in caught.value.message


def test_a_replaced_file_of_google_is_used_without_a_restart(tmp_path, monkeypatch):
    path = tmp_path / "account.json"
    account = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    path.write_text(json.dumps(account))
    monkeypatch.setenv("ORCHARD_STORE_URL", "gs://orchard")
    monkeypatch.setenv("ORCHARD_STORE_CREDENTIALS_FILE", str(path))
    clients = StoreClients(settings.load())
    first = clients.current()
    assert clients.current() is first

    path.write_text("{")
    assert clients.current() is first
    path.write_text(json.dumps({**account, "refresh_token": "another"}))
    assert clients.current() is not first


def test_only_an_s3_store_gets_its_bucket_from_orchard():
    for url, title in (("gs://orchard", "Google Cloud Storage"), ("az://orchard", "Azure Blob Storage")):
        with pytest.raises(SettingsError, match=f"is {title}: only a bucket of an S3 store"):
            prepare(Settings(store_url=url), forbid_deletes=False, timeout_s=1)


def test_a_container_without_an_account_is_refused_with_both_ways_to_name_it(monkeypatch):
    monkeypatch.setenv("ORCHARD_STORE_URL", "az://orchard")

    with pytest.raises(SettingsError, match="nothing names its storage account") as caught:
        open_store(settings.load())

    assert "AZURE_STORAGE_ACCOUNT_NAME" in caught.value.hint
    assert "https://ACCOUNT.blob.core.windows.net" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "variables", "answer", "path"),
    [
        (
            "gs://orchard",
            {"GCE_METADATA_HOST": "{host}", "GCE_METADATA_IP": "{host}"},
            {"expires_in": 3600, "token_type": "Bearer"},
            "/computeMetadata/",
        ),
        (
            "az://orchard",
            {"IDENTITY_ENDPOINT": "http://{host}/msi", "IDENTITY_HEADER": "x", "AZURE_STORAGE_ACCOUNT_NAME": "orchard"},
            {"expires_on": "4102444800", "token_type": "Bearer", "resource": "storage"},
            "/msi",
        ),
    ],
)
def test_the_clouds_own_identity_needs_no_key(authority, monkeypatch, url, variables, answer, path):
    """The service that gives the machine's or the pod's identity a token, and a store that trusts it, over TLS."""
    with answer_all() as identity, answer_all(authority.server("127.0.0.1"), body=b"1") as there:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(host=f"127.0.0.1:{identity.port}"))
        monkeypatch.setenv("ORCHARD_STORE_URL", url)
        monkeypatch.setenv("ORCHARD_STORE_ENDPOINT", f"https://127.0.0.1:{there.port}")
        monkeypatch.setenv("ORCHARD_STORE_CA_FILE", str(authority.file()))
        identity.answer(
            200, json.dumps({"access_token": "TopSecret", **answer}).encode(), Content_Type="application/json"
        )
        store = open_store(settings.load())
        assert store.get("a").body == b"1"
        assert path in identity.requests[0]

        identity.answer(403, b"no account is attached, TopSecret")
        with pytest.raises(StoreDenied, match="the identity service gave no token") as caught:
            open_store(settings.load()).get("a")
    assert (caught.value.code, caught.value.exit_code) == ("NoToken", 6)
