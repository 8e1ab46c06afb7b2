"""The file of receivers: where events go. It names files of secrets and has none itself.

A Slack URL is a secret, too: `url_file` names a file that has it. Messages name a receiver by its name, and its URL without
path and query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchard.errors import ParamsError, SettingsError
from orchard.key_names import NAME
from orchard.overrides import read_yaml
from orchard.webhooks.webhook_events import EVENT_TYPES, FORMS
from orchard.webhooks.webhook_signature import read_secrets

__all__ = ["WebhookReceiver", "read_receivers"]

ALL = "all"
_HINT = "docs/webhooks.md has an example of the file"
_MAX_URL = 2000


class _ReceiverEntry(BaseModel):
    """A receiver as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=NAME)
    url: str | None = None
    url_file: str | None = None
    secret_file: str | None = None
    events: list[str] | str = ALL
    form: str = "cloudevents"
    internal: bool = False
    allow_http: bool = False


@dataclass(frozen=True, slots=True)
class WebhookReceiver:
    """A receiver.

    Attributes:
        name: its name; its deliveries are recorded under it.
        url: where its events go.
        secrets: the keys that sign its messages; none: they are not signed (Slack).
        events: the types that it gets.
        form: the form of the bodies, one of `FORMS`.
        internal: whether it may be on this machine, in a private network or in the cluster.
    """

    name: str
    url: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    events: frozenset[str]
    form: str = "cloudevents"
    internal: bool = False

    @property
    def origin(self) -> str:
        """Its URL without path and query, which may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def read_receivers(path: Path) -> tuple[WebhookReceiver, ...]:
    """Read the file of receivers, and the files that it names; their paths are relative to its folder.

    Raises:
        SettingsError: a file cannot be read, or is invalid; the message names all that is wrong.
    """
    try:
        document = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text in UTF-8"
        raise SettingsError(f"ORCHARD_WEBHOOKS_FILE: {path} cannot be read: {reason}", hint=_HINT) from None
    except ParamsError as error:
        raise SettingsError(error.message, hint=_HINT) from None
    entries = document.get("receivers") if isinstance(document, Mapping) and set(document) == {"receivers"} else None
    if not isinstance(entries, list) or not entries:
        raise SettingsError(
            f"{path} must have a list `receivers`, with a receiver or more, and nothing else", hint=_HINT
        )
    receivers, problems = [], list[str]()
    for number, entry in enumerate(entries, 1):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        try:
            receivers.append(_read_entry(entry, path.parent))
        except SettingsError as error:
            problems.append(f"  {name or f'receiver {number}'}: {error.message}")
    names = [one.name for one in receivers]
    problems += [f"  {name}: the name is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise SettingsError(f"{path} is invalid:\n" + "\n".join(problems), hint=_HINT)
    return tuple(receivers)


def _read_entry(document: Any, folder: Path) -> WebhookReceiver:
    try:
        entry = _ReceiverEntry.model_validate(document)
    except ValidationError as error:
        found = [f"{'.'.join(map(str, item['loc'])) or 'it'}: {item['msg']}" for item in error.errors()[:5]]
        raise SettingsError("; ".join(found)) from None  # pydantic's own text has the values
    problems = [*_misfits(entry)]
    if problems:
        raise SettingsError("; ".join(problems))
    url = entry.url if entry.url is not None else _read_url(folder / str(entry.url_file))
    if problem := _url_problem(url, allow_http=entry.allow_http):
        raise SettingsError(problem)
    secrets = read_secrets(folder / entry.secret_file) if entry.secret_file else ()
    chosen = EVENT_TYPES if entry.events == ALL else entry.events
    return WebhookReceiver(entry.name, url, secrets, frozenset(chosen), entry.form, entry.internal)


def _misfits(entry: _ReceiverEntry) -> list[str]:
    """Return what is wrong with an entry whose values are of the right types."""
    problems = []
    if (entry.url is None) == (entry.url_file is None):
        problems.append("it needs one of url and url_file")
    if entry.form not in FORMS:
        problems.append(f"the form {entry.form!r} is unknown; expected {' or '.join(FORMS)}")
    elif entry.secret_file is None and entry.form != "slack":
        problems.append("secret_file is missing; only a receiver of the form slack does without")
    listed = entry.events if isinstance(entry.events, list) else []
    unknown = [name for name in listed if name not in EVENT_TYPES]
    if entry.events != ALL and (unknown or not listed):
        problems.append(
            f"{', '.join(map(repr, unknown)) or 'its events'}: expected {ALL}, or a list of {', '.join(EVENT_TYPES)}"
        )
    return problems


def _read_url(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text in UTF-8"
        raise SettingsError(f"the file {path} of its URL cannot be read: {reason}") from None


def _url_problem(url: str, *, allow_http: bool) -> str:
    """Return why a URL is not valid; empty: it is. The text has nothing of the URL but its scheme."""
    if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or any(letter.isspace() for letter in url):
        return f"its URL must have at most {_MAX_URL} printable ASCII characters, without white space"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.fragment or parts.username is not None:
        return "its URL must be https://HOST[:PORT][/PATH], without a name and a password"
    if parts.scheme == "http" and not allow_http:
        return "its URL begins with http://: what is sent could be read on the way; https, or allow_http: true"
    return ""
