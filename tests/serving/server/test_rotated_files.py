"""Files that others rotate: certificates and tokens are read again, by a moved link, in place, and half done."""

from __future__ import annotations

import ssl
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2

from orchard.errors import SettingsError
from orchard.files import atomic_write
from serving.models_config import ModelConfig, render
from serving.tls_certificate import TlsCertificate
from tests.serving.grpc_client import grpc_port
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, until
from tests.serving.server.test_process import certificate


@dataclass
class MountedSecret:
    """A Secret as Kubernetes mounts it: the files are links through ``..data``, which is moved as a whole."""

    folder: Path
    count: int = 0

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    def rotate(self) -> Path:
        """Put another pair into the Secret; returns a copy of its certificate."""
        self.count += 1
        content = self.folder / f"..{self.count}"
        content.mkdir(parents=True)
        pem, key = certificate(content)
        pem.rename(content / "tls.crt")
        key.rename(content / "tls.key")
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(content.name)
        fresh.replace(self.folder / "..data")
        for path in (self.certificate, self.key):
            if not path.is_symlink():
                path.symlink_to(Path("..data") / path.name)
        return content / "tls.crt"


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    return MountedSecret(tmp_path / "secret")


@pytest.fixture
def tls(zoo: Path, tmp_path: Path):
    """A function that starts a server with these files, by REST and gRPC."""
    config = tmp_path / "models.config"
    config.write_text(render([ModelConfig("matrix", str(zoo / "matrix"))]))

    def start(pem: Path, key: Path, *options: str) -> Serve:
        files = ("--tls-cert", str(pem), "--tls-key", str(key))
        return Serve(config, tmp_path / "log", ENVIRONMENT, *files, "--grpc-port", "0", *options, wait=False)

    return start


def sent(port: int, *, name: str | None = None) -> bytes:
    """The certificate that a new connection gets, with and without a server name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with closing(HTTPSConnection(name or "127.0.0.1", port, timeout=10, context=context)) as connection:
        connection.connect()
        return connection.sock.getpeercert(binary_form=True)


def der(pem: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.read_text())


def healthy_rpc(port: int, pem: Path) -> bool:
    """Whether a new gRPC channel that trusts this certificate alone gets an answer."""
    with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(pem.read_bytes())) as channel:
        call = channel.unary_unary(
            "/grpc.health.v1.Health/Check", empty_pb2.Empty.SerializeToString, empty_pb2.Empty.FromString
        )
        try:
            call(empty_pb2.Empty(), timeout=5)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return False
            raise
    return True


def test_a_renewed_certificate_is_served_to_new_connections_without_a_restart(tls, secret):
    first = secret.rotate()
    with tls(secret.certificate, secret.key) as server:
        rpc = grpc_port(server)
        assert sent(server.port) == der(first)
        assert healthy_rpc(rpc, first)
        trusting = ssl.create_default_context(cafile=str(first))
        with closing(HTTPSConnection("localhost", server.port, timeout=10, context=trusting)) as old:
            old.request("GET", "/healthz")
            assert old.getresponse().read()

            second = secret.rotate()

            assert sent(server.port) == sent(server.port, name="localhost") == der(second)
            assert healthy_rpc(rpc, second)
            assert not healthy_rpc(rpc, first)
            kept = old.sock
            old.request("GET", "/healthz")
            assert old.getresponse().status == 200
            assert old.sock is kept, "the open connection goes on"
        assert " file " not in server.text


def test_half_a_renewal_keeps_the_pair_before_and_is_logged_once(tls, tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    (pem, key), (new_pem, new_key) = map(certificate, folders)
    first, second = der(pem), der(new_pem)
    with tls(pem, key) as server:
        rpc, trusted = grpc_port(server), tmp_path / "first.pem"
        trusted.write_bytes(pem.read_bytes())
        assert sent(server.port) == first

        pem.write_bytes(new_pem.read_bytes())  # in place, and the key is still the old one
        for _ in range(3):
            assert sent(server.port) == first
        assert healthy_rpc(rpc, trusted)
        assert server.text.count(" file ") == 1
        assert "not a valid certificate and its key" in server.text

        key.write_bytes(new_key.read_bytes())
        assert sent(server.port) == second
        assert healthy_rpc(rpc, new_pem)
        assert "is used again" in server.text

        key.unlink()
        assert sent(server.port) == second
        assert healthy_rpc(rpc, new_pem)
        assert f"{key} is missing; what was read before stays in use" in server.text


@pytest.mark.parametrize("fault", ["missing", "empty", "encrypted", "of another certificate"])
def test_files_that_are_wrong_at_the_start_are_named(tmp_path, fault):
    from cryptography.hazmat.primitives import serialization

    pem, key = certificate(tmp_path)
    if fault == "missing":
        key.unlink()
    elif fault == "empty":
        key.write_bytes(b"")
    elif fault == "encrypted":
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        encryption = serialization.BestAvailableEncryption(b"secret")
        key.write_bytes(
            private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
    else:
        other = tmp_path / "other"
        other.mkdir()
        key.write_bytes(certificate(other)[1].read_bytes())

    with pytest.raises(SettingsError, match="not a valid certificate and its key") as caught:
        TlsCertificate(pem, key, print)

    assert "belongs to the first certificate" in caught.value.hint


def test_a_token_file_that_breaks_keeps_its_tokens_and_is_logged_once(zoo, tmp_path):
    config, tokens = tmp_path / "models.config", tmp_path / "tokens"
    config.write_text(render([ModelConfig("matrix", str(zoo / "matrix"))]))
    tokens.write_text("first-token-0123456789\n")

    def status(server: Serve, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return server.send_request("GET", "/v1/models/matrix", headers=headers).status

    with Serve(config, tmp_path / "log", ENVIRONMENT, "--token-file", str(tokens)) as server:
        atomic_write(tokens, "short\n")  # else the file is empty for a moment, which is another reason
        until(
            lambda: status(server, "first-token-0123456789") == 200 and " file reason=" in server.text,
            "the file is reported",
        )
        tokens.unlink()
        until(
            lambda: status(server, "first-token-0123456789") == 200 and f"{tokens} is missing" in server.text,
            "it is reported missing",
        )

        atomic_write(tokens, "second-token-0123456789\n")
        until(lambda: status(server, "second-token-0123456789") == 200, "the new token is accepted")
        assert status(server, "first-token-0123456789") == 401
        assert server.text.count(" file reason=") == 3
