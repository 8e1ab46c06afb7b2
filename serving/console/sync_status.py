"""What sync serves and refuses, from its status page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from orchard.documents import MAX_BYTES, parse
from orchard.errors import ServerError
from orchard.loopback import is_loopback

__all__ = ["read_sync_status"]

_TIMEOUT_S = (1.0, 3.0)


def read_sync_status(url: str | None) -> dict[str, Any] | None:
    """Return what sync's ``/status`` says of channels, refused versions and problems; None: no address is given.

    Raises:
        ServerError: it does not answer, or with something else.
        IntegrityError: its answer is not JSON, or too large.
    """
    if url is None:
        return None
    address = f"{url}/status"
    with requests.Session() as session:
        session.trust_env = not is_loopback(urlsplit(url).hostname)
        try:
            with session.get(address, timeout=_TIMEOUT_S, allow_redirects=False, stream=True) as answer:
                body = answer.raw.read(MAX_BYTES + 1, decode_content=True)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ServerError(f"sync does not answer at {address}") from error
    if answer.status_code != requests.codes.ok:
        raise ServerError(f"sync answered {answer.status_code} at {address}")
    document = parse(body, address)
    channels, refused, problems = (document.get(name) for name in ("channels", "refused", "problems"))
    if not (isinstance(channels, dict) and isinstance(refused, list) and isinstance(problems, dict)):
        raise ServerError(f"{address} is not sync's status page")
    return {
        "ready": document.get("ready") is True,
        "channels": {name: _picked(one, "version", "served", "live", "since") for name, one in channels.items()},
        "refused": [_picked(one, "version", "reason", "final", "at", "judged_again_in_s") for one in refused],
        "problems": {name: str(text) for name, text in problems.items()},
    }


def _picked(item: Any, *names: str) -> dict[str, Any]:
    """The named members of an object; None for those that it lacks."""
    known = item if isinstance(item, dict) else {}
    return {name: known.get(name) for name in names}
