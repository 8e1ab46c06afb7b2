"""A real PostgreSQL for tests: its own folder, a free port, and a signal that stops it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2

from tests.free_ports import free_ports

_NOBODY = 65534
_SECONDS = 60.0


class PostgreSQL:
    """A server with the user and the database `airflow`, without authentication on loopback. A context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="orchard-postgres-"))
        # it refuses to run as root
        self._as: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        if self._as:
            os.chown(self.folder, _NOBODY, _NOBODY)
        self.port = free_ports()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        """Whether its programs are on the PATH."""
        return all(shutil.which(name) for name in ("initdb", "postgres"))

    def address(self, database: str = "airflow", driver: str = "+psycopg2") -> str:
        """Return its address, as in Airflow's setting."""
        return f"postgresql{driver}://airflow:any@127.0.0.1:{self.port}/{database}"

    def execute(self, query: str, *values: Any, database: str = "airflow") -> list[tuple[Any, ...]]:
        """Run one statement; returns its rows, if it has any."""
        connection = psycopg2.connect(self.address(database, driver=""))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def __enter__(self) -> PostgreSQL:
        data = self.folder / "data"
        subprocess.run(
            ["initdb", "--auth=trust", "--username=airflow", "--no-sync", "--no-locale", "--encoding=UTF8", str(data)],
            check=True, capture_output=True, cwd=self.folder, **self._as,
        )  # fmt: skip
        command = ["postgres", "-D", str(data), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-c", "fsync=off"], stdout=log, stderr=log, cwd=self.folder, **self._as
            )
        try:
            self._await()
        except BaseException:
            self.__exit__()
            raise
        self.execute("CREATE DATABASE airflow", database="postgres")
        return self

    def _await(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                psycopg2.connect(self.address("postgres", driver="")).close()
                return
            except psycopg2.OperationalError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def __exit__(self, *error: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)
