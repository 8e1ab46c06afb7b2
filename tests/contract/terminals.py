"""A reader of the pages: a checkout of their own with drawn photos, and terminals in which they type what a page says."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import yaml

from tests.contract.documented_commands import DocumentedCommand
from tests.free_ports import free_ports

__all__ = ["PageReader", "ReaderTerminal", "reading"]

ROOT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 400.0
CLOSE_SECONDS = 60.0
KEPT = ("LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "TF_CPP_MIN_LOG_LEVEL")


class ReaderTerminal:
    """A new bash, as a window that was just opened: it knows the environment alone.

    Args:
        folder: the working directory.
        environment: its whole environment.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.printed = ""
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder, env=dict(environment), start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, text: str) -> str:
        """Type a command and wait for its end; return what it printed. An exit code other than 0 is an error.

        A command that is a shell (`orchard store run -- bash`) has ended when it takes the next line.
        """
        begin, mark = len(self.printed), self._type_marked(text)
        found = self._wait(rf"\n{mark} (\d+)\n", begin, text)
        output = self.printed[begin : found.start()]
        assert found[1] == "0", f"{text}\nended with {found[1]}:\n{output[-4000:]}"
        return output

    def start(self, text: str, ready: str) -> None:
        """Type a command that runs until Ctrl-C, and wait until it has printed something. Its end before is an error.

        Args:
            text: the command.
            ready: a regular expression of what it prints.
        """
        begin, mark = len(self.printed), self._type_marked(text)
        found = self._wait(rf"{ready}|\n{mark} (?P<code>\d+)\n", begin, text)
        assert not found["code"], f"{text}\nended with {found['code']}:\n{self.printed[begin : found.start()][-4000:]}"

    def _type_marked(self, text: str) -> str:
        """Type a command, and after it a line that prints a mark and the exit code; return the mark."""
        assert self._shell.stdin is not None
        mark = f"ended-{secrets.token_hex(8)}"
        self._shell.stdin.write(f"{text}\nprintf '\\n%s %s\\n' {mark} $?\n".encode())
        self._shell.stdin.flush()
        return mark

    def _wait(self, pattern: str, begin: int, text: str) -> re.Match[str]:
        assert self._shell.stdout is not None
        expression = re.compile(pattern)
        output, deadline = self._shell.stdout.fileno(), time.monotonic() + COMMAND_SECONDS
        while not (found := expression.search(self.printed, begin)):
            arrived, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            assert arrived, f"{text}\nhas not ended after {COMMAND_SECONDS:.0f} s:\n{self.printed[begin:][-4000:]}"
            piece = os.read(output, 65536)
            assert piece, f"{text}\nended the terminal:\n{self.printed[begin:][-4000:]}"
            self.printed += piece.decode(errors="replace")
        return found

    def close(self) -> None:
        """Press Ctrl-C and close the window."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGINT)
        try:
            with contextlib.suppress(BrokenPipeError):
                self._shell.communicate(b"exit\n", timeout=CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class PageReader:
    """Somebody who has a checkout, the environment of `make setup` in it and an empty home, and reads the pages.

    Args:
        folder: an empty folder, for the checkout and the home.
    """

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "orchard"
        self.home = folder / "home"
        self.home.mkdir()
        _make_checkout(self.checkout)
        self.store_port, self.server_port = free_ports(), free_ports()
        self.typed: set[str] = set()
        self._terminals: dict[str, ReaderTerminal] = {}
        self._environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {
            "HOME": str(self.home),
            "PATH": os.pathsep.join(
                part for part in os.environ["PATH"].split(os.pathsep) if not (Path(part) / "orchard").exists()
            ),
            "ORCHARD_SERVER_URL": f"http://127.0.0.1:{self.server_port}",  # another test may use the default's port
            **{
                f"GIT_{who}_{what}": value
                for who in ("AUTHOR", "COMMITTER")
                for what, value in (("NAME", "r"), ("EMAIL", "r@example.org"))
            },
        }

    def open(self, name: str = "") -> ReaderTerminal:
        """Open a new terminal in the checkout; one with a name stays open until `close`."""
        terminal = ReaderTerminal(self.checkout, self._environment)
        if name:
            self._terminals[name] = terminal
        return terminal

    def terminal(self, name: str) -> ReaderTerminal:
        """Return the open terminal of that name, or open it."""
        return self._terminals.get(name) or self.open(name)

    def close(self) -> None:
        """Close all terminals, the last one first."""
        while self._terminals:
            self._terminals.popitem()[1].close()

    def words_for(self, command: DocumentedCommand, changes: Mapping[str, str]) -> str:
        """Return what is typed for a command: this test's ports, and its photos instead of the page's.

        Args:
            command: the command of the page.
            changes: regular expressions, and what replaces them.
        """
        text = command.text
        everywhere = {
            r"^orchard store run$": f"orchard store run --port {self.store_port}",
            r"^orchard sync( --serve)?$": r"orchard sync\1 --port 0",
            r"127\.0\.0\.1:8501": f"127.0.0.1:{self.server_port}",
        }
        for pattern, replacement in {**changes, **everywhere}.items():
            text = re.sub(pattern, replacement, text)
        return text


def _make_checkout(folder: Path) -> None:
    """Make a clone with the working tree's files, a training of seconds, and this environment as its own."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["train"]["epochs"] = 2
    params["model"] |= {"image_size": 16, "architecture": "linear"}
    params["gate"] = {"photos": {"all": 1}}  # two epochs reach no useful threshold
    params["evaluate"]["baseline"] = False
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / ".venv").symlink_to(Path(sys.prefix))
    git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org", "-c", "init.defaultBranch=main"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "clone"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[PageReader]:
    """A reader whose terminals are closed at the end."""
    reader = PageReader(folder)
    try:
        yield reader
    finally:
        reader.close()
