"""What Linux says of a process: whether it lives, its children, where it listens. A fact may vanish while it is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    return any(stat.rsplit(")", 1)[1].split()[0] != "Z" for stat in _read([Path(f"/proc/{pid}/stat")], Path.read_text))


def children(pid: int) -> list[int]:
    """Return the process ids of the children that any of a process's threads has started."""
    lists = _read(Path(f"/proc/{pid}/task").glob("*/children"), Path.read_text)
    return [int(child) for text in lists for child in text.split()]


def listening(pid: int) -> dict[int, str]:
    """Return the TCP ports on which a process listens, each with its address (hexadecimal, as /proc prints it)."""
    links = _read(Path(f"/proc/{pid}/fd").iterdir(), lambda path: str(path.readlink()))
    inodes = {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)]", link))}
    ports = {}
    for table in ("tcp", "tcp6"):
        for fields in map(str.split, Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]):
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                ports[int(port, 16)] = address
    return ports


def _read(paths: Iterator[Path] | list[Path], read: Callable[[Path], str]) -> Iterator[str]:
    """Yield what can be read; threads end and descriptors are closed while a process is looked at."""
    for path in paths:
        try:
            yield read(path)
        except (FileNotFoundError, ProcessLookupError):
            continue
