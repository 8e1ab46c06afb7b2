"""What a store answers when it refuses a request: its own code and message, and what to do about each."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from http import HTTPStatus

from orchard.errors import StoreDenied, StoreError, StoreUnavailable
from orchard.store.cloud_answers import CLOUD_CODES, CLOUD_STATUSES, LEASE, NO_CLOUD_RIGHT
from orchard.store.clouds import S3

__all__ = ["LONGEST_TEXT", "NO_RIGHT", "StoreAnswer", "advice_for", "printable"]

LONGEST_TEXT = 300
"""The longest text of a store that a message shows, in characters."""

_LONGEST_BODY = 100_000

_SECRETS = re.compile(
    r"AWS4-HMAC-SHA256\s[^<]*|\b(?:[AU]KIA|ASIA)[A-Z0-9]{12,}"
    r"|(?i:\b(?:x-amz-)?(?:security-token|signature|credential|secret\w*|sessiontoken|sig))\s*[=:]\s*[^\s&,;<]+"
)

_KEYS = S3.keys
_REGION = "set ORCHARD_STORE_REGION to the bucket's region, and ORCHARD_STORE_ENDPOINT, if it is set, to that region's address"
_BUSY = "it asks for fewer requests: try again later, with fewer clients, or a longer `orchard sync --poll`"
_FULL = (
    "make room on the store's disk or raise its quota: `orchard housekeeping` and `orchard prune` delete what is old"
)
_LIMIT = "raise the limit of the size of a request, at the store or at a proxy before it"
_CLOCK = (
    "this machine's clock and the store's differ by more than 15 minutes: compare `date -u` on both, and let both keep "
    "the time (NTP)"
)
_NOT_S3 = (
    "is its address right? ORCHARD_STORE_ENDPOINT is the address of S3's API, not of the store's console, a web page or a "
    "proxy's log-in"
)
_BROKEN = "is its disk full? see its log (the embedded store's: .orchard/store/log)"
_CONDITIONS = (
    "it does not support conditional writes (If-None-Match, If-Match), which keep two publishers apart: use a store that "
    "does (SeaweedFS >= 4.17, AWS S3, R2, Ceph RGW, Google Cloud Storage, Azure)"
)

_NO_S3_RIGHT = ("AccessDenied", "AllAccessDisabled", "Forbidden", "UnauthorizedAccess")

NO_RIGHT = (*_NO_S3_RIGHT, *NO_CLOUD_RIGHT)
"""The codes for a key that the store knows, and that has no right to the request."""

_ABSENT = ("", "NoSuchKey", "BlobNotFound")
"""The codes that say that the object is absent, and not its bucket."""

_Advice = tuple[type[StoreError], str]

_CODES: dict[str, _Advice] = {
    **dict.fromkeys(
        _NO_S3_RIGHT,
        (
            StoreDenied,
            "the store knows the key, and the key has no right to do this: is the bucket's name right (ORCHARD_STORE_URL)? "
            f"Else give the key the right, or check {_KEYS}",
        ),
    ),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"),
        (StoreDenied, f"the store does not know the access key: check {_KEYS}, and that the key is one of this store"),
    ),
    "SignatureDoesNotMatch": (
        StoreDenied,
        "the secret key is not that of the access key: look for a missing or additional character in "
        "ORCHARD_STORE_CREDENTIALS_FILE; if it is right, does a proxy change the requests or their Host?",
    ),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"), (StoreDenied, _CLOCK)),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
        (
            StoreDenied,
            "the temporary credentials have ended: write new ones to ORCHARD_STORE_CREDENTIALS_FILE (a running program "
            "reads it again)",
        ),
    ),
    "InvalidToken": (
        StoreDenied,
        "aws_session_token in ORCHARD_STORE_CREDENTIALS_FILE is not that of the access key: write all three new",
    ),
    "MissingSecurityHeader": (StoreDenied, f"the request was not signed: check {_KEYS}"),
    **dict.fromkeys(
        (
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "PermanentRedirect",
            "TemporaryRedirect",
            "Redirect",
            "InvalidRegion",
        ),
        (StoreError, _REGION),
    ),
    "NoSuchBucket": (
        StoreError,
        "is the bucket there, and its name right? create it, or set ORCHARD_STORE_URL to another one",
    ),
    "InvalidBucketName": (
        StoreError,
        "ORCHARD_STORE_URL is s3://BUCKET, with 3 to 63 lower-case letters, digits, hyphens and dots",
    ),
    "NotImplemented": (StoreError, "it does not support this request: use another store, or a newer version of it"),
    "MethodNotAllowed": (StoreError, _NOT_S3),
    **dict.fromkeys(
        ("SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests", "ServerBusy"),
        (StoreUnavailable, _BUSY),
    ),
    **dict.fromkeys(
        (
            "XMinioStorageFull",
            "XMinioAdminBucketQuotaExceeded",
            "QuotaExceeded",
            "InsufficientStorage",
            "StorageQuotaExceeded",
            "ServiceQuotaExceeded",
            "InsufficientCapacity",
        ),
        (StoreError, _FULL),
    ),
    **dict.fromkeys(("EntityTooLarge", "MaxMessageLengthExceeded"), (StoreError, _LIMIT)),
    **dict.fromkeys(
        ("RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"),
        (StoreUnavailable, "the request was slow or damaged on its way: try again; does a proxy change the requests?"),
    ),
    **dict.fromkeys(
        ("ConditionalRequestConflict", "OperationAborted"),
        (StoreUnavailable, "another request changed the same object at this moment: try again"),
    ),
    "InvalidObjectState": (StoreError, "the object is archived: restore it to a storage class that answers at once"),
}

_STATUSES: dict[int, _Advice] = {
    401: (StoreDenied, f"check {_KEYS}, and the rights of that key"),
    403: (StoreDenied, f"check {_KEYS}, and the rights of that key"),
    405: (StoreError, _NOT_S3),
    407: (StoreError, "the proxy requires a name and a password: HTTP_PROXY=http://NAME:PASSWORD@HOST:PORT"),
    408: (StoreUnavailable, "try again; is the connection slow?"),
    413: (StoreError, _LIMIT),
    429: (StoreUnavailable, _BUSY),
    501: (StoreError, "it does not support this request: use another store, or a newer version of it"),
    502: (StoreUnavailable, "a proxy before the store reports that the store does not run: see the store's log"),
    503: (StoreUnavailable, "the store, or a proxy before it, is busy or starting: try again; see its log"),
    504: (StoreUnavailable, "a proxy before the store reports that the store does not answer: see the store's log"),
    507: (StoreError, _FULL),
}

_HTTPS_PORT = re.compile(r"HTTP request (?:was sent )?to (?:an )?HTTPS (?:port|server)", re.IGNORECASE)


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text from outside for a message: on one line, without control characters, credentials and signatures."""
    words = " ".join(_SECRETS.sub("…", text[: 20 * longest]).split())
    safe = "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in words)
    return safe if len(safe) <= longest else safe[: longest - 1] + "…"


