"""Servers of the protocols of Google Cloud Storage (XML API) and Azure Blob Storage, as far as the store's client uses them.

No emulator on the package indexes serves Google's XML API with preconditions, and Azurite needs Node.js. So these servers have
the documented semantics of exactly the requests that are sent, above all of the conditions:

- https://cloud.google.com/storage/docs/xml-api/reference-headers#xgoogifgenerationmatch
- https://cloud.google.com/storage/docs/xml-api/put-object-upload, get-object-download, delete-object, get-bucket-list
- https://cloud.google.com/storage/docs/multipart-uploads and https://cloud.google.com/storage/docs/xml-api/reference-status
- https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations
- https://learn.microsoft.com/rest/api/storageservices/put-blob, put-block-list, get-blob, list-blobs, blob-batch
- https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["AzureServer", "CloudServer", "GoogleServer", "serve"]


@dataclass
class StoredObject:
    body: bytes
    etag: str
    generation: int
    modified: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One request: `action` is what it does, as a check of rights names it."""

    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class CloudServer:
    """One bucket. The attributes may be changed at any time.

    Attributes:
        requests: the method, key and query of each request, and its `Authorization`.
        denied: the actions that its client has no right to: ``list``, ``get``, ``put``, ``delete``.
        conditions: whether conditions on writes are honoured.
        lost: how many writes of a key are done and then not answered, because the connection ends.
        answers: answers to the next requests, instead of what they ask for.
        bucket: its name.
    """

    PAGE = 1000
    bucket = "orchard"

    def __init__(self) -> None:
        self.port = 0
        self.objects: dict[str, StoredObject] = {}
        self.parts: dict[str, dict[str, StoredObject]] = {}
        self.lock = threading.Lock()
        self.counter = itertools.count(1_700_000_000_000_000)
        self.requests: list[str] = []
        self.denied: set[str] = set()
        self.conditions = True
        self.lost = 0
        self.answers: list[Reply] = []

    def store(self, key: str, body: bytes) -> StoredObject:
        self.objects[key] = StoredObject(body, self.etag_of(body), next(self.counter))
        return self.objects[key]

    def etag_of(self, body: bytes) -> str:
        raise NotImplementedError

    def error(self, status: int, code: str, text: str = "as the store says") -> Reply:
        document = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
        return Reply(status, document.encode())

    def object_reply(self, call: Call, found: StoredObject) -> Reply:
        headers = {
            "ETag": found.etag,
            "Last-Modified": formatdate(found.modified, usegmt=True),
            "x-goog-generation": str(found.generation),
        }
        if call.headers.get("if-none-match") == found.etag:
            return Reply(304, b"", headers)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("range", call.headers.get("x-ms-range", "")))
        if not wanted:
            return Reply(200, found.body, headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(found.body)), len(found.body) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(found.body)}"
        return Reply(206, found.body[first : last + 1], headers)

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """The keys of a page, and whether others follow."""
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        return keys[: self.PAGE], len(keys) > self.PAGE

    def split(self, path: str) -> tuple[str, str]:
        """The bucket and the key of a path."""
        bucket, _, key = path.lstrip("/").partition("/")
        return unquote(bucket), unquote(key)

    def handle(self, call: Call) -> Reply:
        raise NotImplementedError


