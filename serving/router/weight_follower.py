"""The weights of canary and shadow from the status pages of sync, for a router that is not on the model server's machine.

Each model server has its own sync, which says what it serves. A request may reach any server that is ready, so a channel
gets no more traffic than each of them may give it: the smallest of their weights.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from orchard.channel_names import CANARY, WEIGHTED
from serving.log import EventLog
from serving.traffic_weights import offer_weight

__all__ = ["WeightFollower", "common_weight"]

POLL_S = 1.0
_TIMEOUT_S = 2.0
_ANSWER_BYTES = 4 << 20
_AT_ONCE = 16

Document = Mapping[str, Any]


def common_weight(documents: Iterable[Document], channel: str = CANARY) -> float | None:
    """Return the share that a channel may get at every server that is ready; None: unknown, it stays as it is.

    Args:
        documents: the documents of /status (`serving.sync.status_server.describe`). Servers that are not ready get no
            requests, and do not count.
        channel: a channel of `WEIGHTED`.

    Raises:
        ValueError: a document is none of sync's.
    """
    weights: list[float] = []
    for document in documents:
        try:
            ready, weight = document["ready"], document["weights"][channel]
        except (KeyError, TypeError):
            raise ValueError("no status page of sync: it has no weights") from None
        if ready and weight is not None:
            if not isinstance(weight, int | float) or not 0 <= weight <= 100:
                raise ValueError(f"the weight {str(weight)[:40]!r} is no share of 0 to 100 percent")
            weights.append(float(weight))
    return min(weights, default=None)


def _read_status(address: tuple[str, int]) -> Document | Exception:
    """Return the document of one status page, or why there is none."""
    try:
        with closing(http.client.HTTPConnection(*address, timeout=_TIMEOUT_S)) as connection:
            connection.request("GET", "/status", headers={"Connection": "close"})
            answer = connection.getresponse()
            document = json.loads(answer.read(_ANSWER_BYTES))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return error
    return document if isinstance(document, dict) else ValueError("no status page of sync: no JSON object")


def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    """Return every address behind a name. Raises OSError: the name is unknown."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({(str(entry[4][0]), port) for entry in found})


class WeightFollower:
    """Asks every status page behind a name each second, and writes the weights for Envoy.

    Args:
        host: the name; behind the one of a headless Service of Kubernetes are all its pods.
        port: the port of the status pages.
        folder: the folder of the weights that Envoy reads.
        log: the event log.
        addresses: returns the addresses behind the name.
    """

    def __init__(
        self,
        host: str,
        port: int,
        folder: Path,
        log: EventLog,
        addresses: Callable[[str, int], list[tuple[str, int]]] = _addresses,
    ) -> None:
        self._host, self._port, self._folder, self._log = host, port, folder, log
        self._addresses = addresses
        self._problem = ""
        self._stopped = threading.Event()

    def start(self) -> None:
        """Look once, so that clients find their channel from the first request on; then follow in a daemon thread."""
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="status")
        self._look_safely(pool)
        threading.Thread(target=self._follow, args=(pool,), name="weights", daemon=True).start()

    def stop(self) -> None:
        """End the thread after its current look."""
        self._stopped.set()

    def _follow(self, pool: ThreadPoolExecutor) -> None:
        with pool:
            while not self._stopped.wait(POLL_S):
                self._look_safely(pool)

    def _look_safely(self, pool: ThreadPoolExecutor) -> None:
        try:
            self.look(pool)
        except (OSError, ValueError) as error:
            self._report(str(error) or type(error).__name__)
        else:
            self._report("")

    def look(self, pool: ThreadPoolExecutor) -> None:
        """Ask once, and write the weights that have changed.

        Raises:
            OSError: the name is unknown, no page answers, or the folder cannot be written.
            ValueError: a page is none of sync's.
        """
        answers = list(pool.map(_read_status, self._addresses(self._host, self._port)))
        documents = [answer for answer in answers if not isinstance(answer, Exception)]
        if not documents:
            raise OSError(
                f"no status page answers at {self._host}:{self._port}: {answers[0] if answers else 'no address'}"
            )
        for channel in WEIGHTED:
            weight = common_weight(documents, channel)
            if offer_weight(self._folder, weight, channel):
                self._log.write("weight", channel=channel, percent=weight, pages=len(documents))

    def _report(self, problem: str) -> None:
        """Log a problem once, and its end."""
        if problem != self._problem:
            self._problem = problem
            self._log.write(
                "weights", state="not read" if problem else "read", **({"reason": problem} if problem else {})
            )
