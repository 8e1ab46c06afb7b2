"""Amazon's S3 client (botocore), for the few requests that obstore does not support.

It is slow to import, so it is imported only when it is needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchard.errors import StoreError
from orchard.loopback import is_loopback
from orchard.settings import Settings
from orchard.store.answers import StoreAnswer, printable
from orchard.store.authorities import authority_file, read_authorities
from orchard.store.credentials import read_credentials
from orchard.store.failures import FailedRequest

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

__all__ = ["client", "send_request"]


@contextmanager
def client(settings: Settings, attempts: int = 2) -> Iterator[Any]:
    """Open a botocore client of the settings' store; no request is made yet.

    Args:
        settings: the settings; without a credentials file the cloud's own identity is used.
        attempts: how often a request is sent at most.

    Raises:
        SettingsError: the file of the credentials or of the authorities is invalid.
    """
    import botocore.session
    from botocore.config import Config

    keys: dict[str, str | None] = {}
    if settings.store_credentials_file is not None:
        credentials = read_credentials(settings.store_credentials_file, settings.store_profile)
        keys = {
            "aws_access_key_id": credentials["access_key_id"],
            "aws_secret_access_key": credentials["secret_access_key"],
            "aws_session_token": credentials["token"],
        }
    endpoint = settings.store_endpoint
    direct: dict[str, Any] = {"proxies": {}} if endpoint and is_loopback(urlsplit(endpoint).hostname) else {}
    with _bundle(settings) as bundle:
        yield botocore.session.get_session().create_client(
            "s3",
            endpoint_url=endpoint,
            region_name=settings.store_region,
            verify=bundle,
            **keys,
            config=Config(
                connect_timeout=5,
                read_timeout=20,
                retries={"total_max_attempts": attempts},
                s3={"addressing_style": "path" if endpoint else "auto"},
                **direct,
            ),
        )


@contextmanager
def _bundle(settings: Settings) -> Iterator[str | None]:
    """Write the system's authorities and the settings' ones to one file, which is all that botocore accepts."""
    file = authority_file(settings)
    if file is None:
        yield None
        return
    from botocore.httpsession import where

    with tempfile.NamedTemporaryFile(suffix=".pem") as bundle:
        bundle.write(Path(where()).read_bytes() + b"\n" + read_authorities(file))
        bundle.flush()
        yield bundle.name


def send_request(
    settings: Settings, what: str, call: Callable[[Any], Any], accepted: tuple[str, ...] = (), *, attempts: int = 2
) -> bool:
    """Send a request to the settings' store.

    Args:
        settings: the settings.
        what: the work, for messages.
        call: sends the request with the client.
        accepted: error codes that are not errors here.
        attempts: how often a request is sent at most.

    Returns:
        False if the store answered with one of the accepted error codes.

    Raises:
        StoreDenied: the store refused the credentials.
        StoreUnavailable: the store did not answer, or failed.
        StoreError: the store refused for another reason.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    request = FailedRequest(f"to {what}", f"{settings.store_url} at {settings.store_endpoint or 'AWS'}", settings)
    try:
        with client(settings, attempts) as opened:
            call(opened)
    except ClientError as error:
        answer = _answer(error, request)
        if answer.code in accepted:
            return False
        raise request.refused(answer) from error
    except ParamValidationError as error:  # no request was sent
        raise StoreError(
            f"{request.store} cannot be requested {request.purpose}: {printable(request.without_keys(str(error)))}"
        ) from error
    except BotoCoreError as error:
        raise request.explain(f"{type(error).__name__}: {error}: {error.kwargs.get('error', '')}") from error
    return True


def _answer(error: ClientError, request: FailedRequest) -> StoreAnswer:
    """Return the store's answer. Where there is no error document, botocore's code is the status."""
    details = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    code, status = str(details.get("Code", "")), int(metadata.get("HTTPStatusCode", 0))
    headers = metadata.get("HTTPHeaders", {})
    region = str(details.get("Region") or headers.get("x-amz-bucket-region") or "")
    known = "" if code == str(status) else printable(code, 80)
    text = printable(request.without_keys(str(details.get("Message", ""))))
    return StoreAnswer(status, known, text, printable(region, 40))
