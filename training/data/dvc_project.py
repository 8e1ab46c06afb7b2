"""The DVC project that a dataset folder belongs to: its configuration, its lock, and DVC's repository object without its logs.

DVC runs in this process, not as a command: its import takes 0.6 s, a command 2 to 3 s, and an ingest needs two
commands. The project is the folder that holds `data/`: a checkout, a pod's folder or the demo's workspace, with or
without git.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from orchard.disk import explain, writing_to
from orchard.errors import ConflictError, DataError, SettingsError
from orchard.files import atomic_write
from orchard.overrides import find_conflict
from orchard.settings import Settings
from orchard.store.authorities import authority_file
from orchard.store.clouds import AZURE, GCS, account_of, bucket_of, cloud_of

__all__ = [
    "DATA",
    "PREFIX",
    "REMOTE",
    "cache_folder",
    "configure",
    "init",
    "is_outside_git",
    "open_project",
    "project_of",
    "remote",
    "require_no_link",
    "retry_while_locked",
]

DATA = Path("data")
"""The folder of all datasets, relative to the project, in which commands run."""

REMOTE = "store"
PREFIX = "dvc"
"""The prefix of DVC's remote in the bucket."""

LOCK_SECONDS = 60.0

T = TypeVar("T")

_CONFIG = f"""[core]
    remote = {REMOTE}
    analytics = false
    check_update = false
['remote "{REMOTE}"']
    url = s3://orchard/{PREFIX}
    verify = true
"""
_IGNORED = """# Folders that DVC does not search.
.venv/
.orchard/
*_cache/
"""


def project_of(folder: Path) -> Path:
    """Return the DVC project of a dataset folder ``<project>/data/<name>``, whatever is behind links in that path."""
    return folder.absolute().parent.parent


def require_no_link(*paths: Path) -> None:
    """Raise `DataError` if a folder that DVC is to track, or one above it in the project, is a link. Nothing is written."""
    for path in paths:
        if path.is_symlink():
            raise DataError(
                f"{path} is a link to {path.readlink()}, and DVC tracks nothing behind links; nothing was written",
                hint=f"make {path} a real folder. To keep the photos on another disk, keep the whole project there, or mount "
                "that disk here; `dvc cache dir FOLDER` moves DVC's cache alone",
            )


