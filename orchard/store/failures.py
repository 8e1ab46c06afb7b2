"""Why a request to a store failed: the text of an HTTP client becomes an error with its cause and what to do.

Both clients end here: obstore, whose texts are those of Rust's libraries, and botocore, whose texts are OpenSSL's.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from orchard.errors import OrchardError, StoreDenied, StoreError, StoreUnavailable
from orchard.settings import Settings
from orchard.store.answers import StoreAnswer, advice_for, printable
from orchard.store.authorities import authority_file
from orchard.store.clouds import S3, cloud_of
from orchard.store.credentials import read_credentials
from orchard.store.embedded_disk import embedded_folder, full_disk
from orchard.store.reachability import StoreAddress, address_of

__all__ = ["CAUSES", "FailedRequest", "answer_in"]

_ANSWER = re.compile(
    r"Error performing [A-Z]+ \S+ in .*?- Server returned (?:non-2xx status code: (\d{3})[^:]*|error response): ?",
    re.DOTALL,
)
_DELETE_ANSWER = re.compile(r"DeleteObjects request failed for key .*?: (.*) \(code: (\w+)\)\s*$", re.DOTALL)
"""S3's answer about one object of a request to delete several, whose status is 200: obstore deletes with such requests."""

_BATCH_ANSWER = re.compile(r"Bulk delete request failed for key .*?: (.*) \(code: (\d{3})\)\s*$", re.DOTALL)
"""Azure's answer of the same kind, which has a status and no code."""

_DEBUG = "\n\nDebug source:\n"
_IDENTITY = re.compile(
    r"/latest/(?:api/token|meta-data)|Action=AssumeRole|169\.254\.170\.|/v1/credentials"
    r"|/computeMetadata/v1/|/metadata/identity/|performing token request"
)

_IDENTITY_REQUEST = "performing token request"
"""In the texts of requests to the identity services of Google and Azure."""

_TRANSPORT: tuple[tuple[str, str], ...] = (
    (r"dns error|failed to lookup|Failed to resolve|Name or service not known|NameResolutionError", "UnknownHost"),
    (r"ProxyAuthRequired|Tunnel connection failed: 407|407 Proxy", "ProxyAuthenticationRequired"),
    (r"Tunnel(?:Unsuccessful|UnexpectedEof)|ProxyHeadersTooLong|Tunnel connection failed", "ProxyRefused"),
    (r"CaUsedAsEndEntity", "CertificateIsAuthority"),
    (r"UnknownIssuer|unable to get (?:local )?issuer|self[- ]signed certificate", "UnknownIssuer"),
    (
        r"NotValidForName|Hostname mismatch|IP address mismatch|doesn't match|no appropriate subjectAltName",
        "CertificateNameMismatch",
    ),
    (r"InvalidCertificate\(\s*Expired|certificate has expired", "CertificateExpired"),
    (r"NotValidYet|not yet valid", "CertificateNotYetValid"),
    (r"InvalidCertificate|CERTIFICATE_VERIFY_FAILED", "CertificateInvalid"),
    (r"InvalidContentType|WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST", "HttpExpected"),
    (r"AlertReceived|PeerIncompatible|PeerMisbehaved|InvalidMessage|SSLV3_ALERT|TLSV1_ALERT|SSL: ", "TlsRefused"),
    (r"ConnectionRefused|Connection refused|Errno 111", "ConnectionRefused"),
    (r"HostUnreachable|NetworkUnreachable|unreachable", "Unreachable"),
    (r"TimedOut|kind: Timeout|timed out|[Tt]imeout on endpoint", "Timeout"),
    (r"BadScheme|URL scheme is not allowed", "HttpsRequired"),
    (r"UnexpectedMessage|Parse\(|BadStatusLine", "HttpNotSpoken"),
    (
        r"IncompleteMessage|ConnectionReset|BrokenPipe|UnexpectedEof|Connection aborted|closed",
        "ConnectionClosed",
    ),
)

