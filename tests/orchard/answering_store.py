"""A server at a store's address that gives one answer to every request, over HTTP or TLS, and certificates for it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchard.settings import Settings

__all__ = [
    "ACCESS",
    "CALLS",
    "OBJECT",
    "SECRET",
    "AnsweringStore",
    "Authority",
    "answer_all",
    "error_document",
    "settings_for",
]

SECRET, ACCESS = "x/Vq9TopSecretKeyOfATest0123456789abcdef", "AKIATESTTESTTESTTEST"

OBJECT = {"ETag": '"0"', "Last-Modified": "Tue, 24 Nov 2026 00:00:00 GMT"}


def error_document(code: str, message: str = "as the store says", more: str = "") -> bytes:
    """An error of S3."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{head}<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


@dataclass
class Authority:
    """A certificate authority of a test.

    Attributes:
        folder: where its files are.
        name: its name.
    """

    folder: Path
    name: str = "authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def _sign(
        self, subject: str, key: ec.EllipticCurvePrivateKey, *, ca: bool, names: Sequence[str], days: range
    ) -> bytes:
        now = datetime.now(UTC)
        alternatives = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days.start))
            .not_valid_after(now + timedelta(days=days.stop))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def file(self, name: str = "ca.pem") -> Path:
        """The file of its own certificate."""
        path = self.folder / name
        path.write_bytes(self._sign(self.name, self.key, ca=True, names=(), days=range(-1, 30)))
        return path

    def server(self, *names: str, days: range = range(-1, 30), ca: bool = False) -> Path:
        """A file of a key and a certificate for a server; `ca`: its certificate is the authority's own."""
        key = self.key if ca else ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self.folder / "server.pem"
        path.write_bytes(self._sign(self.name if ca else "store", key, ca=ca, names=names, days=days) + pem)
        return path


@dataclass
class AnsweringStore:
    """The running server. `status`, `body` and `headers` may be changed at any time.

    Attributes:
        port: on 127.0.0.1.
        status: of the answer.
        body: of the answer; HEAD has none.
        headers: of the answer.
        requests: the method and path of each request.
    """

    port: int
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Give this answer from now on; names of headers have underscores for hyphens."""
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def answer_all(certificate: Path | None = None, *, status: int = 200, body: bytes = b"") -> Iterator[AnsweringStore]:
    """Run the server; with `certificate`, over TLS: the file is read for each connection."""
    known: list[AnsweringStore] = []

    class AnsweringHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            there = known[0]
            self.rfile.read(int(self.headers.get("content-length", 0)))
            there.requests.append(f"{self.command} {self.path}")
            self.send_response(there.status)
            for name, value in {
                **(OBJECT if there.status < 300 and not there.headers else {}),
                **there.headers,
            }.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(there.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(there.body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_CONNECT = answer  # noqa: N815  # http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    class AnsweringServer(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: socket.socket, client_address: object) -> None:
            if certificate is None:
                super().finish_request(request, client_address)
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            with context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that does not trust the certificate ends the handshake."""

    with AnsweringServer(("127.0.0.1", 0), AnsweringHandler) as server:
        known.append(AnsweringStore(server.server_address[1], status, body))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield known[0]
        finally:
            server.shutdown()
            thread.join()


def settings_for(keys, port, scheme="http", host="127.0.0.1", **more) -> Settings:
    return Settings(
        store_url="s3://bucket", store_endpoint=f"{scheme}://{host}:{port}", store_credentials_file=keys, **more
    )


CALLS = {
    "get": lambda store: store.get("key"),
    "get_if_changed": lambda store: store.get_if_changed("key", '"0"'),
    "stream": lambda store: list(store.stream("key")),
    "head": lambda store: store.head("key"),
    "exists": lambda store: store.exists("key"),
    "put": lambda store: store.put("key", b"1"),
    "create": lambda store: store.create("key", b"1"),
    "swap": lambda store: store.swap("key", b"1", '"0"'),
    "list": lambda store: list(store.list("key")),
    "delete": lambda store: store.delete("key"),
}
