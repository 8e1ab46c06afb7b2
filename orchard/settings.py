"""Settings: the ORCHARD_* variables of the environment and of `.env`, read once at a program's start.

The parameters of the model are in params.yaml, of which only the project's name is read here: it is the default of two
settings. Those of a deployment are in the chart's values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from orchard import env_files
from orchard.channel_names import DEFAULT_CHANNELS, nearest_channel, parse_channels
from orchard.env_files import PREFIX, nearest
from orchard.errors import SettingsError
from orchard.key_names import NAME, RUN_ID
from orchard.project_name import project_name
from orchard.running_store import found_here

__all__ = [
    "PREFIX",
    "Settings",
    "apply_files",
    "from_project",
    "from_running_store",
    "load",
    "read_env_file",
    "value_text",
    "variable",
]

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_IMAGE_PREFIX = r"^[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*/?$"
"""A registry's address, with or without a path in it: what stands before the name of an image."""

_SCHEMES = {"s3": "BUCKET", "gs": "BUCKET", "az": "CONTAINER"}


class Settings(BaseSettings):
    """Every setting, with its default. `orchard settings` prints them; docs/reference/settings.md explains each."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, str_strip_whitespace=True
    )

    store_url: str | None = Field(
        None,
        description="the bucket, as s3://NAME, gs://NAME (Google) or az://CONTAINER (Azure); memory:// holds objects in this "
        "process only",
    )
    store_endpoint: str | None = Field(
        None, description="http(s)://HOST:PORT of an S3 that is not AWS, or of another address of Google's or Azure's"
    )
    store_region: str = Field("us-east-1", description="the region that requests are signed for")
    store_credentials_file: Path | None = Field(
        None,
        description="an AWS-style credentials file, with gs:// the JSON file of an account (read again when it changes); "
        "unset: the cloud's own variables, or its identity",
    )
    store_profile: str = Field("default", description="the profile in that file")
    store_ca_file: Path | None = Field(
        None,
        description="the PEM file of the authority that signed an https store's certificate, trusted besides the system's "
        "(read again when it changes); unset: AWS_CA_BUNDLE, else REQUESTS_CA_BUNDLE, else SSL_CERT_FILE",
    )
    model: str = Field(
        "fruits",
        pattern=NAME,
        description="the model's name in the registry and at the server; unset: data.name of the nearest params.yaml",
    )
    dataset: str = Field(
        "fruits",
        pattern=NAME,
        description="the dataset's name in the store and under data/; unset: data.name of the nearest params.yaml",
    )
    photos: Path | None = Field(
        None,
        description="the photos that `orchard ingest` and `orchard run` take where none are named: a folder or an archive",
    )
    labels: Path | None = Field(
        None, description="the label file of `photos`: here, or in them; none: their folders name the classes"
    )
    channels: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_CHANNELS,
        description="the channels, with commas between them; sync and the router serve these, and a promotion to any other name "
        "is an error unless the store has that channel",
    )
    channel: str = Field("stable", description="the channel that verbs act on, one of ORCHARD_CHANNELS")
    signing_key_file: Path | None = Field(
        None, description="the Ed25519 private key (PEM) that signs what is published"
    )
    trusted_keys_file: Path | None = Field(None, description="the trusted Ed25519 public keys (PEM, one or more)")
    serving_dir: Path = Field(
        Path(".orchard/serving"), description="the folder of verified versions: sync writes it, the engine reads it"
    )
    images: str | None = Field(
        None,
        pattern=_IMAGE_PREFIX,
        description="where Orchard's own images are for `orchard deploy`, as HOST/PATH; this machine and the cluster pull from it; "
        "unset: this machine's Docker, else the cluster's registry",
    )
    image_registry: str | None = Field(
        None,
        pattern=_IMAGE_PREFIX,
        description="where `orchard deploy` pushes a project's image, as HOST/PATH; unset: the registry beside a local cluster, "
        "else the nodes of a kind cluster",
    )
    server_url: str = Field("http://127.0.0.1:8501", description="the model server's REST address")
    capture: float = Field(
        0.0,
        ge=0,
        le=100,
        description="the share of the photos, in percent, that `orchard serve` stores with their predictions; 0: none",
    )
    webhooks_file: Path | None = Field(
        None, description="the file of webhook receivers, to which `orchard notify` sends events"
    )
    run_id: str | None = Field(
        None,
        pattern=RUN_ID,
        description="the run that a verb belongs to; a retry with the same id finds its result",
    )
    step_summary: Path | None = Field(
        None, description="the file for the summary of `orchard step`, one line of JSON, for a scheduler"
    )
    actor: str | None = Field(None, description="the actor in manifests and histories; unset: user@host")
    log_format: Literal["text", "json"] = Field("text", description="how long-running programs log")
    env_file: str | None = Field(
        None,
        description="a file with ORCHARD_* variables; none: no file is read; unset: .env in the working directory or above it",
    )

    @field_validator("store_url")
    @classmethod
    def _known_scheme(cls, value: str | None) -> str | None:
        if value is None or value == "memory://":
            return value
        parts = urlsplit(value)
        if parts.scheme not in _SCHEMES or not parts.netloc:
            raise ValueError("expected s3://BUCKET, gs://BUCKET, az://CONTAINER or memory://")
        expected = f"expected {parts.scheme}://{_SCHEMES[parts.scheme]}"
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"{expected}: a whole bucket, without a folder in it")
        if not _BUCKET.fullmatch(parts.netloc):
            raise ValueError(f"{expected}, a name of letters, digits, hyphens and dots; keys belong in a file")
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator("channels", mode="before")
    @classmethod
    def _channel_names(cls, value: str | Iterable[str]) -> tuple[str, ...]:
        return parse_channels(value)

    @field_validator("store_endpoint", "server_url")
    @classmethod
    def _http_address(cls, value: str | None) -> str | None:
        if value is None:
            return value
        parts = urlsplit(value)
        if "://" not in value:
            raise ValueError("expected http(s)://HOST[:PORT]: http:// or https:// is missing")
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("expected http(s)://HOST[:PORT]")
        if parts.username is not None:
            raise ValueError("expected http(s)://HOST[:PORT], without a name and a password")
        if any(letter.isspace() or not letter.isprintable() for letter in value):
            raise ValueError("expected http(s)://HOST[:PORT], without white space")
        if parts.port == 0:
            raise ValueError("expected http(s)://HOST[:PORT], with a port from 1 to 65535")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _known_channel(self) -> Self:
        if self.channel not in self.channels:
            raise ValueError(
                f"ORCHARD_CHANNEL is {self.channel!r}, which ORCHARD_CHANNELS does not have: it has {', '.join(self.channels)}"
                + nearest_channel(self.channel, self.channels)
            )
        return self

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.store_url == "memory://" and (self.store_endpoint or self.store_credentials_file):
            raise ValueError(
                "ORCHARD_STORE_URL=memory:// contradicts ORCHARD_STORE_ENDPOINT and ORCHARD_STORE_CREDENTIALS_FILE: "
                "a store in memory has neither; unset them or name a bucket"
            )
        if (self.store_url or "").startswith("az://") and self.store_credentials_file:
            raise ValueError(
                "ORCHARD_STORE_URL=az://… contradicts ORCHARD_STORE_CREDENTIALS_FILE: Azure has no such file; its credentials "
                "are AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or the managed identity"
            )
        if self.store_ca_file is not None and (self.store_endpoint or "").startswith("http://"):
            raise ValueError(
                "ORCHARD_STORE_CA_FILE is for a store with TLS, and ORCHARD_STORE_ENDPOINT begins with http://: "
                "let it begin with https://, or unset the file"
            )
        if self.store_endpoint and self.store_url and self.store_url.startswith("s3://"):
            self._check_bucket_is_not_in(urlsplit(self.store_endpoint), self.store_url.removeprefix("s3://"))
        return self

    @staticmethod
    def _check_bucket_is_not_in(endpoint: SplitResult, bucket: str) -> None:
        """Check that the endpoint does not name the bucket too: each request would name it twice."""
        host = endpoint.hostname or ""
        in_host = host.startswith(f"{bucket}.s3") and host.endswith(".amazonaws.com")
        if in_host or endpoint.path.strip("/").split("/")[-1] == bucket:
            raise ValueError(
                f"ORCHARD_STORE_ENDPOINT names the bucket {bucket} too: expected http(s)://HOST[:PORT], without the bucket"
            )

    def require(self, *names: str) -> None:
        """Check that settings without a default are set.

        Args:
            names: field names, for example ``"store_url"``.

        Raises:
            SettingsError: settings are missing; the message names all of them.
        """
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            lines = [f"  {variable(name)}: {type(self).model_fields[name].description}" for name in missing]
            raise SettingsError(
                "not set:\n" + "\n".join(lines),
                hint="in a folder with an embedded store `orchard store run` in another terminal runs it, or `orchard store run -- "
                'COMMAND` for one command; `eval "$(orchard store env --dir DIR)"` sets that of another folder; '
                "`orchard settings` shows all settings",
            )


def value_text(value: object) -> str:
    """Return the value of a setting as a variable has it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def variable(name: str) -> str:
    """Return the variable of a setting: ``ORCHARD_STORE_URL`` for ``store_url``."""
    return PREFIX + name.upper()