def init(project: Path) -> None:
    """Make a folder a DVC project with the remote `store`; a second call changes nothing.

    Writes the files of `dvc init`. None of them is specific to this machine, so all of them may be committed.
    """
    (project / ".dvc").mkdir(parents=True, exist_ok=True)
    files = {".dvc/config": _CONFIG, ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n", ".dvcignore": _IGNORED}
    for name, text in files.items():
        if not (project / name).exists():
            atomic_write(project / name, text)


def remote(project: Path, settings: Settings) -> None:
    """Set the project's remote to the store of the settings, in `.dvc/config.local`, which git ignores.

    The file holds only the *path* of the credentials file. `dvc pull` by hand needs dvc-gs or dvc-azure for the stores of
    Google and Azure; Orchard's own transfer needs neither.

    Raises:
        SettingsError: no store is set, or the project's DVC configuration is malformed.
    """
    settings.require("store_url")
    if str(settings.store_url) == "memory://":
        raise SettingsError(
            f"DVC cannot keep data in {settings.store_url}; ORCHARD_STORE_URL must be s3://BUCKET, gs://BUCKET or az://CONTAINER"
        )
    options = {"url": f"{settings.store_url}/{PREFIX}", "verify": "true", "jobs": "8", **_cloud_options(settings)}
    init(project)
    _edit_local(project, {}, {name: value for name, value in options.items() if value is not None})


def _cloud_options(settings: Settings) -> dict[str, str | None]:
    """Return the options of DVC's remote that its kind of store has; None: unset."""
    credentials, authorities = settings.store_credentials_file, authority_file(settings)
    path = None if credentials is None else str(credentials.resolve())
    cloud = cloud_of(settings)
    if cloud is GCS:
        return {"endpointurl": settings.store_endpoint, "credentialpath": path}
    if cloud is AZURE:
        return {"url": f"azure://{bucket_of(settings)}/{PREFIX}", "account_name": account_of(settings)}
    return {
        "region": settings.store_region,
        "endpointurl": settings.store_endpoint,
        "credentialpath": path,
        "profile": None if credentials is None else settings.store_profile,
        "ssl_verify": None if authorities is None else str(authorities.path.resolve()),
        "connect_timeout": "5",
        "read_timeout": "10",
    }


def is_outside_git(project: Path) -> bool:
    """Whether a folder is in no git repository: there is none, or git ignores this folder (as it does the demo's)."""
    if (project / ".git").exists():
        return False
    if not any((parent / ".git").exists() for parent in project.parents):
        return True
    with suppress(FileNotFoundError):
        command = ["git", "-C", str(project.parent), "check-ignore", "--quiet", project.name]
        return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0  # noqa: S603
    return True


def _edit_local(project: Path, core: Mapping[str, str], store: Mapping[str, str] | None = None) -> None:
    """Set values of `.dvc/config.local`; `store` replaces the whole remote. Other values stay. No change writes nothing."""
    from dvc.config import Config, ConfigError

    path = project / ".dvc" / "config.local"
    try:
        current = Config.load_file(str(path)) if path.exists() else {}
        desired = {"core": {**current.get("core", {}), **core}, "remote": dict(current.get("remote", {}))}
        if store is not None:
            desired["remote"][REMOTE] = dict(store)
        if any(current.get(name, {}) != values for name, values in desired.items()):
            with Config(str(project / ".dvc"), validate=False).edit("local") as local:
                local.update(desired)
    except ConfigError as error:
        raise SettingsError(f"the DVC configuration in {project / '.dvc'} is malformed: {error}") from error


def configure(folder: Path, settings: Settings | None = None) -> Path:
    """Configure the project of a dataset folder for DVC, with the remote of the settings; return the project."""
    project = project_of(folder)
    init(project)
    site = project / ".dvc" / "tmp" / "site"  # not the machine's: a pod has none, and two stores may have the same name
    _edit_local(project, {"no_scm": str(is_outside_git(project)).lower(), "site_cache_dir": str(site)})
    if settings is not None:
        remote(project, settings)
    return project


def cache_folder(project: Path) -> Path:
    """Return the folder of DVC's cache, as DVC reads it from its configuration of the system, the user and the project.

    Where DVC is not installed, nobody else uses a cache: it is the default one.

    Raises:
        SettingsError: the configuration is malformed, or the cache is not a folder.
    """
    try:
        from dvc.config import Config, ConfigError
    except ModuleNotFoundError:
        return project / ".dvc" / "cache"
    try:
        config = Config(str(project / ".dvc"), validate=False)
    except ConfigError as error:
        raise SettingsError(f"the DVC configuration in {project / '.dvc'} is malformed: {error}") from error
    configured = str(config["cache"].get("dir") or project / ".dvc" / "cache")
    if "://" in configured:
        raise SettingsError(f"DVC's cache {configured} is not a folder", hint="`dvc cache dir FOLDER` names one")
    return Path(configured)


@contextmanager
def open_project(folder: Path, settings: Settings | None = None) -> Iterator[Any]:
    """Open the DVC project of a dataset folder, with the remote of the settings and without DVC's logs."""
    project = configure(folder, settings)
    _require_merged(project)
    with _quiet(), writing_to(project / ".dvc"):
        from dvc.repo import Repo

        repo = Repo(str(project))
        try:
            yield repo
        finally:
            repo.close()


def _require_merged(project: Path) -> None:
    """Raise `DataError` if git left a conflict in a file that DVC reads: DVC's own error does not name it."""
    for path in (*sorted(project.glob("*/*.dvc")), project / "dvc.yaml", project / "dvc.lock"):
        with suppress(OSError):
            line = find_conflict(path.read_text(encoding="utf-8", errors="replace"))
            if line:
                raise DataError(
                    f"{path} has a merge conflict of git, in line {line}",
                    hint=f"keep one side, such as `git checkout --theirs {path}`, then `git add` it; `orchard pull` fetches its photos",
                )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence DVC's logs: a verb prints one result, and our own errors report what failed."""
    import dvc  # its import configures its loggers
    from dvc.logger import set_loggers_level

    assert dvc  # noqa: S101
    with set_loggers_level(logging.CRITICAL):
        yield


def retry_while_locked(call: Callable[[], T]) -> T:
    """Call DVC. While another DVC command holds the project, try again, for at most `LOCK_SECONDS`."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return call()
        except LockError as error:  # raised after DVC has waited 3 s
            if time.monotonic() > deadline:
                raise ConflictError(
                    f"another DVC command has held this project for {LOCK_SECONDS:.0f} s",
                    hint="wait for it; if no command is running, remove .dvc/tmp/rwlock",
                ) from error
        except DvcException as error:
            if problem := explain(error):
                raise problem from error
            raise DataError(f"DVC refused: {error}") from error
