"""Photos as they are: the body of `:predict` is one photo, or a form whose files are photos.

TF Serving reads every body as JSON, whatever its Content-Type. Here a type that cannot be JSON's means a photo, a form, or
a refusal; every other type still means TF Serving's JSON. A photo needs no parsing: the model gets its bytes, and says
itself whether it can decode them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from orchard.savedmodel.signatures import SignatureDef
from orchard.savedmodel.types import STRING
from serving.server.serving_error import ServingError, invalid
from serving.status_codes import StatusCode

__all__ = ["MAX_PHOTOS", "PhotoRequest", "is_binary", "photo_input", "read_photo_head"]

MAX_PHOTOS = 32
"""The most photos of a form: as many as run through the model together."""
_PHOTOS = {"image/jpeg", "image/jpg", "image/png", "image/webp"}
"""With the unregistered name that many programs give JPEG."""
_FORM = "multipart/form-data"
_UNNAMED = {None, "application/octet-stream"}
"""The types of a file whose sender does not know its type."""
_TAKEN = "image/jpeg, image/png or image/webp for one photo, multipart/form-data for several, application/json for TF Serving's JSON"
_BINARY = {"audio", "font", "image", "model", "multipart", "video"}
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
"""RFC 2046, 5.1.1."""
_MAX_HEADERS, _MAX_HEADER_BYTES = 8, 4096
_MAX_PARAMETERS = 8
_TOP = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_LARGE_PHOTO, _LARGE_FORM = 1 << 20, 64 << 10
"""Copying more bytes, and parsing more, would hold up other requests."""


@dataclass(frozen=True, slots=True)
class PhotoRequest:
    """What URL and headers say about a request whose body is photos.

    Attributes:
        boundary: what separates the parts of a form; None: the body is one photo.
        top: how many classes the answer names for each photo, beside the label; 0: none.
    """

    boundary: str | None
    top: int

    def is_large(self, size: int) -> bool:
        """Whether reading a body of so many bytes would hold up the event loop."""
        return size > (_LARGE_PHOTO if self.boundary is None else _LARGE_FORM)

    def read(self, body: bytes | bytearray) -> list[bytes]:
        """Return the photos of a body, unchanged. Raises `ServingError` for an invalid form."""
        return [bytes(body)] if self.boundary is None else _read_form(body, self.boundary)


def is_binary(content_type: str) -> bool:
    """Whether a body of this type cannot be JSON."""
    return content_type.partition("/")[0].strip().lower() in _BINARY


def read_photo_head(method: str, content_type: str, query: str | None) -> PhotoRequest:
    """Read what is known of a request before its body.

    Args:
        method: `predict`, `classify` or `regress`.
        content_type: the header, for which `is_binary` holds.
        query: the query of the URL; None: it has none.

    Raises:
        ServingError: 415 for a type that is not taken; INVALID_ARGUMENT for an invalid query or boundary.
    """
    media, parameters = parse_options_header(content_type)
    if media not in _PHOTOS and media != _FORM:
        raise _unsupported(f"Content-Type {media[:80]} is not supported: send {_TAKEN}")
    if method != "predict":
        raise _unsupported(f":{method} takes JSON; photos and forms go to :predict")
    top = _read_top(query)
    if media != _FORM:
        return PhotoRequest(None, top)
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise invalid(f"Content-Type {_FORM} needs a valid boundary, of 1 to 70 characters")
    return PhotoRequest(boundary, top)


def _unsupported(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message, http_status=415)


def _read_top(query: str | None) -> int:
    try:
        parameters = parse_qsl(query or "", keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        parameters = [("", "")]
    if not parameters:
        return 0
    if [name for name, _ in parameters] != ["top"]:
        raise invalid("With a photo the query may only be top=N, once: the number of classes to name")
    if not _TOP.fullmatch(parameters[0][1]):
        raise invalid("top must be a whole number from 1 to the number of classes")
    return int(parameters[0][1])


def _read_form(body: bytes | bytearray, boundary: str) -> list[bytes]:
    photos: list[bytes] = []
    pieces: list[bytes] = []
    limits = f"a form has at most {MAX_PHOTOS} parts, and a part {_MAX_HEADERS} headers of {_MAX_HEADER_BYTES} bytes"
    try:
        with PushMultipartParser(
            boundary,
            max_header_size=_MAX_HEADER_BYTES,
            max_header_count=_MAX_HEADERS,
            max_segment_count=MAX_PHOTOS,
            strict=True,
        ) as parser:
            for event in parser.parse(body):
                if event is None:
                    photos.append(b"".join(pieces))
                    pieces.clear()
                elif isinstance(event, MultipartSegment):
                    _check_part(event, len(photos) + 1)
                else:
                    pieces.append(event)
    except ParserLimitReached as error:
        raise invalid(f"The form is too large: {error.args[0]}; {limits}") from error
    except MultipartError as error:
        raise invalid(f"The form is not valid {_FORM}: {error.args[0]}") from error
    if not photos:
        raise invalid("The form has no parts: send at least one photo")
    return photos


def _check_part(part: MultipartSegment, number: int) -> None:
    """Check that a part is a photo; its names are neither used nor quoted."""
    if part.content_type in _PHOTOS or (part.filename is not None and part.content_type in _UNNAMED):
        return
    if part.filename is None:
        raise invalid(
            f"Part {number} of the form is not a file: every part must be a photo, and top=N is a part of the URL"
        )
    raise invalid(
        f"Part {number} of the form has a Content-Type that is not supported: send {', '.join(sorted(_PHOTOS - {'image/jpg'}))}"
    )


def photo_input(signature: SignatureDef) -> str:
    """Return the alias of the input that gets the photos. Raises `ServingError` if a signature does not take photos."""
    needed = [alias for alias in signature.inputs if alias not in signature.defaults]
    if len(needed) != 1 or signature.inputs[needed[0]].dtype is not STRING:
        inputs = ", ".join(f"{alias} ({info.dtype.proto})" for alias, info in signature.inputs.items())
        raise invalid(f"The model does not take photos as they are: its inputs are {inputs or 'none'}. Send JSON")
    return needed[0]