def apply_files() -> None:
    """Put the settings of `.env` into this process's environment, for it and its children; see `orchard.env_files`.

    Raises:
        SettingsError: the file cannot be read or is invalid.
    """
    env_files.apply(env_files.find(), *_known())


def _known() -> tuple[set[str], set[str]]:
    """Return the variables of all settings, and of those whose value is a path."""
    fields = {variable(name): field.annotation for name, field in Settings.model_fields.items()}
    return set(fields), {name for name, kind in fields.items() if Path in (kind, *get_args(kind))}


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a `.env` file, by name; nothing is put into the environment.

    Raises:
        SettingsError: the file cannot be read or is invalid.
    """
    return {name: value.text for name, value in env_files.read_file(path, *_known()).items()}


def _unknown(environ: dict[str, str]) -> list[str]:
    known, _ = _known()
    return [
        f"  {name}: no such setting{nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known
    ]


def _shown(value: object) -> str:
    """Return a value for a message, without a name and a password that it should not have."""
    return repr(re.sub(r"(?<=://)[^/]*@", "…@", str(value)) if isinstance(value, str) else value)


def from_project(environ: dict[str, str]) -> dict[str, str]:
    """Return the settings that the project in the working folder names, and the environment does not."""
    unset = [name for name in ("model", "dataset") if not environ.get(variable(name), "").strip()]
    name = project_name(Path.cwd()) if unset else None
    return dict.fromkeys(unset, name) if name else {}


def from_running_store(environ: dict[str, str]) -> dict[str, str]:
    """Return the settings of the embedded store that runs in the working folder, if the environment names no store."""
    return {name.removeprefix(PREFIX).lower(): value for name, value in found_here(environ).items()}


def _described(location: tuple[int | str, ...], message: str, value: object) -> str:
    """Return a line on an invalid setting, or on settings that contradict each other."""
    text = message.removeprefix("Value error, ")
    if not location:
        written = {name: env_files.origin(name) for name in sorted(set(re.findall(rf"{PREFIX}[A-Z_]+", text)))}
        return f"  {text}" + "".join(
            f"\n    {name} is set in {where}; an empty {name} in the environment unsets it"
            for name, where in written.items()
            if where
        )
    name = variable(str(location[0]))
    source = env_files.origin(name)
    return f"  {name}: {text} (it is {_shown(value)}{f', in {source}' if source else ''})"


def load() -> Settings:
    """Read the settings from the environment and, for what is not in it, from `.env`.

    Where neither has them, the names are the project's and the store is the embedded one that runs in the working folder.

    Raises:
        SettingsError: variables are unknown, malformed or contradictory; the message names all of them.
        ParamsError: the project's name is needed and cannot be read.
    """
    apply_files()
    problems = _unknown(dict(os.environ))
    settings = None
    try:
        environ = dict(os.environ)
        settings = Settings(**from_project(environ), **from_running_store(environ))  # type: ignore[arg-type]  # the rest: defaults or the environment
    except ValidationError as error:
        problems += [_described(item["loc"], item["msg"], item["input"]) for item in error.errors()]
    if problems or settings is None:
        raise SettingsError(
            "the settings are invalid:\n" + "\n".join(problems),
            hint="`orchard settings` lists every setting and its meaning",
        )
    return settings
