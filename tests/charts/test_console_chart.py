"""The chart's console, captures and webhooks: who reaches them, and what their pods hold."""

from __future__ import annotations

import pytest

from orchard.cli.notify import notify
from serving.cli.console import console
from tests.charts.conftest import find, secrets_at, template

PARTS = ("console", "notify")


def spec_of(documents, part):
    return find(documents, "Deployment", f"-{part}")["spec"]["template"]["spec"]


def secrets_of(spec, container):
    """As `secrets_at`, without the release's name."""
    return {path: name.removeprefix("fruit-orchard-") for path, name in secrets_at(spec, container).items()}


def variables_of(container):
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_without_them_there_is_nothing_of_them(render):
    documents = render("router")

    assert not [item for item in documents if item["metadata"]["name"].endswith(PARTS)]
    assert "ORCHARD_CAPTURE" not in str(documents)
    assert "--console" not in str(documents)


def test_the_consoles_arguments_are_options_of_the_verb_and_name_existing_services(render):
    documents = render("console")
    spec = spec_of(documents, "console")
    (container,) = spec["containers"]
    verb, *arguments = container["args"]
    ports = {
        item["metadata"]["name"]: {port["port"] for port in item["spec"]["ports"]}
        for item in documents
        if item["kind"] == "Service"
    }
    options = console.make_context("console", arguments).params
    router = find(documents, "Deployment", "-router")["spec"]["template"]["spec"]["containers"][0]["args"]

    assert verb == "console"
    assert "--console=fruit-orchard-console:8503" in router
    assert ports["fruit-orchard-console"] == {8503} == {options["port"]}
    for option, service in (("server", "router"), ("sync", "serving-status")):
        host, _, port = options[option].removeprefix("http://").partition(":")
        assert host == f"fruit-orchard-{service}"
        assert int(port) in ports[host]
    assert options["trusted_proxies"] == ("10.244.0.0/16",)
    assert options["names"] == ("fruits.example.com",)


@pytest.mark.parametrize(
    ("values", "secrets"),
    [
        ("console.tokenSecret=", {}),
        ("console.tokenSecret=people", {"/keys/console-users": "people"}),
        ("console.tokenSecret=,router.tokenSecret=theirs", {"/keys/callers": "theirs"}),
        ("console.tokenSecret=,router.enabled=false,serving.tokenSecret=mine", {"/keys/callers": "mine"}),
    ],
)
def test_people_and_the_console_itself_have_tokens_of_their_own(render, values, secrets):
    spec = spec_of(render("console", "--set", values), "console")
    (container,) = spec["containers"]
    given = {item.partition("=")[2].rpartition("/")[0] for item in container["args"] if "token-file=" in item}
    always = {"/keys/console": "store-console", "/keys/trusted": "signing"}

    assert secrets_of(spec, container) == {**always, **secrets}
    assert given == set(secrets)


def test_the_sender_of_webhooks_reads_the_secrets_file(render):
    spec = spec_of(render("console"), "notify")
    (container,) = spec["containers"]
    verb, *arguments = container["args"]

    assert verb == "notify"
    assert notify.make_context("notify", arguments).params["once"] is False
    assert variables_of(container)["ORCHARD_WEBHOOKS_FILE"] == "/keys/webhooks/webhooks.yaml"
    held = {"/keys/webhooks": "webhooks", "/keys/notifier": "store-notifier", "/keys/trusted": "signing"}
    assert secrets_of(spec, container) == held


def test_a_server_that_captures_can_add_to_the_store_and_sync_cannot(render):
    spec = spec_of(render("console"), "serving")
    (engine,), (sync,) = spec["containers"], spec["initContainers"]

    assert variables_of(engine)["ORCHARD_CAPTURE"] == "10"
    assert variables_of(engine)["ORCHARD_STORE_CREDENTIALS_FILE"] == "/keys/capture/credentials"
    assert secrets_of(spec, engine) == {"/keys/capture": "store-capture"}
    assert secrets_of(spec, sync) == {"/keys/sync": "store-sync", "/keys/trusted": "signing"}


