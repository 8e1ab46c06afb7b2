"""Amazon's own client of S3, for the few requests that the store's other client has no words for.

It is slow to load, so nothing imports it before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchard.errors import StoreDenied, StoreError, StoreUnavailable
from orchard.settings import Settings
from orchard.store.objects import read_credentials

__all__ = ["client", "send_request"]


def client(settings: Settings, attempts: int = 2) -> Any:
    """Make a botocore client of the store that the settings name; no request is made yet.

    Args:
        settings: with a store; without a credentials file the cloud's own identity counts.
        attempts: how often a request is tried in all.

    Raises:
        SettingsError: the credentials file is unreadable.
    """
    import botocore.session
    from botocore.config import Config

    keys: dict[str, str | None] = {}
    if settings.store_credentials_file is not None:
        found = read_credentials(settings.store_credentials_file, settings.store_profile)
        keys = {
            "aws_access_key_id": found["access_key_id"],
            "aws_secret_access_key": found["secret_access_key"],
            "aws_session_token": found["token"],
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
    """Send the store a request.

    Args:
        settings: with a store.
        what: the work, for messages.
        call: makes the request; gets the client.
        accepted: codes of refusals that are no error.
        attempts: how often a request is tried in all.

    Returns:
        False if the store answered with one of the accepted refusals.

    Raises:
        StoreDenied: it refused the credentials.
        StoreUnavailable: it did not answer, or failed.
        StoreError: it refused for another reason.
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
            raise StoreDenied(f"{where} refused to {what}: {code}", hint="is it a key that may do that?") from error
        if status >= 500:
            raise StoreUnavailable(f"{where} failed to {what}: {code}") from error
        raise StoreError(f"{where} refused to {what}: {error}") from error
    except BotoCoreError as error:
        raise StoreUnavailable(
            f"{where} did not answer: {error}", hint="is the store running and ORCHARD_STORE_ENDPOINT right?"
        ) from error
    return True