_NOT_S3 = re.compile(
    r"Unable to extract metadata|Got invalid \w+ response|unable to parse|invalid XML|Missing ETag|ResponseParserError",
    re.IGNORECASE,
)
_FINAL = {
    "ProxyAuthenticationRequired",
    "UnknownIssuer",
    "CertificateNameMismatch",
    "CertificateExpired",
    "CertificateNotYetValid",
    "CertificateIsAuthority",
    "CertificateInvalid",
    "HttpExpected",
    "HttpNotSpoken",
    "HttpsExpected",
    "HttpsRequired",
    "TlsRefused",
}

_NO_BUCKET = {"NoSuchBucket": "bucket", "ContainerNotFound": "container"}

_ENDPOINT = "is its address right (ORCHARD_STORE_ENDPOINT)"

CAUSES: dict[str, tuple[str, str]] = {
    "UnknownHost": (
        "the name {host} is unknown ({detail})",
        f"{_ENDPOINT}, and is {{host}} a name in the DNS of this machine?",
    ),
    "ConnectionRefused": (
        "nothing listens at {place}",
        f"is the store running, and {_ENDPOINT}? check with `orchard store status`",
    ),
    "ConnectTimeout": (
        "{place} accepts no connection",
        f"{_ENDPOINT}? else a firewall or a NetworkPolicy drops the packets; check with `orchard store status`",
    ),
    "ReadTimeout": (
        "{place} accepts connections, and sent no answer in time",
        "is the store overloaded or starting? see its log; check with `orchard store status`",
    ),
    "Unreachable": (
        "no network leads to {place}",
        f"{_ENDPOINT}? check this machine's network, and with `orchard store status`",
    ),
    "ConnectionClosed": (
        "{place} closed the connection without a whole answer",
        f"does the store, or a proxy before it, restart? see its log; {_ENDPOINT}? check with `orchard store status`",
    ),
    "ProxyAuthenticationRequired": (
        "the proxy requires a name and a password",
        "HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT has them",
    ),
    "ProxyRefused": ("the proxy made no connection to {place}", "does the proxy allow {place}?"),
    "UnknownIssuer": (
        "its certificate is signed by an authority that is not trusted here",
        "{authorities}; `openssl s_client -connect {place} -showcerts` shows the chain",
    ),
    "CertificateNameMismatch": (
        "its certificate is not for {host}{names}",
        "use a name of the certificate in ORCHARD_STORE_ENDPOINT, or give the store a certificate with {host} as a "
        "subjectAltName",
    ),
    "CertificateExpired": (
        "its certificate has expired{since}",
        "renew the store's certificate; if it is newer, the clock of this machine is wrong (`date -u`)",
    ),
    "CertificateNotYetValid": (
        "its certificate is not valid yet{since}",
        "is the clock of this machine right (`date -u`)? else the store's certificate begins later",
    ),
    "CertificateIsAuthority": (
        "its certificate is that of an authority (CA:TRUE), which a server cannot use",
        "give the store a certificate with basicConstraints CA:FALSE, signed by that authority or by itself",
    ),
    "CertificateInvalid": (
        "its certificate is invalid ({detail})",
        "`openssl s_client -connect {place} -showcerts` shows it",
    ),
    "HttpExpected": ("{place} does not speak TLS", "ORCHARD_STORE_ENDPOINT must begin with http:// there"),
    "HttpNotSpoken": ("{place} does not speak HTTP", f"{_ENDPOINT}, and its port that of S3's API?"),
    "HttpsExpected": ("{place} speaks TLS", "ORCHARD_STORE_ENDPOINT must begin with https:// there"),
    "HttpsRequired": ("it would be sent without TLS", "ORCHARD_STORE_ENDPOINT must begin with http:// or https://"),
    "TlsRefused": (
        "{place} ended the TLS handshake ({detail})",
        "does the store require a newer or older version of TLS, or a client's certificate? Orchard has none",
    ),
    "NoCredentials": (
        "there are no credentials: {detail}",
        "{no_keys}",
    ),
    "ConnectionFailed": ("{detail}", f"is the store running, and {_ENDPOINT}? check with `orchard store status`"),
}
"""Why there was no answer, by its code: the sentence and the way out."""