def test_captures_of_a_store_with_an_authority_of_its_own_are_checked_against_it(render):
    values = "serving.engine=orchard,serving.capture=1,objectStore.existingSecrets.capture=mine"
    spec = spec_of(render("private-authority", "--set", values), "serving")
    (engine,) = spec["containers"]

    assert variables_of(engine)["ORCHARD_STORE_CA_FILE"] == "/keys/store-ca/ca.crt"
    assert set(secrets_of(spec, engine)) == {"/keys/capture", "/keys/store-ca"}


def sources(policy):
    return {
        (source.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component", "all"), port["port"])
        for rule in policy["spec"]["ingress"]
        for source in rule["from"]
        for port in rule["ports"]
    }


@pytest.mark.parametrize("router", [True, False])
def test_who_reaches_the_console_and_whom_it_reaches(render, router):
    documents = render("console", "--set", f"router.enabled={str(router).lower()}")
    policies = {
        item["metadata"]["name"].removeprefix("fruit-orchard-"): item
        for item in documents
        if item["kind"] == "NetworkPolicy"
    }
    store = policies["store"]["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"]

    assert sources(policies["console"]) == {("router" if router else "all", 8503)}
    assert ("console", 8502) in sources(policies["serving"])
    assert (("console", 8501) in sources(policies["serving"])) is not router
    if router:
        assert ("console", 8080) in sources(policies["router"])
    assert set(PARTS) <= set(store)
    assert "ingress" not in policies["notify"]["spec"], "nobody reaches it"


def test_receivers_are_reached_where_the_values_say_and_the_nodes_identity_is_not(render):
    def reached(*options):
        return find(render("console", *options), "NetworkPolicy", "-notify")["spec"]["egress"][-1]["to"]

    assert reached() == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]
    assert reached("--set", "webhooks.addresses={203.0.113.0/24}") == [{"ipBlock": {"cidr": "203.0.113.0/24"}}]


@pytest.mark.parametrize(("router", "service"), [("true", "fruit-orchard-router"), ("false", "fruit-orchard-console")])
def test_requests_from_outside_reach_the_page(render, router, service):
    values = f"router.enabled={router},serving.ingress.enabled=true,serving.ingress.host=a.example.com"
    documents = render("console", "--set", values)
    paths = {
        path["path"]: (path["pathType"], path["backend"]["service"]["name"])
        for rule in find(documents, "Ingress")["spec"]["rules"]
        for path in rule["http"]["paths"]
    }

    assert paths["/"] == ("Exact", service)
    assert paths["/console/"] == ("Prefix", service)
    assert "/v1/" in paths


def test_the_route_of_a_gateway_has_the_pages_paths(render):
    values = "router.httpRoute.enabled=true,router.httpRoute.parentRefs[0].name=public"
    (rule,) = find(render("console", "--set", values), "HTTPRoute")["spec"]["rules"]

    assert [match["path"]["value"] for match in rule["matches"]] == ["/v1", "/v2", "/", "/console"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("console.enabled=true", "console.enabled serves a page that sends photos as they are"),
        ("serving.capture=1", "serving.capture stores photos and their predictions"),
        ("serving.capture=101", "serving/capture|serving.capture"),
        ("webhooks.secret=Not a name", "webhooks/secret|webhooks.secret"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(values, message):
    done = template("--set", values)

    assert done.returncode != 0
    assert any(part in done.stderr for part in message.split("|"))


def test_a_store_elsewhere_needs_their_keys_by_name():
    values = "serving.engine=orchard,serving.capture=1,console.enabled=true,webhooks.secret=x,objectStore.enabled=false"
    done = template("--set", values)

    for name in ("capture", "console", "notifier"):
        assert f"objectStore.existingSecrets.{name}" in done.stderr
