"""Bearer tokens at the router, with the real Envoy: who passes, who chooses the channel, what is passed on and what is not said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from orchard.cli import main
from orchard.files import atomic_write
from serving.cli.route import route
from tests.serving.programs import HttpAnswer, send_request, until
from tests.serving.router.routing import GrpcUpstream, KeptConnection, Route, Upstream, call

CALLER, CHOOSER, ENGINE = (f"{name}-token-0123456789" for name in ("caller", "chooser", "engine"))
SIGNS = 'signs-"\\%REQ(HOST)%$-0123456789'
CHALLENGE = "The request needs a valid bearer token"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "callers").write_text(f"# of the shop\n\n{CALLER}\n  {SIGNS}  \n")
    (folder / "choosers").write_text(f"{CHOOSER}\n")
    (folder / "engine").write_text(f"{ENGINE}\nthe server's other token\n")
    return folder


def options(folder: Path) -> list[str]:
    names = {"token": "callers", "channel-token": "choosers", "engine-token": "engine"}
    return [word for name, file in names.items() for word in (f"--{name}-file", str(folder / file))]


@pytest.fixture(scope="module")
def guarded(
    upstream: Upstream, rpc_upstream: GrpcUpstream, files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Route]:
    more = ("--grpc-server", f"127.0.0.1:{rpc_upstream.port}", "--trusted-proxies", "1")
    with Route(upstream.port, tmp_path_factory.mktemp("guarded"), *options(files), *more) as running:
        assert running.port
        yield running


@pytest.fixture(scope="module")
def channel(guarded: Route) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{guarded.port}") as opened:
        yield opened


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def predict(guarded: Route, authorization: str | None, **headers: str) -> HttpAnswer:
    given = {} if authorization is None else {"authorization": authorization}
    return guarded.predict({"x-client": "anna", **given, **headers})


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", f"Basic {CALLER}", CALLER, f"Bearer {CALLER}x", f"Bearer {CALLER[:-1]}", f"Bearer {ENGINE}",
     f"Bearer {CALLER.upper()}", "Bearer # of the shop", f"Bearer x, Bearer {CALLER}"],
)  # fmt: skip
def test_a_request_without_a_valid_token_is_refused_in_the_form_of_the_api(guarded, upstream, authorization):
    seen = len(upstream.seen)

    found = predict(guarded, authorization)

    assert (found.status, found.json) == (401, {"error": CHALLENGE})
    assert found.headers["www-authenticate"] == "Bearer"
    assert len(upstream.seen) == seen


@pytest.mark.parametrize(
    "authorization", [f"Bearer {CALLER}", f"bearer {CALLER}", f"Bearer {SIGNS}", f"Bearer {CHOOSER}"]
)
def test_the_model_server_gets_the_routers_token_and_not_the_callers(guarded, upstream, authorization):
    assert predict(guarded, authorization).status == 200
    assert upstream.seen[-1]["authorization"] == f"Bearer {ENGINE}"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz/m"])
def test_probes_need_no_token_and_get_none(guarded, upstream, path):
    assert send_request(guarded.port, "GET", path).status == 200
    assert "authorization" not in upstream.seen[-1]


@pytest.mark.parametrize(
    "path", ["/", "/v1/models/m", "/readyzz", "/readyz/../v1/models/m", "/readyz/%2e%2e/v1/models/m"]
)
def test_every_other_path_needs_one(guarded, path):
    with KeptConnection(guarded.port) as connection:
        assert connection.get(path) == 401


def test_only_some_tokens_choose_the_channel(guarded, upstream):
    chosen = {"x-orchard-channel": "canary"}
    assert predict(guarded, f"Bearer {CHOOSER}", **chosen).json["channel"] == "canary"
    seen = len(upstream.seen)

    forbidden = predict(guarded, f"Bearer {CALLER}", **chosen)
    assert (forbidden.status, "may not choose the channel" in forbidden.error) == (403, True)
    empty = predict(guarded, f"Bearer {CALLER}", **{"x-orchard-channel": ""})
    assert empty.status == 403
    unknown = predict(guarded, None, **chosen)
    assert (unknown.status, unknown.error) == (401, CHALLENGE)
    assert len(upstream.seen) == seen


def test_grpc_is_the_same(guarded, channel, rpc_upstream):
    assert call(channel) is Code.UNAUTHENTICATED
    assert call(channel, bearer("x" * 20)) is Code.UNAUTHENTICATED
    assert call(channel, bearer(CALLER)) is Code.OK
    assert rpc_upstream.seen[-1]["authorization"] == f"Bearer {ENGINE}"
    assert call(channel, bearer(CALLER), ("x-orchard-channel", "canary")) is Code.PERMISSION_DENIED
    assert call(channel, bearer(CHOOSER), ("x-orchard-channel", "canary")) is Code.OK
    assert call(channel, method=HEALTH) is Code.OK
    assert call(channel, method=REFLECTION) is Code.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"", timeout=30)
    assert caught.value.details() == CHALLENGE, "the text, not JSON"


def test_changed_files_act_without_a_restart(guarded, files, upstream):
    pid = guarded.child.pid
    changed = "changed-token-0123456789"
    atomic_write(files / "callers", f"{changed}\n{CALLER}\n")
    until(lambda: predict(guarded, f"Bearer {changed}").status == 200, "the new token is accepted")
    assert predict(guarded, f"Bearer {CALLER}").status == 200
    until(lambda: predict(guarded, f"Bearer {SIGNS}").status == 401, "the token that is gone is refused")

    atomic_write(files / "choosers", f"{CALLER}\n")
    until(lambda: predict(guarded, f"Bearer {CALLER}", **{"x-orchard-channel": "canary"}).status == 200, "it chooses")
    until(lambda: predict(guarded, f"Bearer {CHOOSER}").status == 401, "the token that is gone is refused")

    atomic_write(files / "engine", "fresh-token-0123456789\n")
    until(
        lambda: (
            predict(guarded, f"Bearer {CALLER}").status == 200
            and upstream.seen[-1]["authorization"] == "Bearer fresh-token-0123456789"
        ),
        "the new token is sent",
    )

    atomic_write(files / "callers", "short\n")
    until(lambda: " file reason=" in guarded.text, "the file is reported")
    (files / "callers").unlink()
    until(lambda: "callers is missing" in guarded.text, "it is reported missing")
    assert predict(guarded, f"Bearer {changed}").status == 200, "the tokens before are still accepted"
    assert guarded.child.pid == pid


def envoy_pid(guarded: Route) -> str:
    return re.search(r" pid=(\d+)", guarded.text)[1]


def test_no_token_is_in_a_log_an_argument_or_a_file_that_others_read(guarded):
    (folder,) = (guarded.weights.parent / "tmp").iterdir()
    secrets = [CALLER, CHOOSER, ENGINE, "changed-token", "fresh-token"]
    processes = [Path("/proc") / pid for pid in (str(guarded.child.pid), envoy_pid(guarded))]
    texts = [guarded.log.read_text(), (folder / "envoy.yaml").read_text()]
    texts += [(process / name).read_text() for process in processes for name in ("cmdline", "environ")]

    assert [secret for secret in secrets if any(secret in text for text in texts)] == []
    others = [path.name for path in folder.iterdir() if path.suffix == ".json" and path.stat().st_mode & 0o077]
    assert (others, folder.stat().st_mode & 0o777) == ([], 0o700)


def test_an_address_that_a_trusted_proxy_names_is_the_clients(guarded):
    headers = {"x-forwarded-for": "203.0.113.9, 198.51.100.7", "x-request-id": "through-a-proxy"}
    assert predict(guarded, f"Bearer {CALLER}", **headers).status == 200

    line = until(lambda: next((x for x in guarded.text.splitlines() if "through-a-proxy" in x), ""), "it is logged")
    assert '"remote":"198.51.100.7"' in line


def test_the_printed_file_has_no_token(files, capsys):
    assert main(["--print-config", *options(files)], route) == 0

    printed = capsys.readouterr().out
    assert "callers.json" in printed
    assert "token-0123456789" not in printed


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--channel-token-file", "x"], "--channel-token-file needs --token-file"),
        (["--engine-token-file", "x"], "--engine-token-file needs --token-file"),
        (["--token-file", "x", "--channel-token-file", "x", "--no-channel-header"], "cannot be combined"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given, expected, capsys):
    assert main(["--print-config", *given], route) == 3
    assert expected in capsys.readouterr().err