class GoogleServer(CloudServer):
    """Google's XML API. `token` is the bearer token that it accepts."""

    token = "anonymous"  # noqa: S105

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def etag_of(self, body: bytes) -> str:
        return f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324

    def handle(self, call: Call) -> Reply:
        action = {"GET": "get", "HEAD": "get", "PUT": "put", "POST": "put", "DELETE": "delete"}[call.method]
        if call.headers.get("authorization") != f"Bearer {self.token}":
            return self.error(401, "AuthenticationRequired")
        if ("list" if not call.key else action) in self.denied:
            return self.error(403, "AccessDenied")
        if not call.key:
            return self.listed(call)
        if "uploadId" in call.query or "uploads" in call.query:
            return self.upload(call)
        found = self.objects.get(call.key)
        wanted = call.headers.get("x-goog-if-generation-match")
        if call.method == "PUT":
            if self.conditions and wanted is not None and wanted != str(found.generation if found else 0):
                return self.error(412, "PreconditionFailed")
            stored = self.store(call.key, call.body)
            return Reply(200, b"", {"ETag": stored.etag, "x-goog-generation": str(stored.generation)})
        if found is None:
            return self.error(404, "NoSuchKey")
        if call.method == "DELETE":
            del self.objects[call.key]
            return Reply(204)
        return self.object_reply(call, found)

    def upload(self, call: Call) -> Reply:
        """A multipart upload: parts by number; the object appears when it is completed."""
        if "uploads" in call.query:
            name = str(next(self.counter))
            self.parts[name] = {}
            return Reply(
                200,
                f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>".encode(),
            )
        name = call.query["uploadId"]
        if name not in self.parts:
            return self.error(404, "NoSuchUpload")
        if call.method == "DELETE":
            del self.parts[name]
            return Reply(204)
        if call.method == "PUT":
            part = StoredObject(call.body, self.etag_of(call.body), 0)
            self.parts[name][call.query["partNumber"]] = part
            return Reply(200, b"", {"ETag": part.etag})
        text = call.body.decode().replace("&quot;", '"')
        chosen = re.findall(r"<PartNumber>(\d+)</PartNumber>\s*<ETag>([^<]+)</ETag>", text) or [
            (number, etag)
            for etag, number in re.findall(r"<ETag>([^<]+)</ETag>\s*<PartNumber>(\d+)</PartNumber>", text)
        ]
        parts = [self.parts[name].get(number) for number, _ in chosen]
        if not parts or any(part is None or part.etag != etag for part, (_, etag) in zip(parts, chosen, strict=True)):
            return self.error(400, "InvalidPart")
        stored = self.store(call.key, b"".join(part.body for part in parts if part))
        stored.etag = f'"{stored.etag[1:-1]}-{len(parts)}"'
        del self.parts[name]
        text = f"<CompleteMultipartUploadResult><ETag>{stored.etag}</ETag></CompleteMultipartUploadResult>"
        return Reply(200, text.encode(), {"x-goog-generation": str(stored.generation)})

    def listed(self, call: Call) -> Reply:
        after = call.query.get("continuation-token") or call.query.get("start-after", "")
        keys, more = self.page(call.query.get("prefix", ""), after)
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Generation>{found.generation}</Generation><ETag>{found.etag}</ETag>"
            f"<LastModified>{time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(found.modified))}</LastModified>"
            f"<Size>{len(found.body)}</Size></Contents>"
            for key in keys
            for found in (self.objects[key],)
        )
        token = f"<NextContinuationToken>{escape(keys[-1])}</NextContinuationToken>" if more else ""
        return Reply(200, f"<ListBucketResult>{items}{token}</ListBucketResult>".encode())


