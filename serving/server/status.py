"""What a request or a version fails with: TensorFlow's status codes, in HTTP too."""

from __future__ import annotations

from serving.status_codes import Code

__all__ = ["HTTP_STATUS", "REASONS", "ServingError", "invalid"]

HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class ServingError(Exception):
    """A request, or a version, that cannot be served.

    Args:
        code: what kind of error it is.
        message: TF Serving's words where TF Serving has this error.
        http_status: the HTTP status, where it is not the code's own (413, 415 …).
        retry_after: seconds after which trying again is worth it; None: it will fail again.
    """

    def __init__(
        self, code: Code, message: str, *, http_status: int | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status or HTTP_STATUS[code]
        self.retry_after = retry_after

    def __str__(self) -> str:
        """As TensorFlow writes a status: the code's name and the message."""
        return f"{self.code.name}: {self.message}"


def invalid(message: str) -> ServingError:
    """An INVALID_ARGUMENT: the request is wrong and stays wrong."""
    return ServingError(Code.INVALID_ARGUMENT, message)
