"""TLS at the router, with the real Envoy: REST and gRPC on one port, old versions refused, certificates renewed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchard.cli import main
from serving.cli.route import route
from tests.serving.programs import raw, until
from tests.serving.router.routing import GrpcUpstream, Route, Upstream, call
from tests.serving.server.test_process import certificate
from tests.serving.server.test_rotated_files import MountedSecret, der, sent

TOKEN = "caller-token-0123456789"  # noqa: S105  it protects nothing


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> MountedSecret:
    return MountedSecret(tmp_path_factory.mktemp("secret"))


@pytest.fixture(scope="module")
def first(secret: MountedSecret) -> Path:
    """The certificate at the start."""
    return secret.rotate()


@pytest.fixture(scope="module")
def secured(
    upstream: Upstream,
    rpc_upstream: GrpcUpstream,
    secret: MountedSecret,
    first: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Route]:
    folder = tmp_path_factory.mktemp("secured")
    (folder / "tokens").write_text(f"{TOKEN}\n")
    files = (
        "--tls-cert",
        str(secret.certificate),
        "--tls-key",
        str(secret.key),
        "--token-file",
        str(folder / "tokens"),
    )
    with Route(upstream.port, folder, *files, "--grpc-server", f"127.0.0.1:{rpc_upstream.port}") as running:
        assert running.port
        yield running


def connect(port: int, trusted: Path) -> HTTPSConnection:
    return HTTPSConnection("localhost", port, timeout=30, context=ssl.create_default_context(cafile=str(trusted)))


def status(connection: HTTPSConnection, token: str = TOKEN) -> int:
    connection.request("GET", "/v1/models/m", headers={"authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def handshake(port: int, version: ssl.TLSVersion, protocols: list[str]) -> tuple[str | None, str | None]:
    """The version and the protocol of a connection that offers these."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(protocols)
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    with plain, context.wrap_socket(plain) as connection:
        return connection.version(), connection.selected_alpn_protocol()


def rpc_status(port: int, trusted: Path, *metadata: tuple[str, str]) -> grpc.StatusCode:
    credentials = grpc.ssl_channel_credentials(trusted.read_bytes())
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        return call(channel, *metadata)


def test_rest_and_grpc_have_one_port(secured, first, upstream, rpc_upstream):
    with closing(connect(secured.port, first)) as connection:
        assert status(connection) == 200
        assert upstream.seen[-1]["x-forwarded-proto"] == "https"
        assert "authorization" not in upstream.seen[-1], "a caller's token is not passed on"
        assert status(connection, "x" * 20) == 401
    assert rpc_status(secured.port, first, ("authorization", f"Bearer {TOKEN}")) is grpc.StatusCode.OK
    assert "authorization" not in rpc_upstream.seen[-1]
    assert rpc_status(secured.port, first) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["spdy/1"], None)]
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_chooses_the_protocol(secured, version, offered, chosen):
    found, protocol = handshake(secured.port, version, offered)

    assert (found.replace(".", "_"), protocol) == (version.name, chosen)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_an_old_version_and_plain_text_are_refused(secured):
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        handshake(secured.port, ssl.TLSVersion.TLSv1_1, ["http/1.1"])
    try:
        answer = raw(secured.port, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    except ConnectionResetError:
        answer = b""
    assert b"200" not in answer


def test_a_renewed_certificate_is_served_without_a_restart(secured, secret, first):
    with closing(connect(secured.port, first)) as old:
        assert status(old) == 200

        second = secret.rotate()

        until(lambda: sent(secured.port) == der(second), "the new certificate is sent")
        bearer = ("authorization", f"Bearer {TOKEN}")
        assert rpc_status(secured.port, second, bearer) is grpc.StatusCode.OK
        assert rpc_status(secured.port, first, bearer) is grpc.StatusCode.UNAVAILABLE
        kept = old.sock
        assert status(old) == 200
        assert old.sock is kept, "the open connection goes on"
    assert " file " not in secured.text


def test_half_a_renewal_keeps_the_pair_before(secured, secret, tmp_path):
    before = sent(secured.port)
    content = secret.folder / "..half"
    content.mkdir()
    certificate(content)[0].rename(content / "tls.crt")
    (content / "tls.key").symlink_to(secret.key.resolve())
    (secret.folder / "..data_tmp").symlink_to(content.name)
    (secret.folder / "..data_tmp").replace(secret.folder / "..data")

    until(lambda: "not a valid certificate and its key" in secured.text, "it is reported")
    assert sent(secured.port) == before
    third = secret.rotate()
    until(lambda: sent(secured.port) == der(third), "the new certificate is sent")
    assert "is used again" in secured.text
    assert "PRIVATE KEY" not in secured.log.read_text()


def test_one_file_alone_is_refused(capsys):
    assert main(["--print-config", "--tls-cert", "cert.pem"], route) == 3
    assert "--tls-cert and --tls-key must be used together" in capsys.readouterr().err


def test_a_wrong_key_is_an_error_before_envoy_starts(tmp_path):
    pem, key = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    certificate(tmp_path / "other")[1].rename(key)

    with Route(1, tmp_path, "--tls-cert", str(pem), "--tls-key", str(key)) as refused:
        assert refused.child.wait() == 3
    logged = refused.log.read_text()
    assert f"error: {pem} and {key} are not a valid certificate and its key" in logged
    assert "critical" not in logged
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_key_that_envoy_cannot_use_is_an_error_and_not_a_router_that_answers_nobody(tmp_path):
    key, now = ec.generate_private_key(ec.SECP256K1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    pem, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    pem.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(*encoding))

    with Route(1, tmp_path, "--tls-cert", str(pem), "--tls-key", str(private)) as refused:
        assert refused.child.wait() == 9
    logged = refused.log.read_text()
    assert "Envoy does not use the certificate" in logged
    assert "PRIVATE KEY" not in logged
    assert list((tmp_path / "tmp").iterdir()) == []