def answer_in(text: str) -> StoreAnswer | None:
    """Return the store's answer in an error's text of obstore; None: there was none."""
    first = text.rpartition(_DEBUG)[0] or text
    if match := _ANSWER.search(first):
        status = int(match[1] or 500)  # an error in the body of a success, after which the client has tried again
        return StoreAnswer.parse(status, first[match.end() :])
    if match := _DELETE_ANSWER.search(first):
        return StoreAnswer(200, printable(match[2], 80), printable(match[1]))
    if match := _BATCH_ANSWER.search(first):
        status, text = int(match[2]), printable(match[1])
        missing = "ContainerNotFound" if "container" in text else "BlobNotFound"
        # the batch itself was accepted, so its key is known: 403 is about a right
        return StoreAnswer(status, {403: "AuthorizationPermissionMismatch", 404: missing}.get(status, ""), text)
    return None


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason was given"


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A request that failed, to be explained.

    Attributes:
        purpose: what it was for, as ``for 'KEY'`` or ``to create the bucket``.
        store: the store's name in messages.
        settings: the settings that name the store; None: they are unknown, and nothing is asked of its address.
        conditional: it was a conditional write.
    """

    purpose: str
    store: str
    settings: Settings | None = None
    conditional: bool = False

    def explain(self, text: str) -> StoreError:
        """Return the error for the text of an HTTP client's exception."""
        text = self.without_keys(text)
        answer = answer_in(text)
        if answer is not None and _IDENTITY_REQUEST in text:
            return self._no_token(answer)
        if answer is not None:
            return self.refused(answer)
        if "Received redirect without LOCATION" in text:
            return self.refused(StoreAnswer(301, "PermanentRedirect", "another address is responsible for the bucket"))
        if _NOT_S3.search(text):
            return self.not_s3(_first_line(text))
        return self._unreached(text)

    def refused(self, answer: StoreAnswer) -> StoreError:
        """Return the error for an answer."""
        cloud = cloud_of(self.settings)
        if cloud is S3 and 300 <= answer.status < 400 and not answer.region and self.settings is not None:
            answer = StoreAnswer(answer.status, answer.code, answer.text, address_of(self.settings).region())
        kind, hint = advice_for(answer, conditional=self.conditional, scheme=cloud.scheme)
        if answer.status >= 500 and (full := self._full_disk()):
            hint = full
        if answer.code in _NO_BUCKET:
            message = f"the {_NO_BUCKET[answer.code]} does not exist: {self.store}: {answer}"
        elif issubclass(kind, StoreUnavailable):
            message = f"{self.store} answers, but fails {self.purpose}: {answer}"
        else:
            message = f"{self.store} refused {self.purpose.removeprefix('for ')}: {answer}"
        return self._error(kind, message, hint, answer.code or f"Http{answer.status}", through=not answer.is_s3)

    def _no_token(self, answer: StoreAnswer) -> StoreError:
        """Return the error for a refusal of the cloud's identity service, which is not the store's."""
        message = f"the identity service gave no token for {self.store}, {self.purpose}: {answer}"
        return self._error(StoreDenied, message, f"check {cloud_of(self.settings).keys}", "NoToken", through=True)

    def _full_disk(self) -> str:
        folder = None if self.settings is None else embedded_folder(self.settings)
        return full_disk(folder) if folder else ""

    def not_s3(self, found: str) -> StoreError:
        """Return the error for a success that no such store answers."""
        _, hint = advice_for(StoreAnswer(200, text=found))
        title = cloud_of(self.settings).title
        message = (
            f"{self.store} is not {title}: it answered {self.purpose} with something else ({printable(found, 160)})"
        )
        return self._error(StoreError, message, hint, "NotS3", through=True)

    def _unreached(self, text: str) -> StoreError:
        debug = text.rpartition(_DEBUG)[2] or text
        code = next((code for pattern, code in _TRANSPORT if re.search(pattern, debug)), "ConnectionFailed")
        detail = _detail(debug) or _first_line(text)
        if self.settings is None or str(self.settings.store_url) == "memory://":
            return StoreUnavailable(f"{self.store} did not answer {self.purpose}: {printable(detail)}", code=code)
        if _IDENTITY.search(text) or re.search(
            r"Missing(?:SecretAccessKey|AccessKeyId)|credential", text, re.IGNORECASE
        ):
            code, detail = "NoCredentials", _first_line(text)
        address = address_of(self.settings)
        proxy = address.proxy()
        if not proxy:
            code = _ask(address, code)
        values = {
            "host": address.host,
            "place": address.place,
            "detail": printable(detail, 160),
            "names": _names(debug),
            "since": _since(debug),
            "authorities": _authorities(self.settings),
            "no_keys": cloud_of(self.settings).no_keys,
        }
        sentence, hint = (part.format_map(values) for part in CAUSES[code])
        kind = StoreError if code in _FINAL or code == "NoCredentials" else StoreUnavailable
        return self._error(kind, f"{self.store} did not answer {self.purpose}: {sentence}", hint, code, through=True)

    def _error(self, kind: type[StoreError], message: str, hint: str, code: str, *, through: bool) -> StoreError:
        """Make the error. Where a proxy may be the cause (`through`), its address is in the hint."""
        if through and self.settings is not None and (proxy := address_of(self.settings).proxy()):
            host = address_of(self.settings).host
            hint = f"requests go through the proxy {proxy}: NO_PROXY={host} sends them directly; {hint}"
        return kind(message, hint=hint, code=code)

    def without_keys(self, text: str) -> str:
        """Remove the credentials' own values from a text, in case that a store repeats them."""
        cloud = cloud_of(self.settings)
        values = [os.environ.get(name) for name in cloud.secrets]
        if cloud is S3 and self.settings is not None and self.settings.store_credentials_file is not None:
            with suppress(OrchardError):
                values = list(
                    read_credentials(self.settings.store_credentials_file, self.settings.store_profile).values()
                )
        for value in sorted((value for value in values if value and len(value) > 7), key=len, reverse=True):
            text = text.replace(value, "…")
        return text