def _element(body: str, name: str) -> str:
    match = re.search(rf"<{name}>([^<]*)</{name}>", body)
    return html.unescape(match[1]).strip() if match else ""


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """An answer that is not a success.

    Attributes:
        status: the HTTP status.
        code: S3's code; empty: the answer is not an error document of S3.
        text: the store's message, or what else the body is, fit for a message.
        region: the region that it names.
        empty: there is no body, as after HEAD.
    """

    status: int
    code: str = ""
    text: str = ""
    region: str = ""
    empty: bool = False

    @classmethod
    def parse(cls, status: int, body: str) -> StoreAnswer:
        """Read the body of an answer, from whoever it comes."""
        start = body[:_LONGEST_BODY].lstrip("\ufeff \t\r\n")
        if not start:
            return cls(status, empty=True)
        if start.startswith(("<?xml", "<Error", "<DeleteResult")) and (code := _element(start, "Code")):
            text = ": ".join(filter(None, (_element(start, "Message"), _element(start, "Details"))))
            return cls(status, printable(code, 80), printable(text), printable(_element(start, "Region"), 40))
        if _HTTPS_PORT.search(start):
            return cls(status, "HttpsExpected", printable(start, 100))
        if re.match(r"<!doctype html|<html|<head|<body", start, re.IGNORECASE):
            title = re.search(r"<title[^>]*>([^<]*)", start, re.IGNORECASE)
            return cls(
                status, text=f"a web page, {printable(html.unescape(title[1]), 100)!r}" if title else "a web page"
            )
        return cls(status, text=printable(start, 150))

    @property
    def is_s3(self) -> bool:
        """Whether it can be an answer of a store: an error document, as S3's, Google's and Azure's are, or no body."""
        return bool(self.code) or self.empty

    @property
    def is_about_object(self) -> bool:
        """Whether it says something about the object, if it says that something is absent or not as expected."""
        if self.status == 412:
            return not self.code.startswith(LEASE)
        return self.is_s3 and self.code in _ABSENT

    def __str__(self) -> str:
        """Return the answer for a message: S3's code, else the status, and the store's text."""
        try:
            status = f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            status = str(self.status)
        return ": ".join(filter(None, (self.code or status, self.text)))


def advice_for(answer: StoreAnswer, *, conditional: bool = False, scheme: str = S3.scheme) -> _Advice:
    """Return the kind of error that an answer is, and what to do.

    Args:
        answer: the answer.
        conditional: the request was a conditional write.
        scheme: of the store's URL.
    """
    codes, statuses = CLOUD_CODES.get(scheme, {}), CLOUD_STATUSES.get(scheme, {})
    if answer.code in codes:
        return codes[answer.code]
    if answer.is_s3 and answer.code not in _CODES and answer.status in statuses:
        return statuses[answer.status]
    if answer.region and (300 <= answer.status < 400 or _CODES.get(answer.code, (None, ""))[1] == _REGION):
        return StoreError, f"set ORCHARD_STORE_REGION={answer.region}: the bucket is there"
    if conditional and (answer.status in (405, 501) or answer.code == "NotImplemented"):
        return StoreError, _CONDITIONS
    if answer.code in _CODES:
        return _CODES[answer.code]
    if answer.code == "HttpsExpected":
        return StoreError, "it speaks TLS: ORCHARD_STORE_ENDPOINT must begin with https://"
    if answer.status in _STATUSES:
        kind, hint = _STATUSES[answer.status]
        return kind, hint if answer.is_s3 or kind is StoreUnavailable or answer.status == 407 else f"{_NOT_S3}; {hint}"
    if answer.status >= 500:
        return StoreUnavailable, _BROKEN
    if 300 <= answer.status < 400:
        return StoreError, _REGION
    return StoreError, "" if answer.code else _NOT_S3
