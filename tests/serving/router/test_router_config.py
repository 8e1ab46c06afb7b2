"""The bootstrap file: whatever valid options give, Envoy accepts; and what must never be in it is not."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchard.cli import main
from orchard.errors import IntegrityError, MissingExtra, SettingsError
from orchard.files import atomic_write
from serving.cli.route import route
from serving.router import envoy_binary
from serving.router.envoy_binary import find_envoy, validate_config
from serving.router.envoy_config import envoy_config
from serving.router.envoy_guards import Guards, TokenFiles
from serving.router.envoy_limits import RateLimits, rate_filter
from serving.router.guard_files import GuardFiles
from serving.router.router_options import Endpoint, RouterOptions
from serving.router.router_process import render_config
from tests.serving.server.test_process import certificate

HOSTS = st.sampled_from(["127.0.0.1", "::1", "engine", "engine.orchard.svc.cluster.local", "localhost"])
ENDPOINTS = st.builds(Endpoint, HOSTS, st.integers(1, 65535))
NAMES = st.lists(st.sampled_from(["fruits.example.com", "*.example.org", "10.0.0.1:8080"]), unique=True, min_size=1)
SECONDS = st.floats(0.1, 3600)
COUNTS = st.integers(1, 1 << 20)
RATES = st.floats(0.01, 1e6)
LIMITS = st.builds(RateLimits, RATES, st.integers(1, 1_000_000), RATES.map(lambda rate: rate + 1e6))
TOKENS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=16, max_size=40)
FILES = st.builds(
    TokenFiles, st.just(Path("callers")), *[st.sampled_from([None, Path(name)]) for name in ("channel", "engine")]
)
PAIR = (Path("cert.pem"), Path("key.pem"))
GUARDS = st.builds(
    Guards,
    rates=st.none() | LIMITS,
    tokens=st.none() | FILES,
    tls=st.sampled_from([None, PAIR]),
    proxies=st.integers(0, 10),
    folder=st.just(Path("/tmp/orchard")),  # noqa: S108
)
OPTIONS = st.builds(
    RouterOptions,
    rest=ENDPOINTS,
    weights=st.sampled_from([Path("router"), Path("a folder/with: 'signs' #")]),
    admin_socket=st.just(Path("/tmp/orchard-admin")),  # noqa: S108
    grpc=st.none() | ENDPOINTS,
    console=st.none() | ENDPOINTS,
    host=st.sampled_from(["127.0.0.1", "0.0.0.0", "::1"]),  # noqa: S104
    port=st.integers(0, 65535),
    hosts=st.just(("*",)) | NAMES.map(tuple),
    channel_header=st.booleans(),
    max_body_bytes=st.integers(1, 1 << 31),
    max_connections=COUNTS,
    max_requests=COUNTS,
    max_heap_bytes=st.integers(64 << 20, 1 << 40),
    timeout_s=SECONDS,
    header_timeout_s=SECONDS,
    body_timeout_s=SECONDS,
    idle_timeout_s=SECONDS,
    connect_timeout_s=SECONDS,
    connection_age_s=st.none() | SECONDS,
    access_log=st.booleans(),
    channels=st.lists(st.sampled_from(["canary", "shadow", "staging", "mirror", "x-1"]), unique=True).map(
        lambda names: ("stable", *names)
    ),
    shadow=st.none() | ENDPOINTS,
    shadow_grpc=st.none() | ENDPOINTS,
    max_shadow_requests=COUNTS,
    guards=GUARDS,
)
PLAIN = RouterOptions(Endpoint("127.0.0.1", 8501), Path("/srv/router"), Path("/tmp/admin"))  # noqa: S108


@pytest.fixture(scope="module")
def envoy() -> Path:
    return find_envoy()


def write_files(guards: Guards, folder: Path, tokens: list[str]) -> Guards:
    """Put the files that guards name into a folder, and those that Envoy follows; returns guards that name them."""
    folder.mkdir(exist_ok=True)
    certificate(folder)
    for name in ("callers", "channel", "engine"):
        (folder / name).write_text("".join(f"{token}\n" for token in [f"first-{name}-token", *tokens]))
    files = guards.tokens and TokenFiles(
        *(path and folder / path for path in (guards.tokens.callers, guards.tokens.channel, guards.tokens.engine))
    )
    pair = guards.tls and (folder / PAIR[0], folder / PAIR[1])
    guards = replace(guards, tokens=files, tls=pair, folder=folder)
    GuardFiles(guards, pytest.fail)
    return guards


@given(OPTIONS, st.lists(TOKENS, min_size=1, max_size=3))
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # each example is a process
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_envoy_accepts_what_any_options_give(envoy, tmp_path, options, tokens):
    guards = write_files(options.guards, tmp_path / "guards", tokens)
    options = replace(options, weights=tmp_path / options.weights, guards=guards)
    options.weights.mkdir(parents=True, exist_ok=True)  # Envoy watches it
    config = tmp_path / "envoy.yaml"
    config.write_text(render_config(options))

    assert validate_config(envoy, config) == ""
    assert not any(token in config.read_text() for token in tokens)
    assert yaml.safe_load(config.read_text()) == envoy_config(options)


@given(OPTIONS)
@settings(max_examples=25, deadline=None)
def test_no_options_bring_retries_or_an_open_administration(options):
    document = envoy_config(options)
    text = json.dumps(document)

    assert "retry" not in text.replace("enable_retry_after_header", "")
    assert document["admin"]["address"] == {"pipe": {"path": str(options.admin_socket), "mode": 0o600}}
    front = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = front["route_config"]["virtual_hosts"]
    matched = {header["name"] for route in host["routes"] for header in route["match"].get("headers", ())}
    assert ("x-orchard-channel" in matched) is options.channel_header
    assert all("weighted_clusters" in route["route"] or "cluster" in route["route"] for route in host["routes"][:-1])


def routes_of(options: RouterOptions) -> list[dict]:
    front = envoy_config(options)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return front["route_config"]["virtual_hosts"][0]["routes"]


def clusters_of(options: RouterOptions) -> dict[str, int]:
    """The port that each cluster leads to."""
    found = {}
    for cluster in envoy_config(options)["static_resources"]["clusters"]:
        (place,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        found[cluster["name"]] = place["endpoint"]["address"]["socket_address"]["port_value"]
    return found


def mirrored_to(options: RouterOptions) -> set[str]:
    routes = [route["route"] for route in routes_of(options) if "route" in route]
    return {policy["cluster"] for route in routes for policy in route.get("request_mirror_policies", ())}


def test_each_channel_that_may_be_chosen_has_a_route_and_limits_of_its_own():
    options = replace(PLAIN, channels=("stable", "staging", "customer-7"))

    chosen = {}
    for one in routes_of(options):
        for header in one["match"].get("headers", ()):
            if header["name"] == "x-orchard-channel":
                chosen[header.get("string_match", {}).get("exact", "any other")] = one["route"]["cluster"]
    assert chosen == {"staging": "rest_staging", "customer-7": "rest_customer-7", "any other": "rest_stable"}
    assert list(chosen)[-1] == "any other"
    assert set(clusters_of(options)) == {"rest_canary", "rest_stable", "rest_staging", "rest_customer-7"}
    assert mirrored_to(options) == set(), "there is no shadow"


@pytest.mark.parametrize(
    ("changes", "mirrored"),
    [
        ({}, {"mirror_rest": 8501}),
        ({"grpc": 8500}, {"mirror_rest": 8501, "mirror_grpc": 8500}),
        ({"grpc": 8500, "shadow": 7}, {"mirror_rest": 7}),
        ({"grpc": 8500, "shadow": 7, "shadow_grpc": 8}, {"mirror_rest": 7, "mirror_grpc": 8}),
        ({"shadow_grpc": 8}, {"mirror_rest": 8501}),
    ],
)
def test_copies_go_to_the_shadows_server_in_the_protocols_that_it_has(changes, mirrored):
    options = replace(PLAIN, **{name: Endpoint("127.0.0.1", port) for name, port in changes.items()})

    clusters = clusters_of(options)
    assert {name: port for name, port in clusters.items() if name.startswith("mirror")} == mirrored
    assert mirrored_to(options) == set(mirrored)
    for protocol in ("rest", "grpc"):
        expected = mirrored.get(f"mirror_{protocol}", changes.get("grpc"))
        assert clusters.get(f"{protocol}_shadow") == (expected if f"{protocol}_stable" in clusters else None)


def test_what_envoy_refuses_is_explained(envoy, tmp_path):
    config = tmp_path / "envoy.yaml"
    config.write_text(render_config(replace(PLAIN, weights=tmp_path)).replace("stat_prefix: front", "stat_prefix: ''"))

    assert "StatPrefix" in validate_config(envoy, config)


@pytest.fixture
def package(monkeypatch, tmp_path) -> Path:
    """The folder of another package `envoy`, without a program."""
    folder = tmp_path / "packages" / "envoy"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.delitem(sys.modules, "envoy", raising=False)
    return folder


@pytest.mark.usefixtures("package")
def test_a_missing_envoy_names_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MissingExtra) as caught:
        find_envoy()

    assert "orchard-loop[router]" in caught.value.hint


def write_program(path: Path, version: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!{sys.executable}\nprint('envoy  version: {version}')\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_another_program_in_the_package_is_not_started(package):
    write_program(package / "_bin" / "envoy", "c0ffee/1.40.0/Clean/RELEASE/BoringSSL")

    with pytest.raises(IntegrityError, match="has the SHA-256"):
        find_envoy()


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    "version", ["c0ffee/1.39.0/Clean/RELEASE/BoringSSL", "c0ffee/1.40.0/Modified/DEBUG/BoringSSL", ""]
)
def test_another_version_on_the_path_is_refused(monkeypatch, tmp_path, version):
    write_program(tmp_path / "bin" / "envoy", version)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    with pytest.raises(IntegrityError, match=f"is not Envoy {envoy_binary.ENVOY_VERSION}"):
        find_envoy()


@pytest.mark.parametrize(("host", "port"), [("", 80), ("a", 0), ("a", 65536)])
def test_what_is_no_endpoint_is_refused(host, port):
    with pytest.raises(SettingsError, match="is not an endpoint"):
        Endpoint(host, port)


@pytest.mark.parametrize("rate", [0.01, 0.5, 1, 2.5, 50, 1e6])
def test_a_bucket_fills_at_its_rate(rate):
    limits = RateLimits(rate, 7, 3 * rate)

    buckets = [item["token_bucket"] for item in rate_filter(limits)["descriptors"]]

    rates = [bucket["tokens_per_fill"] / float(bucket["fill_interval"][:-1]) for bucket in buckets]
    assert rates == pytest.approx([rate, rate, rate, 3 * rate])
    assert [bucket["max_tokens"] for bucket in buckets] == [7, 7, 7, 21]


def test_a_file_of_tokens_that_is_invalid_is_an_error_that_shows_none(tmp_path):
    (tmp_path / "tokens").write_text("secret\n")

    with pytest.raises(SettingsError, match="at least 16 characters") as caught:
        GuardFiles(Guards(tokens=TokenFiles(tmp_path / "tokens"), folder=tmp_path), pytest.fail)

    assert "secret\n" not in str(caught.value)


def test_a_full_disk_is_reported_once_and_does_not_end_the_router(tmp_path):
    tokens, folder, reports = tmp_path / "tokens", tmp_path / "folder", []
    tokens.write_text("first-token-0123456789\n")
    folder.mkdir()
    files = GuardFiles(Guards(tokens=TokenFiles(tokens), folder=folder), reports.append)

    folder.rename(tmp_path / "away")
    atomic_write(tokens, "second-token-0123456789\n")
    files.refresh()
    files.refresh()
    (tmp_path / "away").rename(folder)
    files.refresh()

    assert [report.startswith("what has changed cannot be given to Envoy: ") for report in reports] == [True]
    assert "second-token" in (folder / "callers.json").read_text()


def test_options_set_the_guards(capsys):
    given = ["--client-rate", "50", "--token-file", "t", "--tls-cert", "c", "--tls-key", "k", "--trusted-proxies", "2"]
    assert main(["--print-config", *given], route) == 0
    listener = yaml.safe_load(capsys.readouterr().out)["static_resources"]["listeners"][0]

    (chain,) = listener["filter_chains"]
    front = chain["filters"][0]["typed_config"]
    names = [item["name"] for item in front["http_filters"]]
    assert names == ["rates", "callers", "engine", "envoy.filters.http.buffer", "envoy.filters.http.router"]
    buckets = {(item["token_bucket"]["tokens_per_fill"], item["token_bucket"]["max_tokens"]) for item in
               front["http_filters"][0]["typed_config"]["descriptors"]}  # fmt: skip
    assert buckets == {(50, 100), (500, 1000)}, "2 s at once, and 10 clients of an address"
    assert (front["xff_num_trusted_hops"], chain["transport_socket"]["name"]) == (2, "tls")


def test_the_console_has_a_log_in_of_its_own_and_the_same_rates():
    guards = Guards(RateLimits(5, 10, 50), TokenFiles(Path("callers"), Path("channel")))
    document = routes_of(replace(PLAIN, guards=guards, console=Endpoint("127.0.0.1", 8503)))

    off = {
        item["match"].get("path", item["match"].get("prefix")): set(item.get("typed_per_filter_config", ()))
        for item in document
        if item.get("route", {}).get("cluster") == "console" or "/healthz" in item["match"].values()
    }

    assert set(off) == {"/", "/console/", "/healthz"}
    assert off["/"] == off["/console/"] == off["/healthz"] - {"rates"}
    assert len(off["/"]) == 3, "both files of tokens, and what takes a token away"