def _ask(address: StoreAddress, code: str) -> str:
    """Return the exact cause of a failure that may have two."""
    if code == "Timeout":
        return "ReadTimeout" if address.accepts() else "ConnectTimeout"
    if code in ("ConnectionClosed", "HttpNotSpoken") and address.url.scheme == "http" and address.speaks_tls():
        return "HttpsExpected"
    return code


def _detail(debug: str) -> str:
    """Return the innermost text or name of an error chain."""
    for pattern in (
        r'(?:error|message): "((?:[^"\\]|\\.)+)"',
        r"(?:InvalidCertificate|AlertReceived|PeerIncompatible|InvalidMessage)\(\s*(\w+)(?:\(\s*(?:OtherError\(\s*)?(\w+))?",
        r"hyper::Error\(\s*(\w+)",
        r"\[SSL: (\w+)\]",
    ):
        if match := re.search(pattern, debug):
            return next(part for part in reversed(match.groups()) if part)
    return ""


def _names(debug: str) -> str:
    names = re.findall(r'(?:DnsName\(\\"|IpAddress\()([^\\")]+)', debug.partition("presented:")[2])
    return f", but for {printable(', '.join(names), 120)}" if names else ""


def _since(debug: str) -> str:
    match = re.search(r"not_(?:after|before): UnixTime\(\s*(\d+)", debug)
    return f" ({datetime.fromtimestamp(int(match[1]), UTC):%Y-%m-%d %H:%M} UTC)" if match else ""


def _authorities(settings: Settings) -> str:
    file = authority_file(settings)
    if file is None:
        return "set ORCHARD_STORE_CA_FILE to the PEM file of that authority (in the chart: objectStore.caSecret)"
    other = "" if settings.store_ca_file is not None else ", or set ORCHARD_STORE_CA_FILE to its file"
    return f"{file.path} ({file.variable}) does not have that authority: add its certificate{other}"
