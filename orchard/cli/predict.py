"""`orchard predict`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchard.cli.verb import verb
from orchard.errors import DataError, ServerError
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.client import ModelServer, Prediction

MAX_PHOTO = 32 << 20
_FORMS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")


def _check(name: str) -> None:
    """Refuse what is no photo before anything is asked; standard input is looked at when it is read."""
    if name == "-":
        return
    try:
        with Path(name).open("rb") as file:
            _must_be_photo(name, file.read(16))
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from error


def _must_be_photo(name: str, head: bytes) -> None:
    if not head.startswith(_FORMS):
        raise DataError(f"{name} is no photo: expected a JPEG or PNG file", hint="convert it, for example to JPEG")


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the token cannot be read: {error}") from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise DataError(f"{path} holds no token")
    return tokens[0]


def _read(name: str) -> bytes:
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
            body = file.read(MAX_PHOTO + 1)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from error
    if len(body) > MAX_PHOTO:
        raise DataError(f"{name} has more than {MAX_PHOTO >> 20} MiB; no photo to predict is that large")
    _must_be_photo(name, body)
    return body


def _ask(server: ModelServer, name: str, model: str, version: int | None, label: str | None) -> Prediction:
    try:
        return server.predict([_read(name)], model, version=version, label=label)[0]
    except ServerError as error:
        raise ServerError(f"{name}: {error.message}", hint=error.hint) from error


@verb(
    examples="orchard predict photo.jpg\norchard predict *.jpg --label canary\ncurl -s URL | orchard predict - --json"
)
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO…")
@click.option("--version", type=click.IntRange(1), metavar="N", help="Ask this version.")
@click.option("--label", help="Ask the version with this label, for example canary.  [default: the newest loaded]")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file whose first line is the token that the server wants.",
)
def predict(
    reporter: Reporter, photos: tuple[str, ...], version: int | None, label: str | None, token_file: Path | None
) -> None:
    """Ask the model server what is on photos; `-` reads one from standard input.

    Prints each photo's name, its label and the label's probability. Every file is looked at before the first is sent: a
    missing one, or one that is no photo, ends it with nothing asked.
    """
    from orchard import settings
    from orchard.client import ModelServer

    if version is not None and label is not None:
        raise click.UsageError("--version and --label exclude each other")
    if photos.count("-") > 1:
        raise click.UsageError("standard input can be read once")
    for name in photos:
        _check(name)
    found = settings.load()
    with ModelServer(found.server_url, token=_token(token_file)) as server:
        answers = [(name, _ask(server, name, found.model, version, label)) for name in photos]
    document = {
        "model": found.model,
        "predictions": [
            {"photo": name, "label": answer.label, "probability": answer.probability} for name, answer in answers
        ],
    }
    shares = [f"{100 * answer.probability:.1f} %" for _, answer in answers]
    width = max(map(len, shares))
    rows = [[name, answer.label, share.rjust(width)] for (name, answer), share in zip(answers, shares, strict=True)]
    reporter.result(document, reporter.table(rows[0], rows[1:]))
