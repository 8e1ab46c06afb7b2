"""Amazon's S3 client (botocore), for the few requests that obstore does not support.

It is slow to import, so it is imported only when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchard.errors import StoreDenied, StoreError, StoreUnavailable
from orchard.settings import Settings
from orchard.store.objects import read_credentials

__all__ = ["client", "send_request"]


def client(settings: Settings, attempts: int = 2) -> Any:
    """Return a botocore client of the settings' store; no request is made yet.

    Args:
        settings: the settings; without a credentials file the cloud's own identity is used.
        attempts: how often a request is sent at most.

    Raises:
        SettingsError: the credentials file is invalid.
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
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=settings.store_endpoint,
        region_name=settings.store_region,
        **keys,
        config=Config(
            connect_timeout=5,
            read_timeout=20,
            retries={"total_max_attempts": attempts},
            s3={"addressing_style": "path" if settings.store_endpoint else "auto"},
        ),
    )


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
    from botocore.exceptions import BotoCoreError, ClientError

    where = f"{settings.store_url} at {settings.store_endpoint or 'AWS'}"
    try:
        call(client(settings, attempts))
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in accepted:
            return False
        if status in (401, 403):
            raise StoreDenied(f"{where} refused to {what}: {code}", hint="has the key the right to do that?") from error
        if status >= 500:
            raise StoreUnavailable(f"{where} failed to {what}: {code}") from error
        raise StoreError(f"{where} refused to {what}: {error}") from error
    except BotoCoreError as error:
        raise StoreUnavailable(
            f"{where} did not answer: {error}", hint="is the store running and ORCHARD_STORE_ENDPOINT right?"
        ) from error
    return True
