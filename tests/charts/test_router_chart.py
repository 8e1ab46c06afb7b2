"""The router's part of the chart."""

from __future__ import annotations

import pytest

from serving.cli.route import route
from tests.charts.conftest import find, secrets_at, template


def test_without_it_there_is_nothing_of_it(render):
    assert not [item for item in render("engine-orchard") if "router" in item["metadata"]["name"]]


def test_its_arguments_are_options_of_the_verb_and_name_existing_services(render):
    documents = render("router")
    (container,) = find(documents, "Deployment", "-router")["spec"]["template"]["spec"]["containers"]
    verb, *arguments = container["args"]
    services = {item["metadata"]["name"]: item for item in documents if item["kind"] == "Service"}

    assert verb == "route"
    context = route.make_context("route", arguments, resilient_parsing=False)
    for option, port in (("server", 8501), ("grpc_server", 8500), ("weights_from", 8502)):
        host, _, number = context.params[option].removeprefix("http://").partition(":")
        assert int(number) == port
        assert port in {item["port"] for item in services[host]["spec"]["ports"]}
    assert services[context.params["weights_from"][7:].split(":")[0]]["spec"]["clusterIP"] == "None", "all pods answer"


@pytest.mark.parametrize("seconds", [1, 6, 40])
def test_it_ends_connections_and_itself_in_the_time_that_the_pods_have(render, seconds):
    documents = render("router", "--set", f"serving.drainSeconds={seconds}")
    spec = find(documents, "Deployment", "-router")["spec"]["template"]["spec"]
    options = route.make_context("route", spec["containers"][0]["args"][1:]).params

    assert 0 < options["connection_age"] < seconds
    assert options["drain_delay"] == seconds
    assert spec["terminationGracePeriodSeconds"] > options["drain_delay"] + options["drain_timeout"]


@pytest.mark.parametrize(("limit", "heap"), [("768Mi", 512), ("1Gi", 682), ("300M", 190)])
def test_envoy_refuses_requests_before_the_pod_is_killed(render, limit, heap):
    documents = render("router", "--set", f"router.resources.limits.memory={limit}")
    container = find(documents, "Deployment", "-router")["spec"]["template"]["spec"]["containers"][0]

    assert f"--max-memory={heap}" in container["args"]


def test_nobody_reaches_the_model_server_past_it(render):
    policies = {
        item["metadata"]["name"].rpartition("-")[2]: item["spec"]
        for item in render("router")
        if item["kind"] == "NetworkPolicy"
    }
    components = [
        source["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in policies["serving"]["ingress"]
        for source in rule["from"]
    ]

    assert components == ["router"]
    assert {port["port"] for rule in policies["router"]["ingress"] for port in rule["ports"]} == {8080}
    assert policies["test"]["egress"][0]["ports"] == [{"port": 8080}]


@pytest.mark.parametrize("values", ["serving.ingress.enabled=true,serving.ingress.host=a.example.com", "model=fruits"])
def test_what_accepts_requests_from_outside_points_to_it(render, values):
    documents = render("router", "--set", values)
    backends = [
        rule["backendRefs"][0]["name"]
        for item in documents
        if item["kind"] == "HTTPRoute"
        for rule in item["spec"]["rules"]
    ] + [
        path["backend"]["service"]["name"]
        for item in documents
        if item["kind"] == "Ingress"
        for rule in item["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]

    assert backends
    assert {name.rpartition("-")[2] for name in backends} == {"router"}


@pytest.mark.parametrize(
    ("values", "options", "secrets", "sent"),
    [
        ("model=fruits", [], {}, None),
        ("serving.tokenSecret=mine", [], {}, "mine"),
        ("router.tokenSecret=theirs", ["--token-file"], {"/keys/callers": "theirs"}, "theirs"),
        (
            "router.tokenSecret=theirs,serving.tokenSecret=mine",
            ["--token-file", "--engine-token-file"],
            {"/keys/callers": "theirs", "/keys/tokens": "mine"},
            "theirs",
        ),
    ],
)
def test_callers_send_the_routers_tokens_and_it_sends_the_model_servers(render, values, options, secrets, sent):
    documents = render("router", "--set", values)
    spec = find(documents, "Deployment", "-router")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    given = dict(item.split("=", 1) for item in container["args"] if "token-file=" in item)
    test = find(documents, "Pod", "-test")["spec"]

    assert list(given) == options
    assert secrets_at(spec, container) == secrets
    assert {path.rpartition("/")[0] for path in given.values()} == set(secrets)
    assert secrets_at(test, test["containers"][0]).get("/keys/tokens") == sent


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ("router.enabled=true", "ignores"),
        ("router.enabled=true,serving.engine=orchard,router.httpRoute.enabled=true", "parentRefs"),
        ("router.httpRoute.enabled=true", "router.enabled is false"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(values, text):
    done = template("--set", values)

    assert (done.returncode, text in done.stderr) == (1, True), done.stderr
