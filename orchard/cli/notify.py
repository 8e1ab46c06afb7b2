"""`orchard notify`."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.errors import DeliveryError, OrchardError, SettingsError
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchard.settings import Settings
    from orchard.webhooks.deliveries import DeliveryRecord
    from orchard.webhooks.notifier import Notifier, NotifyResult
    from orchard.webhooks.receivers import WebhookReceiver

__all__ = ["notify"]


class _TimeType(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read a day or a time; without a time zone it is UTC."""
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time: expected YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SSZ", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


@verb(
    group="Operate",
    examples=(
        "orchard notify --ping                    # is each receiver reached?\n"
        "orchard notify                           # until Ctrl-C\n"
        "orchard notify --once                    # for cron, or a CronJob\n"
        "orchard notify --list --receiver team-chat\n"
        "orchard notify --once --resend           # after the remedy: what was given up\n"
        "orchard notify --once --since 2026-11-24\n"
        "orchard notify --list --json | jq '.deliveries[] | select(.state != \"delivered\") | .event.id'"
    ),
)
@click.option("--once", is_flag=True, help="One pass over the events and the receivers, then return.")
@click.option("--list", "as_list", is_flag=True, help="Show what was sent, when, and how the receivers answered.")
@click.option("--ping", is_flag=True, help="Send each receiver an event that is not recorded, and show the answers.")
@click.option("--receiver", metavar="NAME", help="Only this receiver.  [default: all]")
@click.option("--resend", is_flag=True, help="Send again what was given up; try at once what waits.")
@click.option("--since", type=_TimeType(), help="Also events since this time (UTC) that a receiver never got.")
@click.option("--interval", type=click.FloatRange(1), default=60, show_default=True, help="Seconds between two passes.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="For --list: the newest ones.")
def notify(
    reporter: Reporter,
    *,
    once: bool,
    as_list: bool,
    ping: bool,
    receiver: str | None,
    resend: bool,
    since: datetime | None,
    interval: float,
    limit: int,
) -> None:
    """Send the events of the channels and runs to the receivers of ORCHARD_WEBHOOKS_FILE, as signed HTTP POSTs.

    Events are derived from the store: promotions, rollbacks, the canary's traffic, refusals by the gate, failed runs.
    Each receiver gets the types that it chose, in order and at least once, always with the same id. A receiver that is
    new gets what happens from now on. What fails is tried again for a day, then it is given up: exit code 11 until it
    was sent with --resend. Two of these commands at once send nothing twice.
    """
    from orchard import settings

    if as_list + ping + (once or resend or since is not None) > 1:
        raise click.UsageError("--list and --ping go with --receiver alone")
    config = settings.load()
    if as_list:
        _list(reporter, config, limit, receiver)
        return
    config.require("webhooks_file", *(() if ping else ("store_url", "trusted_keys_file")))
    if ping:
        _ping(reporter, config.model, _receivers(config, receiver))
    elif once:
        result = _pass(config, _new_notifier(), receiver, since, resend=resend)
        reporter.result(_document(result), _table(reporter, result))
        _end(reporter, result)
    else:
        _run(reporter, config, receiver, since, interval, resend=resend)


def _receivers(config: Settings, name: str | None) -> tuple[WebhookReceiver, ...]:
    from orchard.webhooks.receivers import read_receivers

    assert config.webhooks_file  # noqa: S101  required by the verb
    found = read_receivers(config.webhooks_file)
    chosen = tuple(one for one in found if name in (None, one.name))
    if not chosen:
        names = ", ".join(one.name for one in found)
        raise SettingsError(f"{config.webhooks_file} has no receiver {name!r}; it has {names}")
    return chosen


def _new_notifier() -> Notifier:
    from orchard.webhooks.notifier import Notifier

    return Notifier(f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")


def _pass(
    config: Settings, notifier: Notifier, receiver: str | None, since: datetime | None, *, resend: bool
) -> NotifyResult:
    from orchard.registry.registry import Registry

    receivers = _receivers(config, receiver)
    return notifier.run_pass(Registry.open(config), receivers, since=since, resend=resend)


def _document(result: NotifyResult) -> dict[str, Any]:
    from orchard.documents import encode

    problems = {name: error.message for name, error in result.problems.items()}
    return {"receivers": [encode(one) for one in result.receivers], "problems": problems}


def _table(reporter: Reporter, result: NotifyResult) -> str:
    rows = [
        [one.receiver, one.delivered, one.waiting, one.failed, one.problem or ("begins now" if one.began else "-")]
        for one in result.receivers
    ]
    return reporter.table(["receiver", "delivered", "waiting", "given up", "problem"], rows)


def _end(reporter: Reporter, result: NotifyResult) -> None:
    """End with the exit code of what could not be read, or was given up; say what to do."""
    for one in result.receivers:
        if one.remedy:
            reporter.note(f"{one.receiver}: {one.remedy}")
    failed = [one for one in result.receivers if one.failed]
    error: OrchardError | None = next(iter(result.problems.values()), None)
    if error is None and failed:
        names = ", ".join(f"{one.receiver} ({one.failed})" for one in failed)
        error = DeliveryError(
            f"events were given up: {names}",
            hint="`orchard notify --list` shows why; after the remedy `orchard notify --once --resend` sends them again",
        )
    if error is not None and reporter.as_json:
        click.get_current_context().exit(error.exit_code)  # the document is the one result
    if error is not None:
        raise error


def _ping(reporter: Reporter, model: str, receivers: Iterable[WebhookReceiver]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from orchard.documents import encode
    from orchard.webhooks.notifier import send_event
    from orchard.webhooks.webhook_events import ping_event

    now, asked = datetime.now(UTC), tuple(receivers)
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda one: send_event(one, ping_event(model, one.name, now.isoformat()), now), asked))
    pairs = list(zip(asked, answers, strict=True))
    rows = [[one.name, one.origin, answer.status or "-", answer.problem or "-"] for one, answer in pairs]
    document = {"receivers": [{"receiver": one.name, "origin": one.origin, **encode(answer)} for one, answer in pairs]}
    reporter.result(document, reporter.table(["receiver", "address", "status", "problem"], rows))
    for one, answer in pairs:
        if answer.remedy:
            reporter.note(f"{one.name}: {answer.remedy}")
    if any(answer.problem for answer in answers):
        click.get_current_context().exit(DeliveryError.exit_code)


def _list(reporter: Reporter, config: Settings, limit: int, receiver: str | None) -> None:
    from orchard.documents import encode
    from orchard.store import open_store
    from orchard.webhooks.deliveries import list_deliveries

    config.require("store_url")
    store = open_store(config)
    found = list_deliveries(store, config.model, limit, receiver)
    text = reporter.table(
        ["last attempt", "receiver", "state", "tries", "status", "event", "what", "problem"], map(_row, found)
    )
    empty = f"no event of {config.model} was sent, or waits, in {store.name}"
    reporter.result({"model": config.model, "deliveries": [encode(one) for one in found]}, text if found else empty)


def _row(one: DeliveryRecord) -> list[object]:
    last = one.attempts[-1] if one.attempts else None
    at, status = (f"{last.at[:19]}Z", last.status or "-") if last else ("-", "-")
    problem = last.problem if last and last.problem else "-"
    return [at, one.receiver, one.state, one.tries, status, one.event.id, one.event.text, problem]


def _run(
    reporter: Reporter, config: Settings, receiver: str | None, since: datetime | None, interval: float, *, resend: bool
) -> None:
    """Make a pass every `interval` seconds until SIGTERM; a pass that fails is reported, and the next one tries again."""
    stop = threading.Event()
    previous = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    log = partial(_log, reporter, as_json=config.log_format == "json")
    notifier, reported = _new_notifier(), dict[str, str]()
    _receivers(config, receiver)  # an error in the file ends it now; later errors are reported
    log("start", model=config.model, interval_s=interval)
    try:
        while not stop.is_set():
            problem = ""
            try:
                result = _pass(config, notifier, receiver, since, resend=resend)
                since, resend = None, False
                for one in result.receivers:
                    if one.delivered or (one.problem and reported.get(one.receiver) != one.problem):
                        counts: dict[str, Any] = {
                            "delivered": one.delivered,
                            "waiting": one.waiting,
                            "given_up": one.failed,
                        }
                        log("receiver", name=one.receiver, **counts, problem=one.problem, remedy=one.remedy)
                    reported[one.receiver] = one.problem
                problem = "; ".join(error.message for error in result.problems.values())
            except OrchardError as error:
                problem = error.message
            if problem and reported.get("") != problem:
                log("problem", reason=problem)
            reported[""] = problem
            stop.wait(interval)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _log(reporter: Reporter, event: str, *, as_json: bool, **fields: object) -> None:
    """Write a line about an event for operators, as text or as JSON."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if as_json:
        reporter.note(json.dumps({"time": at, "event": event, **fields}, ensure_ascii=False))
        return
    known = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in fields.items() if value != "")
    reporter.note(f"{at} {event} {known}")
