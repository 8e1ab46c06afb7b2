"""The error of a request or a version: TensorFlow's status codes and their HTTP statuses."""

from __future__ import annotations

from serving.status_codes import StatusCode

__all__ = ["HTTP_STATUS", "ServingError", "invalid"]

HTTP_STATUS = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.UNKNOWN: 500,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.INTERNAL: 500,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DATA_LOSS: 500,
    StatusCode.UNAUTHENTICATED: 401,
}


class ServingError(Exception):
    """A request or a version cannot be served.

    Args:
        code: the status code.
        message: TF Serving's text where TF Serving has this error.
        http_status: the HTTP status, if it is not the code's own (413, 415 …).
        retry_after: seconds after which a retry may succeed; None: a retry fails too.
    """

    def __init__(
        self, code: StatusCode, message: str, *, http_status: int | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status or HTTP_STATUS[code]
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Return the code's name and the message, as TensorFlow formats a status."""
        return f"{self.code.name}: {self.message}"


def invalid(message: str) -> ServingError:
    """Return an INVALID_ARGUMENT error: the request is invalid, and a retry fails too."""
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
