"""`orchard predict`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.channel_argument import CHANNEL
from orchard.cli.verb import verb
from orchard.errors import DataError, ServerError
from orchard.photo_formats import FORMATS, is_photo
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.client import ModelServer, Prediction

MAX_PHOTO = 32 << 20
HEAD = 16
"""How many bytes show the format of a file."""


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the token cannot be read: {error}") from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise DataError(f"{path} has no token")
    return tokens[0]


def _read(name: str, limit: int = MAX_PHOTO + 1) -> bytes:
    """Read at most `limit` bytes of a photo; `-` is standard input."""
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
            body = file.read(limit)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from error
    if len(body) > MAX_PHOTO:
        raise DataError(f"{name} has more than {MAX_PHOTO >> 20} MiB; that is too large for a photo")
    if not is_photo(body):
        raise DataError(
            f"{name} is not a photo: expected a {FORMATS} file",
            hint="convert it, for example to JPEG",
        )
    return body


def _predict_one(server: ModelServer, name: str, model: str, version: int | None, channel: str | None) -> Prediction:
    body = _read(name)
    try:
        return server.predict([body], model, version=version, label=channel)[0]
    except (DataError, ServerError) as error:
        raise type(error)(f"{name}: {error.message}", hint=error.hint) from error


def _row(name: str, label: str, probability: float, *, unsure: bool = False) -> list[str]:
    from orchard.formatting import percent

    return [name, label, percent(probability), "unsure" if unsure else ""]


def _describe(name: str, one: Prediction, top: int | None) -> tuple[dict[str, Any], list[list[str]]]:
    """Return a prediction for `--json`, and its rows of the table."""
    item = {"photo": name, "label": one.label, "probability": one.probability, "unsure": one.unsure}
    rows = [_row(name, one.label, one.probability, unsure=one.unsure)]
    if top is not None:
        best = one.best(top)
        item["top"] = [{"label": label, "probability": probability} for label, probability in best]
        rows += [_row("", label, probability) for label, probability in best[1:]]
    return item, rows


@verb(
    group="Serve",
    examples="orchard predict photo.jpg --top 3\norchard predict *.jpg --channel canary\ncurl -s URL | orchard predict - --json",
)
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO…")
@click.option("--version", type=click.IntRange(1), metavar="N", help="Predict with this version.")
@click.option(
    "--channel",
    type=CHANNEL,
    help="Predict with the version that this channel points to.  [default: ORCHARD_CHANNEL]",
)
@click.option("--top", type=click.IntRange(1), metavar="N", help="Print the N most probable classes of each photo.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file whose first line is the server's token.",
)
def predict(
    reporter: Reporter,
    photos: tuple[str, ...],
    version: int | None,
    channel: str | None,
    top: int | None,
    token_file: Path | None,
) -> None:
    """Predict the labels of photos with the model server; `-` reads a photo from standard input.

    The version is the one that the channel points to: the request has the channel's name as version label. Prints each
    photo's name, its label and the label's probability, and `unsure` where none or several classes are possible. With
    `--top N` the next classes are in rows below, without the photo's name. Every file is checked before the first is
    sent: if a file is missing or is not a photo, nothing is sent. HEIC, AVIF, WebP, GIF, TIFF and BMP, and colours that
    are not sRGB, are converted as `orchard ingest` converts them.
    """
    from orchard import settings
    from orchard.client import ModelServer

    if version is not None and channel is not None:
        raise click.UsageError("--version and --channel exclude each other")
    if photos.count("-") > 1:
        raise click.UsageError("standard input can be read once")
    for name in photos:
        if name != "-":
            _read(name, HEAD)
    config = settings.load()
    label = channel or (config.channel if version is None else None)
    with ModelServer(config.server_url, token=_token(token_file)) as server:
        predictions = [(name, _predict_one(server, name, config.model, version, label)) for name in photos]
    described = [_describe(name, one, top) for name, one in predictions]
    rows = [row for _, part in described for row in part]
    width = max(len(share) for _, _, share, _ in rows)
    rows = [[name, found, share.rjust(width), note] for name, found, share, note in rows]
    items = [item for item, _ in described]
    reporter.result({"model": config.model, "predictions": items}, reporter.table(rows[0], rows[1:]))