class AzureServer(CloudServer):
    """Azure's Blob service, with the account in the path as its emulator has it. The signature itself is not computed."""

    ACCOUNT = "devstoreaccount1"
    KEY: ClassVar[str] = "b3JjaGFyZA=="
    PAGE = 700  # it may send fewer than the 5,000 of its own limit

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.ACCOUNT}"

    def etag_of(self, body: bytes) -> str:
        return f'"0x{next(self.counter):X}"'  # of the write, not of the bytes

    def split(self, path: str) -> tuple[str, str]:
        return super().split(path.removeprefix(f"/{self.ACCOUNT}"))

    def error(self, status: int, code: str, text: str = "as the store says") -> Reply:
        return Reply(status, b"\xef\xbb\xbf" + super().error(status, code, text).body, {"x-ms-error-code": code})

    def handle(self, call: Call) -> Reply:
        if not call.headers.get("authorization", "").startswith(f"SharedKey {self.ACCOUNT}:"):
            return self.error(401, "NoAuthenticationInformation")
        comp = call.query.get("comp", "")
        if comp == "batch":
            return self.batch(call)
        action = {"GET": "get", "HEAD": "get", "PUT": "put"}[call.method]
        if ("list" if comp == "list" else action) in self.denied:
            return self.error(403, "AuthorizationPermissionMismatch")
        if comp == "list":
            return self.listed(call)
        if comp:
            return self.blocks(call, comp)
        found = self.objects.get(call.key)
        if call.method == "PUT":
            if self.conditions and call.headers.get("if-none-match") == "*" and found:
                return self.error(409, "BlobAlreadyExists")
            wanted = call.headers.get("if-match")
            if self.conditions and wanted is not None and (found is None or found.etag != wanted):
                return self.error(412, "ConditionNotMet")
            return self.written(self.store(call.key, call.body))
        return self.object_reply(call, found) if found else self.error(404, "BlobNotFound")

    def written(self, stored: StoredObject) -> Reply:
        return Reply(201, b"", {"ETag": stored.etag, "Last-Modified": formatdate(stored.modified, usegmt=True)})

    def blocks(self, call: Call, comp: str) -> Reply:
        """A large blob: blocks by id; it appears with the list of its blocks."""
        blocks = self.parts.setdefault(call.key, {})
        if comp == "block":
            blocks[call.query["blockid"]] = StoredObject(call.body, "", 0)
            return Reply(201)
        chosen = re.findall(r"<Uncommitted>([^<]+)</Uncommitted>", call.body.decode())
        if any(name not in blocks for name in chosen):
            return self.error(400, "InvalidBlockList")
        stored = self.store(call.key, b"".join(blocks[name].body for name in chosen))
        del self.parts[call.key]
        return self.written(stored)

    def batch(self, call: Call) -> Reply:
        """Several deletes, each with an answer of its own."""
        answers = []
        for number, path in re.findall(r"Content-ID: (\d+)\r\n\r\nDELETE (\S+) HTTP/1.1", call.body.decode()):
            key = self.split(path)[1]
            status = "202 Accepted" if key in self.objects else "404 The specified blob does not exist."
            if "delete" in self.denied:
                status = "403 This request is not authorized to perform this operation using this permission."
            else:
                self.objects.pop(key, None)
            answers.append(
                f"--batch\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\n\r\n"
            )
        return Reply(
            202, f"{''.join(answers)}--batch--\r\n".encode(), {"Content-Type": "multipart/mixed; boundary=batch"}
        )

    def listed(self, call: Call) -> Reply:
        keys, more = self.page(call.query.get("prefix", ""), call.query.get("marker", ""))
        items = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{formatdate(found.modified, usegmt=True)}</Last-Modified>"
            f"<Etag>{found.etag[1:-1]}</Etag><Content-Length>{len(found.body)}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type></Properties></Blob>"
            for key in keys
            for found in (self.objects[key],)
        )
        marker = f"<NextMarker>{escape(keys[-1])}</NextMarker>" if more else "<NextMarker />"
        return Reply(200, f"<EnumerationResults><Blobs>{items}</Blobs>{marker}</EnumerationResults>".encode())


@contextmanager
def serve(cloud: CloudServer) -> Iterator[None]:
    """Run a server on 127.0.0.1, at a free port."""

    class CloudHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            parts = urlsplit(self.path)
            bucket, key = cloud.split(parts.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            call = Call(self.command, key, query, {name.lower(): value for name, value in self.headers.items()}, body)
            with cloud.lock:
                cloud.requests.append(f"{self.command} {key}?{parts.query} {call.headers.get('authorization')}")
                if cloud.answers:
                    reply = cloud.answers.pop(0)
                elif bucket != cloud.bucket:
                    reply = cloud.error(404, "NoSuchBucket" if isinstance(cloud, GoogleServer) else "ContainerNotFound")
                else:
                    reply = cloud.handle(call)
                if cloud.lost and self.command == "PUT" and reply.status < 300:
                    cloud.lost -= 1
                    self.close_connection = True
                    return
            self.send(reply)

        def send(self, reply: Reply) -> None:
            headers = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
            length = "" if reply.status == 304 else f"Content-Length: {len(reply.body)}\r\n"
            body = b"" if self.command == "HEAD" or reply.status == 304 else reply.body
            self.wfile.write(f"HTTP/1.1 {reply.status} Answer\r\n{headers}{length}\r\n".encode() + body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815  # http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    class CloudHttpServer(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    with CloudHttpServer(("127.0.0.1", 0), CloudHandler) as server:
        cloud.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
